//! The run in figures: as text for a reader, and as JSON.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde_json::{Value, json};

use crate::{
    options::Options,
    run::{Course, Played},
    stage::Stage,
    support::signatures::signing_times,
    verdict::{Change, Verdict},
};

/// Signatures come at every block, one each 600 ms: less is no gap.
const SILENCE: Duration = Duration::from_millis(1_500);

pub struct Report {
    head: String,
    minutes: f64,
    seed: u64,
    freezer: &'static str,
    rows: BTreeMap<String, Row>,
    groups: usize,
    overlapping: usize,
    faults: usize,
    skipped: usize,
    back: Vec<Duration>,
    ready: Vec<Duration>,
    /// The longest spans without a signature, from the run's start, and all of them together.
    silences: Vec<(Duration, Duration)>,
    silent: Duration,
    span: Duration,
    height: Option<u64>,
    verdict: Verdict,
    ends: Vec<String>,
    pauses_beyond: usize,
    failures: Vec<String>,
    interrupted: bool,
}

/// One fault, or all groups with several.
#[derive(Default)]
struct Row {
    times: usize,
    skipped: usize,
    /// The longest span without a signature of each group.
    silences: Vec<Duration>,
    /// Lengths of the takeovers while it was at work or being recovered from.
    takeovers: Vec<Duration>,
    /// The key went to a new neard of the same host.
    same_home: usize,
}

const SEVERAL: &str = "several at once";

/// The end of a process may be seen a moment before the fault that caused it was noted.
const NOTED_LATE: Duration = Duration::from_millis(50);

impl Report {
    pub fn new(
        options: &Options,
        stage: &Stage,
        course: Course,
        verdict: Verdict,
        span: (Duration, Duration),
    ) -> Self {
        let mut times: Vec<_> = stage.homes().iter().flat_map(|home| signing_times(home)).collect();
        times.retain(|time| (span.0..span.1).contains(time));
        times.sort();
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        // What happens in the quiet after a group is its after-effect.
        let next = course.groups.iter().skip(1).map(|group| group.start).chain([span.1]);
        for (group, end) in course.groups.iter().zip(next) {
            for done in &group.done {
                let row = rows.entry(done.kind.name()).or_default();
                match done.made {
                    Ok(_) => row.times += 1,
                    Err(_) => row.skipped += 1,
                }
            }
            let row = rows.entry(name(group)).or_default();
            if is_several(group) {
                row.times += 1;
            }
            row.silences
                .extend(silences(&times, group.start, end).iter().map(|(length, _)| *length).max());
            let window = group.start.saturating_sub(NOTED_LATE)..end;
            for change in verdict.changes.iter().filter(|change| window.contains(&change.at)) {
                let row = rows.entry(cause(group, change)).or_default();
                match change.same_home {
                    true => row.same_home += 1,
                    false => row.takeovers.extend(change.gap),
                }
            }
        }
        let mut silences = silences(&times, span.0, span.1);
        silences.retain(|(length, _)| *length > SILENCE);
        let silent = silences.iter().map(|(length, _)| *length).sum();
        silences.sort();
        silences.reverse();
        let promotion = options.promotion();
        Self {
            head: format!("{} kneards, 3 Consul servers, promotion {promotion}", stage.hosts.len()),
            minutes: options.minutes,
            seed: options.seed,
            freezer: stage.hosts[0].freezer.name(),
            groups: course.groups.len(),
            overlapping: course.groups.iter().filter(|group| is_several(group)).count(),
            faults: course.groups.iter().map(|group| group.done.len()).sum(),
            skipped: course.skipped(),
            back: course.groups.iter().filter_map(|group| group.signer_back).collect(),
            ready: course.groups.iter().filter_map(|group| group.all_ready).collect(),
            rows,
            silences,
            silent,
            span: span.1 - span.0,
            height: stage.chain_height(),
            verdict,
            ends: stage.ends.clone(),
            pauses_beyond: stage.pauses.iter().filter(|pause| pause.beyond_lease).count(),
            failures: course.failures,
            interrupted: course.interrupted,
        }
    }

