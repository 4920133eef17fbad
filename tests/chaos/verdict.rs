//! The verdict on the signature logs, with the one limit that the documentation names: a whole host
//! that stands still beyond its lease may sign for a moment when it goes on.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::Value;

use crate::support::signatures;

/// As kneard has it by default.
pub const KILL_MARGIN: Duration = Duration::from_millis(500);
/// How far the checker counts beyond the last sign of life of a killed process.
const CHECKER_SLACK: Duration = Duration::from_millis(5);

/// A whole host stood still and went on; boot times.
#[derive(Clone, Debug)]
pub struct Pause {
    pub home: PathBuf,
    /// All stood still by then.
    pub from: Duration,
    /// All stood still until then.
    pub to: Duration,
    /// The deadline of its last beat had passed when it went on.
    pub beyond_lease: bool,
}

impl Pause {
    /// Whether all of the span that the process at `home` was awake in is within the kill margin
    /// after the pause.
    fn excuses(&self, home: &str, start: Duration, end: Duration) -> bool {
        self.beyond_lease
            && self.home.as_os_str() == home
            && self.from <= start
            && end <= self.to + KILL_MARGIN + CHECKER_SLACK
    }
}

/// The key went from one process to another.
#[derive(Clone, Debug)]
pub struct Change {
    /// Until when the one could sign, in boot time.
    pub at: Duration,
    /// The name of its host.
    pub from: String,
    /// From the last signature of the one to the first of the other, where both signed.
    pub gap: Option<Duration>,
    pub same_home: bool,
}

#[derive(Debug, Default)]
pub struct Verdict {
    /// Overlaps and equivocations that nothing excuses, in words.
    pub overlaps: Vec<String>,
    pub equivocations: Vec<String>,
    /// Those of the documented limit, in words.
    pub excused: Vec<String>,
    pub changes: Vec<Change>,
    pub signatures: u64,
    pub split_approvals: usize,
    /// Signatures at or below a height that another process had reached, by kind.
    pub backward: BTreeMap<String, usize>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.overlaps.is_empty() && self.equivocations.is_empty()
    }
}

/// Runs `signature-check` over the homes, and tells what it found from what is excused.
pub fn check(homes: &[PathBuf], pauses: &[Pause]) -> Verdict {
    judge(&signatures::findings(homes), pauses)
}

pub fn judge(found: &Value, pauses: &[Pause]) -> Verdict {
    let list = |field: &str| found[field].as_array().cloned().unwrap_or_default();
    let mut verdict = Verdict {
        signatures: found["signatures"].as_u64().unwrap_or(0),
        split_approvals: list("split_approvals").len(),
        changes: list("changes").iter().map(change).collect(),
        ..Verdict::default()
    };
    for backward in list("backward") {
        let kind = backward["kind"].as_str().unwrap_or("thing").to_owned();
        *verdict.backward.entry(kind).or_default() += 1;
    }
    for overlap in list("overlaps") {
        let (first, second) = (&overlap["first"], &overlap["second"]);
        let start = time(&second["start"]);
        let end = time(&first["end"]).min(time(&second["end"]));
        let text = format!(
            "{} and {} could both sign from {:.3} s to {:.3} s ({} signatures)",
            process(first),
            process(second),
            start.as_secs_f64(),
            end.as_secs_f64(),
            overlap["signatures"]
        );
        let excuse = |hold: &Value| {
            let home = hold["home"].as_str().unwrap_or("");
            pauses.iter().find(|pause| pause.excuses(home, start, end))
        };
        match excuse(first).or_else(|| excuse(second)) {
            Some(pause) => {
                let awake = end.saturating_sub(pause.to).as_secs_f64() * 1000.0;
                verdict.excused.push(format!("{text}, of it {awake:.1} ms awake"));
            }
            None => verdict.overlaps.push(text),
        }
    }
    for conflict in list("equivocations") {
        let signed = conflict["signed"].as_array().cloned().unwrap_or_default();
        let who: Vec<_> = signed
            .iter()
            .map(|one| format!("{} at {:.3} s", process(one), time(&one["t"]).as_secs_f64()))
            .collect();
        let text = format!(
            "two {}s for height {}: {}",
            conflict["kind"].as_str().unwrap_or("thing"),
            conflict["height"],
            who.join(", ")
        );
        let after_pause = |one: &Value| {
            let (home, t) = (one["home"].as_str().unwrap_or(""), time(&one["t"]));
            pauses.iter().any(|pause| t >= pause.to && pause.excuses(home, t, t))
        };
        match signed.iter().any(after_pause) {
            true => verdict.excused.push(text),
            false => verdict.equivocations.push(text),
        }
    }
    verdict
}

fn change(change: &Value) -> Change {
    Change {
        at: time(&change["from"]["end"]),
        from: base(&change["from"]["home"]).to_owned(),
        gap: change["signature_gap_ms"].as_f64().map(|ms| {
            // Below zero: they overlap, which is judged elsewhere.
            Duration::from_secs_f64(ms.max(0.0) / 1000.0)
        }),
        same_home: change["same_home"].as_bool().unwrap_or(false),
    }
}

fn process(value: &Value) -> String {
    let run = value["run"].as_str().unwrap_or("");
    format!("{} (run {run})", base(&value["home"]))
}

fn base(home: &Value) -> &str {
    home.as_str().and_then(|home| home.rsplit('/').next()).unwrap_or("")
}

fn time(value: &Value) -> Duration {
    Duration::from_nanos(value.as_u64().unwrap_or(0))
}
