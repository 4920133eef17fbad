//! A localnet in the foreground, with a live view of who holds the key.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::setup::{Localnet, name};
use super::{Args, unless_interrupted};
use crate::control::Status;
use crate::election::RecordState;

const REFRESH: Duration = Duration::from_millis(500);
/// How many events are shown.
const EVENTS: usize = 10;

/// Runs until ctrl-c.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let mut localnet = unless_interrupted(Localnet::start(args)).await?;
    localnet.start_kneard(0)?;
    localnet.start_kneard(1)?;
    let mut view = View { is_terminal: std::io::stdout().is_terminal(), ..View::default() };
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = ticks.tick() => view.refresh(&mut localnet).await,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        }
    }
    // Not println, which panics when the terminal is gone.
    let _ = writeln!(std::io::stdout(), "stopping");
    for number in 0..2 {
        if localnet.signal(number, Signal::SIGTERM).is_ok() {
            localnet.wait_for_end(number).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct View {
    is_terminal: bool,
    states: [String; 2],
    holder: String,
    events: VecDeque<String>,
}

impl View {
    async fn refresh(&mut self, localnet: &mut Localnet) {
        if let Some(end) = localnet.ended() {
            self.event(&end);
        }
        let statuses = [localnet.status(0).await, localnet.status(1).await];
        for (number, status) in statuses.iter().enumerate() {
            let state = match status {
                Some(status) => status.node.state.clone(),
                None => "not running".to_owned(),
            };
            if state != self.states[number] {
                self.event(&format!("{}: {state}", name(number)));
                self.states[number] = state;
            }
        }
        let holder = holder(&statuses);
        if holder != self.holder {
            self.event(&holder);
            self.holder = holder;
        }
        if self.is_terminal {
            self.draw(localnet, &statuses).await;
        }
    }

    fn event(&mut self, text: &str) {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let line = format!("{} {text}", &now[11..23]);
        if !self.is_terminal {
            println!("{line}");
        }
        self.events.push_back(line);
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    async fn draw(&self, localnet: &Localnet, statuses: &[Option<Status>; 2]) {
        let height = localnet.height().await.map_or("-".to_owned(), |height| height.to_string());
        // Clears the screen and goes to its upper left (ECMA-48).
        let mut screen = String::from("\x1b[2J\x1b[H");
        // Writing to a String cannot fail.
        let _ = writeln!(screen, "localnet in {}    ctrl-c stops it", localnet.data.display());
        let _ = writeln!(screen, "chain height {height}    {}\n", self.holder);
        for (number, status) in statuses.iter().enumerate() {
            let _ = writeln!(screen, "{}", row(number, status.as_ref()));
        }
        let _ = writeln!(screen, "\nlast events");
        for event in &self.events {
            let _ = writeln!(screen, "  {event}");
        }
        let mut out = std::io::stdout().lock();
        // A terminal that is gone says so by SIGHUP.
        let _ = out.write_all(screen.as_bytes()).and_then(|()| out.flush());
    }
}

fn row(number: usize, status: Option<&Status>) -> String {
    let Some(status) = status else { return format!("{}  not running", name(number)) };
    let head = status.node.head.map_or("-".to_owned(), |head| head.to_string());
    let pid = status.neard.pid.map_or("-".to_owned(), |pid| pid.to_string());
    let key = if status.neard.has_validator_key { "key" } else { "no key" };
    let lease = match status.lease_left_ms {
        Some(left) => format!("lease {:.1} s", left as f64 / 1000.0),
        None => String::new(),
    };
    format!(
        "{}  {:<12} head {head:<8} neard {pid:<8} {key:<7} {lease:<12} {}",
        name(number),
        status.node.state,
        status.sentence
    )
}

fn holder(statuses: &[Option<Status>; 2]) -> String {
    let newest = statuses
        .iter()
        .flatten()
        .filter_map(|status| status.record.as_ref().map(|record| (record, status.locked)))
        .max_by_key(|(record, _)| (record.term, record.beat));
    match newest {
        Some((record, true)) if record.state == RecordState::Active => {
            format!("{} holds the validator key (term {})", record.holder, record.term)
        }
        Some((record, true)) => format!("{} is taking over (term {})", record.holder, record.term),
        Some((record, false)) => format!("nobody holds the key; {} had it", record.holder),
        None => "nobody holds the key".to_owned(),
    }
}