    pub fn is_good(&self) -> bool {
        self.verdict.is_clean() && self.failures.is_empty() && !self.interrupted
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut line = |text: std::fmt::Arguments| writeln!(out, "{text}").unwrap_or_default();
        let minutes = self.span.as_secs_f64() / 60.0;
        line(format_args!("chaos: {}, seed {}, {minutes:.1} minutes", self.head, self.seed));
        line(format_args!(
            "{} faults in {} groups, {} groups with several at once; {} could not be made as things were",
            self.faults, self.groups, self.overlapping, self.skipped
        ));
        line(format_args!("a host is paused by {}", self.freezer));
        line(format_args!(""));
        line(format_args!(
            "In seconds. silent: the longest span without a signature, while this fault alone was at work"
        ));
        line(format_args!(
            "and after it; takeover: from the last signature of one host to the first of the next; of"
        ));
        line(format_args!(
            "several faults at once it is counted with the last one that hit the signer's host."
        ));
        line(format_args!(""));
        line(format_args!(
            "| {:<42} | made | not | silent: median, longest | takeovers: count, median, longest | same host |",
            "fault"
        ));
        line(format_args!("|{:-<44}|-----:|----:|{:-<25}|{:-<35}|----------:|", "", "", ""));
        for (name, row) in self.rows.iter().filter(|(name, _)| *name != SEVERAL) {
            line(format_args!("{}", row.text(name)));
        }
        if let Some(row) = self.rows.get(SEVERAL) {
            line(format_args!("{}", row.text(SEVERAL)));
        }
        line(format_args!(""));
        line(format_args!(
            "all groups: signed again {}; all ready {}",
            figures(&self.back),
            figures(&self.ready)
        ));
        let takeovers: Vec<_> = self.takeovers();
        line(format_args!("all takeovers: {}", figures(&takeovers)));
        line(format_args!("lengths of takeovers: {}", histogram(&takeovers)));
        line(format_args!(
            "without a signer (spans above {:.1} s): {:.1} s of {:.0} s, {:.1} %, in {} spans; the longest:{}",
            SILENCE.as_secs_f64(),
            self.silent.as_secs_f64(),
            self.span.as_secs_f64(),
            self.silent.as_secs_f64() * 100.0 / self.span.as_secs_f64(),
            self.silences.len(),
            self.silences
                .iter()
                .take(5)
                .fold(String::new(), |text, (length, at)| {
                    format!("{text} {:.1} s at {:.0} s,", length.as_secs_f64(), at.as_secs_f64())
                })
                .trim_end_matches(',')
        ));
        line(format_args!(
            "chain at height {}; {} signatures; {} heights with split approvals (NEAR tolerates them)",
            self.height.unwrap_or(0),
            self.verdict.signatures,
            self.verdict.split_approvals
        ));
        line(format_args!(
            "signatures at or below a height that another process had reached, by kind: {:?}",
            self.verdict.backward
        ));
        line(format_args!("kneards that ended by themselves: {}", self.ends.len()));
        for end in &self.ends {
            line(format_args!("  {end}"));
        }
        line(format_args!(
            "hosts paused beyond their lease: {} times; excused as the documented limit: {}",
            self.pauses_beyond,
            self.verdict.excused.len()
        ));
        for excused in &self.verdict.excused {
            line(format_args!("  {excused}"));
        }
        for (what, found) in [
            ("OVERLAP", &self.verdict.overlaps),
            ("EQUIVOCATION", &self.verdict.equivocations),
            ("FAILURE", &self.failures),
        ] {
            for text in found {
                line(format_args!("{what}: {text}"));
            }
        }
        line(format_args!(
            "verdict: {} overlaps, {} equivocations, {} failures, {} changes of signer{}",
            self.verdict.overlaps.len(),
            self.verdict.equivocations.len(),
            self.failures.len(),
            self.verdict.changes.len(),
            if self.interrupted { "; interrupted" } else { "" }
        ));
        out
    }

    fn takeovers(&self) -> Vec<Duration> {
        let elsewhere = self.verdict.changes.iter().filter(|change| !change.same_home);
        elsewhere.filter_map(|change| change.gap).collect()
    }

