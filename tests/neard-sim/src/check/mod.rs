//! The judge: from the journals of several homes, proves or refutes that no two processes
//! could sign with one key at one time, and that no two things were signed for one height.
//!
//! Homes must be of one machine: the journals' times are its boot time. A process *could sign*
//! from its `key-loaded` line until `key-unloaded` or `exit`; for one that was killed, until
//! its last sign of life plus [`crate::alive::PERIOD`], which errs on the strict side.

mod holds;
mod read;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use holds::{Hold, HoldEnd};
pub use read::{Home, read_home};

use crate::journal::Event;

/// Milliseconds with the fraction, from nanoseconds.
fn ms(ns: u64) -> f64 {
    ns as f64 / 1_000_000.0
}

/// Two processes that could sign with one key at one time.
#[derive(Debug, Clone, Serialize)]
pub struct Overlap {
    pub key: String,
    pub first: Hold,
    pub second: Hold,
    pub ms: f64,
    /// How many signatures either process made within the overlap.
    pub signatures: usize,
}

/// One signature, as the findings name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    pub home: PathBuf,
    pub run: String,
    pub t: u64,
    pub hash: String,
}

/// Two different things of one kind, signed for one height with one key.
#[derive(Debug, Clone, Serialize)]
pub struct Conflict {
    pub key: String,
    pub kind: Event,
    pub height: u64,
    pub signed: Vec<Signed>,
}

/// A signature for a height that an earlier holder had reached already.
#[derive(Debug, Clone, Serialize)]
pub struct Backward {
    pub key: String,
    pub kind: Event,
    pub height: u64,
    /// The greatest height that earlier holders signed this kind of thing for.
    pub reached: u64,
    pub signed: Signed,
}

/// One process after another with the same key.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    pub key: String,
    pub account: String,
    pub from: Hold,
    pub to: Hold,
    /// From the end of the one to the start of the other; negative for an overlap.
    pub gap_ms: f64,
    /// From the last signature of the one to the first of the other, where both signed.
    pub signature_gap_ms: Option<f64>,
    pub same_home: bool,
}

/// All findings.
#[derive(Debug, Serialize)]
pub struct Report {
    pub overlaps: Vec<Overlap>,
    /// Of blocks, chunks and endorsements.
    pub equivocations: Vec<Conflict>,
    /// Of approvals. They alone harm nobody: a holder that was cut off goes on approving on
    /// its old head, and its successor approves the same heights on the chain's. Not counted
    /// against the verdict.
    pub split_approvals: Vec<Conflict>,
    pub backward: Vec<Backward>,
    pub changes: Vec<Change>,
    /// Of all changes; 0 when there is none.
    pub longest_gap_ms: f64,
    pub signatures: usize,
    pub holds: Vec<Hold>,
}

impl Report {
    /// Whether neither overlaps nor equivocations were found.
    pub fn is_clean(&self) -> bool {
        self.overlaps.is_empty() && self.equivocations.is_empty()
    }

    /// The last line of the text, e.g. `verdict: 0 overlaps, 0 equivocations, 3 changes of
    /// signer, longest gap 1234 ms`.
    pub fn verdict(&self) -> String {
        text::verdict(self)
    }

    /// The findings for a reader. Only changes with a gap above `gap_above` milliseconds are
    /// listed.
    pub fn text(&self, gap_above: f64) -> String {
        text::report(self, gap_above)
    }
}

/// Reads the journals of `homes` (one named twice counts once) and judges them.
///
/// # Errors
/// One line that names the journal that is missing or unreadable.
pub fn check(homes: &[impl AsRef<Path>]) -> Result<Report, String> {
    let mut seen = BTreeSet::new();
    let mut read = Vec::new();
    for home in homes {
        let home = home.as_ref();
        let real = home.canonicalize().map_err(|e| format!("{}: {e}", home.display()))?;
        if seen.insert(real) {
            read.push(read_home(home)?);
        }
    }
    Ok(judge(&read))
}

/// Judges journals that are read already.
pub fn judge(homes: &[Home]) -> Report {
    let mut holds = Vec::new();
    for home in homes {
        holds.extend(holds::holds(home));
    }
    holds.sort_by_key(|hold| (hold.start, hold.end));
    let by_key = |holds: &[Hold]| {
        let mut map: BTreeMap<String, Vec<Hold>> = BTreeMap::new();
        for hold in holds {
            map.entry(hold.key.clone()).or_default().push(hold.clone());
        }
        map
    };
    let mut report = Report {
        overlaps: Vec::new(),
        equivocations: Vec::new(),
        split_approvals: Vec::new(),
        backward: Vec::new(),
        changes: Vec::new(),
        longest_gap_ms: 0.0,
        signatures: 0,
        holds: Vec::new(),
    };
    for (key, holds) in by_key(&holds) {
        find_overlaps(&mut report, &key, &holds, homes);
        find_changes(&mut report, &key, &holds);
        find_backward(&mut report, &key, &holds, homes);
    }
    find_conflicts(&mut report, homes);
    report.longest_gap_ms = report.changes.iter().map(|change| change.gap_ms).fold(0.0, f64::max);
    report.holds = holds;
    report
}

