//! From journal lines to the intervals in which a process could sign.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::alive;
use crate::check::read::Home;
use crate::journal::{Entry, Event, run_name};

/// How an interval ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldEnd {
    /// The process gave the key up.
    Unloaded,
    /// The process ended in good order.
    Exit,
    /// The process was killed, or runs still: this is its last sign of life.
    LastAlive,
}

/// An interval in which one process could sign with one key. Boot times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    pub home: PathBuf,
    pub run: String,
    pub pid: u32,
    pub account: String,
    #[serde(skip)]
    pub key: String,
    pub start: u64,
    pub end: u64,
    pub ended_by: HoldEnd,
    pub first_signature: Option<u64>,
    pub last_signature: Option<u64>,
    pub signatures: usize,
}

impl Hold {
    /// Whether both are of one process.
    pub fn is_same_process(&self, other: &Self) -> bool {
        self.made(&other.home, &other.run)
    }

    /// Whether this is an interval of that process.
    pub fn made(&self, home: &Path, run: &str) -> bool {
        self.home == home && self.run == run
    }
}

/// The intervals of a home, in the order of its journal.
pub fn holds(home: &Home) -> Vec<Hold> {
    let mut runs: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &home.entries {
        runs.entry(&entry.run).or_default().push(entry);
    }
    let mut all = Vec::new();
    for (run, entries) in runs {
        all.extend(holds_of_run(home, run, &entries));
    }
    all
}

fn holds_of_run(home: &Home, run: &str, entries: &[&Entry]) -> Vec<Hold> {
    let mut done = Vec::new();
    let mut open: Option<Hold> = None;
    // The last thing that shows the process running.
    let mut seen = 0;
    for entry in entries {
        seen = seen.max(entry.t);
        match entry.event {
            Event::Start | Event::LastAlive => {}
            Event::KeyUnloaded | Event::Exit => {
                let ended_by = match entry.event {
                    Event::Exit => HoldEnd::Exit,
                    _ => HoldEnd::Unloaded,
                };
                done.extend(open.take().map(|hold| Hold { end: entry.t, ended_by, ..hold }));
            }
            Event::KeyLoaded
            | Event::Block
            | Event::Chunk
            | Event::Endorsement
            | Event::Approval => {
                let key = entry.key.clone().unwrap_or_default();
                if open.as_ref().is_some_and(|hold| hold.key != key) {
                    // A key in place of another without an unload: the journal lacks a line,
                    // so the other counts as held until here.
                    done.extend(open.take().map(|hold| Hold { end: entry.t, ..hold }));
                }
                // A signature without a `key-loaded` before it counts as a load of its own.
                let hold = open.get_or_insert_with(|| Hold {
                    home: home.path.clone(),
                    run: run.to_owned(),
                    pid: entry.pid,
                    account: entry.account.clone().unwrap_or_default(),
                    key,
                    start: entry.t,
                    end: entry.t,
                    ended_by: HoldEnd::LastAlive,
                    first_signature: None,
                    last_signature: None,
                    signatures: 0,
                });
                if entry.event.is_signature() {
                    hold.first_signature.get_or_insert(entry.t);
                    hold.last_signature = Some(entry.t);
                    hold.signatures += 1;
                }
            }
        }
    }
    if let Some(hold) = open {
        let stamp = home.stamp.filter(|s| run_name(s.pid, s.started) == run).map_or(0, |s| s.last);
        let end = seen.max(stamp) + alive::PERIOD.as_nanos() as u64;
        done.push(Hold { end, ended_by: HoldEnd::LastAlive, ..hold });
    }
    done
}