    pub fn json(&self) -> Value {
        let seconds =
            |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        let rows: BTreeMap<_, _> = self
            .rows
            .iter()
            .map(|(name, row)| {
                let row = json!({
                    "made": row.times, "left_out": row.skipped, "silent_s": seconds(&row.silences),
                    "takeovers_s": seconds(&row.takeovers), "same_host": row.same_home,
                });
                (name, row)
            })
            .collect();
        json!({
            "set_up": self.head,
            "seed": self.seed,
            "minutes_asked": self.minutes,
            "span_s": self.span.as_secs_f64(),
            "groups": self.groups,
            "groups_with_several": self.overlapping,
            "faults": self.faults,
            "left_out": self.skipped,
            "by_fault": rows,
            "back_s": seconds(&self.back),
            "all_ready_s": seconds(&self.ready),
            "takeovers_s": seconds(&self.takeovers()),
            "without_signer_s": self.silent.as_secs_f64(),
            "longest_without_signer_s": self.silences.first().map(|(length, _)| length.as_secs_f64()),
            "chain_height": self.height,
            "signatures": self.verdict.signatures,
            "split_approvals": self.verdict.split_approvals,
            "backward": self.verdict.backward,
            "changes": self.verdict.changes.len(),
            "ended_by_themselves": self.ends,
            "paused_beyond_lease": self.pauses_beyond,
            "excused": self.verdict.excused,
            "overlaps": self.verdict.overlaps,
            "equivocations": self.verdict.equivocations,
            "failures": self.failures,
            "interrupted": self.interrupted,
            "good": self.is_good(),
        })
    }
}

fn is_several(group: &Played) -> bool {
    group.done.iter().filter(|done| done.made.is_ok()).count() > 1
}

/// The row that the group's recovery belongs to.
fn name(group: &Played) -> String {
    let made = group.done.iter().find(|done| done.made.is_ok()).or(group.done.first());
    match made {
        Some(done) if !is_several(group) => done.kind.name(),
        _ => SEVERAL.to_owned(),
    }
}

/// The row that a change of signer counts in: of several faults, the last one before it that hit the
/// signer's host, else the last one on Consul.
fn cause(group: &Played, change: &Change) -> String {
    let last = |hit: &dyn Fn(&str) -> bool| {
        let before = group.done.iter().filter(|done| done.at <= change.at + NOTED_LATE);
        before.filter(|done| done.made.as_deref().is_ok_and(hit)).max_by_key(|done| done.at)
    };
    let found = last(&|target| target.starts_with(&change.from));
    let found = found.or_else(|| last(&|target| target.contains("consul")));
    found.map_or_else(|| name(group), |done| done.kind.name())
}

/// The spans between signatures from `from` to `to`, and where each begins after `from`.
fn silences(times: &[Duration], from: Duration, to: Duration) -> Vec<(Duration, Duration)> {
    let within = times.iter().copied().filter(|time| (from..to).contains(time));
    let marks: Vec<_> = [from].into_iter().chain(within).chain([to]).collect();
    marks.windows(2).map(|pair| (pair[1] - pair[0], pair[0] - from)).collect()
}

impl Row {
    fn text(&self, name: &str) -> String {
        let one = |time: Option<Duration>| {
            time.map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
        };
        let (silences, takeovers) = (sorted(&self.silences), sorted(&self.takeovers));
        format!(
            "| {name:<42} | {:>4} | {:>3} | {:>11} {:>11} | {:>10} {:>11} {:>11} | {:>9} |",
            self.times,
            self.skipped,
            one(at(&silences, 50)),
            one(silences.last().copied()),
            takeovers.len(),
            one(at(&takeovers, 50)),
            one(takeovers.last().copied()),
            self.same_home
        )
    }
}

fn sorted(times: &[Duration]) -> Vec<Duration> {
    let mut times = times.to_vec();
    times.sort();
    times
}

/// The one below which so many percent of the sorted times are.
fn at(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

fn figures(times: &[Duration]) -> String {
    let times = sorted(times);
    let (Some(least), Some(median), Some(most_of), Some(longest)) =
        (times.first(), at(&times, 50), at(&times, 95), times.last())
    else {
        return "never".to_owned();
    };
    let s = |time: &Duration| time.as_secs_f64();
    format!(
        "{} times, least {:.1} s, median {:.1} s, 95 % within {:.1} s, longest {:.1} s",
        times.len(),
        s(least),
        s(&median),
        s(&most_of),
        s(longest)
    )
}

fn histogram(times: &[Duration]) -> String {
    const BOUNDS: [u64; 8] = [1, 2, 3, 5, 8, 10, 15, 20];
    let mut out = String::new();
    let mut below = 0;
    for bound in BOUNDS {
        let within = times.iter().filter(|time| time.as_secs_f64() < bound as f64).count();
        out += &format!("< {bound} s: {}, ", within - below);
        below = within;
    }
    out + &format!("longer: {}", times.len() - below)
}
