//! The picture: pure, from what was watched to a frame.

use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, Paragraph, Row, Table};

use super::watched::{Watched, holder};
use crate::control::{NodeReport, Status};

/// Words carry the meaning; colour only helps where there is any.
#[derive(Clone, Copy)]
struct Palette {
    colour: bool,
}

impl Palette {
    fn good(self) -> Style {
        self.fg(Color::Green)
    }

    fn doubtful(self) -> Style {
        self.fg(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.fg(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn title(self) -> Style {
        self.fg(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn state(self, state: &str) -> Style {
        match state {
            "Validating" => self.good().add_modifier(Modifier::BOLD),
            "Voting" => self.good(),
            _ => self.doubtful(),
        }
    }

    fn fg(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

pub fn draw(frame: &mut Frame, watched: &Watched, now: SystemTime, colour: bool) {
    let palette = Palette { colour };
    let nodes = nodes(watched);
    let notices = notices(watched, usize::from(frame.area().width), palette);
    let [head, election, notes, own, table, events] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(4),
        Constraint::Length(notices.len() as u16),
        Constraint::Length(3),
        // Of many nodes the last ones give way to the events.
        Constraint::Max(nodes.len() as u16 + 3),
        Constraint::Min(5),
    ])
    .areas(frame.area());
    let status = watched.status.as_ref();
    title(frame, head, status, now, palette);
    draw_election(frame, election, watched, now, palette);
    frame.render_widget(Paragraph::new(notices), notes);
    draw_own(frame, own, status, palette);
    draw_nodes(frame, table, &nodes, status, palette);
    draw_events(frame, events, watched, now, palette);
}

fn title(
    frame: &mut Frame,
    area: Rect,
    status: Option<&Status>,
    now: SystemTime,
    palette: Palette,
) {
    let account = status.map_or("", |status| &status.account_id);
    let left = format!("kneard  {account}");
    let right = format!("{}Z  q quits", clock(now));
    let gap = usize::from(area.width).saturating_sub(left.len() + right.len()).max(1);
    let line = format!("{left}{}{right}", " ".repeat(gap));
    frame.render_widget(Paragraph::new(Line::styled(line, palette.title())), area);
}

fn draw_election(
    frame: &mut Frame,
    area: Rect,
    watched: &Watched,
    now: SystemTime,
    palette: Palette,
) {
    let [text, gauge] =
        Layout::vertical([Constraint::Length(2), Constraint::Length(2)]).areas(area);
    let Some(status) = &watched.status else {
        frame.render_widget(Paragraph::new("Holder   not known yet"), text);
        return;
    };
    let sentence = match &status.record {
        Some(record) => {
            format!("{}, on {}", holder(status), record.hostname)
        }
        None => holder(status),
    };
    let style = if status.locked { palette.good() } else { palette.bad() };
    let reason = status.record.as_ref().map_or(String::new(), |record| {
        format!("since {}: {}", short(&record.since), record.reason)
    });
    let lines = vec![
        Line::from(vec![Span::raw("Holder   "), Span::styled(sentence, style)]),
        Line::from(format!("         {reason}")),
    ];
    frame.render_widget(Paragraph::new(lines), text);
    let line = Rect { height: gauge.height.min(1), ..gauge };
    match watched.lease(now) {
        Some((left, lease)) if !lease.is_zero() => {
            let ratio = (left.as_secs_f64() / lease.as_secs_f64()).clamp(0.0, 1.0);
            let style = match ratio {
                ratio if ratio < 0.3 => palette.bad(),
                ratio if ratio < 0.6 => palette.doubtful(),
                _ => palette.good(),
            };
            let label =
                format!("Lease    {:3.1} of {:.0} s", left.as_secs_f64(), lease.as_secs_f64());
            let bar = LineGauge::default()
                .ratio(ratio)
                .label(label)
                .filled_symbol("#")
                .unfilled_symbol("-")
                .filled_style(style)
                .unfilled_style(Style::new());
            frame.render_widget(bar, line);
        }
        _ => frame.render_widget(Paragraph::new("Lease    none"), line),
    }
}

/// What needs attention.
fn notices(watched: &Watched, width: usize, palette: Palette) -> Vec<Line<'static>> {
    let mut notices = Vec::new();
    if let Some((since, why)) = &watched.silent {
        notices.push(format!("kneard does not answer since {}Z: {why}", clock(*since)));
        if watched.status.is_some() {
            notices.push("what follows is what it said last".to_owned());
        }
    }
    if let Some(status) = &watched.status {
        notices.extend(status.paused.iter().map(|pause| format!("takeovers are {pause}")));
        let planned = status.planned_restart.iter();
        notices.extend(planned.map(|height| format!("neard restarts at height {height}")));
        notices.extend(status.consul_error.iter().map(|why| format!("Consul: {why}")));
        for node in status.nodes.iter().flatten() {
            let why = node.hot_swap_obstacle.iter();
            notices.extend(why.map(|why| format!("{}: no hot swap: {why}", node.node_id)));
        }
    }
    let texts = notices.iter().flat_map(|text| wrapped(&format!("! {text}"), width));
    let mut lines: Vec<Line> = texts.map(|text| Line::styled(text, palette.bad())).collect();
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// Broken between words, with what follows the first line set in.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 2 && last + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else if let Some(line) = lines.last_mut() {
            if last > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn draw_own(frame: &mut Frame, area: Rect, status: Option<&Status>, palette: Palette) {
    let Some(status) = status else { return };
    let pid = status.neard.pid.map_or("not running".to_owned(), |pid| format!("pid {pid}"));
    let key = if status.neard.has_validator_key { "may sign" } else { "without the key" };
    let head = status.node.head.map_or("-".to_owned(), |head| head.to_string());
    let lines = vec![
        Line::from(vec![
            Span::raw(format!("This     {}: ", status.node.node_id)),
            Span::styled(status.node.state.clone(), palette.state(&status.node.state)),
            Span::raw(format!(", {}", status.sentence)),
        ]),
        Line::from(format!(
            "neard    {pid}, {key}, head {head}, {} restarts, {}",
            status.neard.restarts,
            status.node.neard_version.as_deref().unwrap_or("version not known")
        )),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// The nodes by name, this one as it is now and not as it was published.
fn nodes(watched: &Watched) -> Vec<NodeReport> {
    let Some(status) = &watched.status else { return Vec::new() };
    let mut nodes: Vec<NodeReport> = status.nodes.clone().unwrap_or_default();
    nodes.retain(|node| node.instance != status.node.instance);
    nodes.push(status.node.clone());
    nodes.sort_by(|one, other| one.node_id.cmp(&other.node_id));
    nodes
}

fn draw_nodes(
    frame: &mut Frame,
    area: Rect,
    nodes: &[NodeReport],
    status: Option<&Status>,
    palette: Palette,
) {
    if nodes.is_empty() {
        return;
    }
    let [heading, area] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let shown = usize::from(area.height.saturating_sub(2)).max(1);
    let more = nodes.len().saturating_sub(shown);
    let text =
        if more > 0 { format!("Nodes ({more} more)") } else { format!("Nodes ({})", nodes.len()) };
    frame.render_widget(Paragraph::new(Line::styled(text, palette.title())), heading);
    let record = status.and_then(|status| status.record.as_ref().filter(|_| status.locked));
    let rows = nodes.iter().take(shown).map(|node| {
        let holds = record.is_some_and(|record| record.instance.0 == node.instance);
        let mark = if holds { "*" } else { " " };
        let is_own = status.is_some_and(|status| status.node.instance == node.instance);
        let stale = node.state == "Validating" && record.is_some() && !holds && !is_own;
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let swap = match (node.hot_swap, &node.hot_swap_obstacle) {
            (Some(true), None) => "hot",
            (Some(_), _) => "restart",
            (None, _) => "-",
        };
        let neard = node.neard_version.as_deref().unwrap_or("-");
        Row::new([
            format!("{mark} {}", node.node_id),
            // The last words of one that is dead.
            if stale { format!("{}?", node.state) } else { node.state.clone() },
            number(node.head),
            number(node.lag),
            swap.to_owned(),
            neard.split(['-', ' ']).next().unwrap_or("-").to_owned(),
            node.kneard_version.clone(),
            node.hostname.clone(),
        ])
        .style(if stale { palette.doubtful() } else { palette.state(&node.state) })
    });
    let widths = [
        Constraint::Length(14),
        Constraint::Length(11),
        Constraint::Length(10),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Min(8),
    ];
    let titles = ["  node", "state", "head", "lag", "key by", "neard", "kneard", "host"];
    let table = Table::new(rows, widths)
        .header(Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, area);
}

fn draw_events(
    frame: &mut Frame,
    area: Rect,
    watched: &Watched,
    now: SystemTime,
    palette: Palette,
) {
    let mut lines = vec![Line::styled("Last events", palette.title())];
    let room = usize::from(area.height.saturating_sub(1));
    for (when, text) in watched.news().take(room) {
        lines.push(Line::from(format!("  {}  {text}", date(when, now))));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// Hours, minutes and seconds, in UTC as the records have them.
fn clock(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.get(11..19).unwrap_or(&text).to_owned()
}

/// The time of day, or the day if that is another one.
fn date(time: SystemTime, now: SystemTime) -> String {
    let [time, now] = [time, now].map(|time| humantime::format_rfc3339_seconds(time).to_string());
    match (time.get(..10), time.get(11..19)) {
        (day, Some(clock)) if day == now.get(..10) => format!("{clock}Z"),
        // As long: the year without its century.
        (Some(day), _) => format!("{:9}", day.get(2..).unwrap_or(day)),
        _ => time,
    }
}

/// Date and time without the fraction of a second.
fn short(rfc3339: &str) -> String {
    rfc3339.split('.').next().unwrap_or(rfc3339).replace('T', " ")
}

#[cfg(test)]
mod tests;