/// `holds` is sorted by start; those of one process never overlap.
fn find_overlaps(report: &mut Report, key: &str, holds: &[Hold], homes: &[Home]) {
    for (i, first) in holds.iter().enumerate() {
        for second in &holds[i + 1..] {
            if first.is_same_process(second) || second.start >= first.end {
                continue;
            }
            let (start, end) = (second.start, first.end.min(second.end));
            let within = |hold: &Hold| {
                let signatures = signatures(homes, key);
                signatures
                    .filter(|(home, entry)| hold.made(home, &entry.run))
                    .filter(|(_, entry)| (start..=end).contains(&entry.t))
                    .count()
            };
            report.overlaps.push(Overlap {
                key: key.to_owned(),
                ms: ms(end.saturating_sub(start)),
                signatures: within(first) + within(second),
                first: first.clone(),
                second: second.clone(),
            });
        }
    }
}

fn find_changes(report: &mut Report, key: &str, holds: &[Hold]) {
    for pair in holds.windows(2) {
        let (from, to) = (&pair[0], &pair[1]);
        if from.is_same_process(to) {
            continue;
        }
        let signature_gap_ms = match (from.last_signature, to.first_signature) {
            (Some(last), Some(first)) => Some(ms(first) - ms(last)),
            _ => None,
        };
        report.changes.push(Change {
            key: key.to_owned(),
            account: to.account.clone(),
            gap_ms: ms(to.start) - ms(from.end),
            signature_gap_ms,
            same_home: from.home == to.home,
            from: from.clone(),
            to: to.clone(),
        });
    }
}

/// All signatures with `key`, home by home.
fn signatures<'a>(
    homes: &'a [Home],
    key: &'a str,
) -> impl Iterator<Item = (&'a Path, &'a crate::journal::Entry)> {
    homes.iter().flat_map(move |home| {
        let entries = home.entries.iter();
        entries
            .filter(move |e| e.event.is_signature() && e.key.as_deref() == Some(key))
            .map(|e| (home.path.as_path(), e))
    })
}

fn signed(home: &Path, entry: &crate::journal::Entry) -> Signed {
    Signed {
        home: home.to_owned(),
        run: entry.run.clone(),
        t: entry.t,
        hash: entry.hash.clone().unwrap_or_default(),
    }
}

fn find_backward(report: &mut Report, key: &str, holds: &[Hold], homes: &[Home]) {
    if holds.windows(2).all(|pair| pair[0].is_same_process(&pair[1])) {
        return;
    }
    let mut all: Vec<_> = signatures(homes, key).collect();
    all.sort_by_key(|(_, entry)| entry.t);
    // For each kind, the greatest height and the process that signed for it.
    let mut reached: BTreeMap<(Event, &Path, &str), u64> = BTreeMap::new();
    for (home, entry) in all {
        let Some(height) = entry.height else { continue };
        let others = reached
            .iter()
            .filter(|((kind, h, run), _)| {
                *kind == entry.event && (*h, *run) != (home, entry.run.as_str())
            })
            .map(|(_, height)| *height)
            .max();
        if let Some(reached) = others.filter(|reached| *reached >= height) {
            report.backward.push(Backward {
                key: key.to_owned(),
                kind: entry.event,
                height,
                reached,
                signed: signed(home, entry),
            });
        }
        let own = reached.entry((entry.event, home, &entry.run)).or_default();
        *own = height.max(*own);
    }
}

fn find_conflicts(report: &mut Report, homes: &[Home]) {
    let mut by_height: BTreeMap<(&str, Event, u64), Vec<Signed>> = BTreeMap::new();
    for home in homes {
        for entry in home.entries.iter().filter(|entry| entry.event.is_signature()) {
            let (Some(key), Some(height)) = (entry.key.as_deref(), entry.height) else { continue };
            report.signatures += 1;
            let list = by_height.entry((key, entry.event, height)).or_default();
            let new = signed(&home.path, entry);
            if !list.iter().any(|known| known.hash == new.hash) {
                list.push(new);
            }
        }
    }
    for ((key, kind, height), signed) in by_height {
        if signed.len() < 2 {
            continue;
        }
        let conflict = Conflict { key: key.to_owned(), kind, height, signed };
        match kind {
            Event::Approval => report.split_approvals.push(conflict),
            _ => report.equivocations.push(conflict),
        }
    }
}

#[cfg(test)]
#[path = "check_test.rs"]
mod tests;
