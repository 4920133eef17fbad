//! What the stand-ins' signature logs say, by way of `signature-check`.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::support::signatures;

/// All times are boot times in nanoseconds.
#[derive(Debug, Deserialize)]
pub struct Journal {
    overlaps: Vec<Value>,
    equivocations: Vec<Value>,
    holds: Vec<Hold>,
}

/// From when to when one process could sign.
#[derive(Debug, Clone, Deserialize)]
pub struct Hold {
    pub home: PathBuf,
    start: u64,
    end: u64,
    first_signature: Option<u64>,
    last_signature: Option<u64>,
}

impl Hold {
    pub fn start(&self) -> Duration {
        Duration::from_nanos(self.start)
    }

    pub fn end(&self) -> Duration {
        Duration::from_nanos(self.end)
    }

    pub fn first_signature(&self) -> Option<Duration> {
        self.first_signature.map(Duration::from_nanos)
    }

    pub fn last_signature(&self) -> Option<Duration> {
        self.last_signature.map(Duration::from_nanos)
    }
}

impl Journal {
    pub fn read(homes: &[PathBuf]) -> Self {
        serde_json::from_value(signatures::findings(homes)).expect("the fields of a report")
    }

    /// Overlaps and equivocations, of the whole of the cluster's life.
    pub fn violations(&self) -> u64 {
        (self.overlaps.len() + self.equivocations.len()) as u64
    }

    /// Who could sign at `moment`.
    pub fn holder(&self, moment: Duration) -> Option<&Hold> {
        self.holds.iter().filter(|hold| hold.start() <= moment).max_by_key(|hold| hold.start)
    }

    /// The holds that began after `moment`, the first first.
    pub fn since(&self, moment: Duration) -> Vec<&Hold> {
        let mut holds: Vec<_> = self.holds.iter().filter(|hold| hold.start() > moment).collect();
        holds.sort_by_key(|hold| hold.start);
        holds
    }
}
