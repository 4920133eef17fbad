//! What was measured: plain data, kept as JSON, and its statistics.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    options::{Job, Promotion},
    scenario::Scenario,
    support::{binaries, consul, kneard::LEASE},
};

#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    pub consul: String,
    pub kernel: String,
    pub cores: usize,
    pub rounds: Vec<Round>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

/// One fault and what came of it. Times are milliseconds from just before it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Round {
    #[serde(flatten)]
    pub job: Job,
    pub number: u32,
    /// The old signer cannot sign any more.
    pub old_ends_ms: Option<f64>,
    /// The new signer has the key.
    pub new_has_key_ms: Option<f64>,
    pub new_signs_ms: Option<f64>,
    /// From the last signature of the old signer to the first of the new; where the key stays, the
    /// longest span without a signature.
    pub silence_ms: f64,
    /// Blocks and chunks that the chain lacks.
    pub missed: usize,
    /// How often the key was taken from a process that could sign.
    pub ends: usize,
    /// The key went to the other node.
    pub moved: bool,
    /// No beat of the holder's reached Consul for so long.
    pub no_beat_ms: Option<f64>,
    /// Overlaps and equivocations.
    pub violations: u64,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, run {}: ", self.job, self.number)?;
        if let (Some(old), Some(new), Some(signs)) =
            (self.old_ends_ms, self.new_has_key_ms, self.new_signs_ms)
        {
            write!(f, "old ends {old:.0} ms, new has the key {new:.0}, signs {signs:.0}, ")?;
        }
        if let Some(no_beat) = self.no_beat_ms {
            write!(f, "no beat for {no_beat:.0} ms, ")?;
        }
        let (silence, missed, ends) = (self.silence_ms, self.missed, self.ends);
        write!(f, "silent {silence:.0} ms, {missed} missed, {ends} signers ended")
    }
}

impl Figures {
    pub fn new() -> Self {
        let version = binaries::clean(consul::binary()).arg("version").output();
        let version = version.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        let line = version.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            consul: line,
            // What distributions add to it says nothing here.
            kernel: kernel.split('.').take(2).collect::<Vec<_>>().join("."),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rounds: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Adds what was measured earlier and not again.
    pub fn keep(&mut self, earlier: Option<Self>) {
        let anew = self.jobs();
        let rounds = earlier.into_iter().flat_map(|figures| figures.rounds);
        self.rounds.extend(rounds.filter(|round| !anew.contains(&round.job)));
        self.rounds.sort_by_key(|round| (round.job, round.number));
    }

    pub fn of(&self, job: Job) -> Vec<&Round> {
        self.rounds.iter().filter(|round| round.job == job).collect()
    }

    /// What was played, in the tables' order.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs: Vec<_> = self.rounds.iter().map(|round| round.job).collect();
        jobs.sort();
        jobs.dedup();
        jobs
    }

    /// What must not have happened, a line each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = self.failures.clone();
        for round in &self.rounds {
            let at = format!("{}, run {}", round.job, round.number);
            if round.violations > 0 {
                wrong.push(format!("{at}: two could sign, or one height was signed twice"));
            }
            if round.job.scenario.moves_the_key() && !round.moved {
                wrong.push(format!("{at}: the key did not go to the standby"));
            }
        }
        for job in self.jobs() {
            let rounds = self.of(job);
            for limit in limits(&job) {
                let values: Vec<_> =
                    rounds.iter().filter_map(|round| (limit.value)(round)).collect();
                let value = percentile(&values, limit.percentile);
                if value.is_none_or(|value| value > limit.ms) {
                    let value = value.map_or("not measured".to_owned(), |v| format!("{v:.0}"));
                    wrong.push(format!("{job}: {} is {value}, allowed {}", limit.what, limit.ms));
                }
            }
        }
        wrong
    }
}

/// What is promised of a job.
pub struct Limit {
    pub what: &'static str,
    /// The same for a narrow column, before the number.
    pub short: &'static str,
    pub percentile: f64,
    pub ms: f64,
    pub value: fn(&Round) -> Option<f64>,
}

/// The promises of hot swap; a restart takes as long as neard takes.
pub fn limits(job: &Job) -> Vec<Limit> {
    let lease = job.lease_s as f64 * 1000.0;
    let has_key: fn(&Round) -> Option<f64> = |round| round.new_has_key_ms;
    match job.scenario {
        _ if job.promotion == Promotion::Restart => Vec::new(),
        Scenario::Switchover => vec![
            Limit {
                what: "old signer's end to the new one's start, median, ms",
                short: "median from end to key ≤",
                percentile: 0.5,
                ms: 150.0,
                value: |round| Some(round.new_has_key_ms? - round.old_ends_ms?),
            },
            Limit {
                what: "blocks and chunks missed, most",
                short: "missed ≤",
                percentile: 1.0,
                ms: 0.0,
                value: |round| Some(round.missed as f64),
            },
        ],
        Scenario::NeardDeath | Scenario::KneardDeath | Scenario::GuardDeath => vec![
            Limit {
                what: "new signer, median, ms",
                short: "median ≤",
                percentile: 0.5,
                ms: 800.0,
                value: has_key,
            },
            Limit {
                what: "new signer, p95, ms",
                short: "p95 ≤",
                percentile: 0.95,
                ms: 1200.0,
                value: has_key,
            },
        ],
        Scenario::Freeze | Scenario::HostLoss | Scenario::Partition => vec![Limit {
            what: "new signer, p95, ms",
            short: "p95 ≤",
            percentile: 0.95,
            ms: lease + 500.0,
            value: has_key,
        }],
        // Shorter leases are played to show what they cost.
        Scenario::LeaderLoss if job.lease_s < LEASE.as_secs() => Vec::new(),
        Scenario::LeaderLoss | Scenario::AgentLoss => vec![Limit {
            what: "signers that lost the key, most",
            short: "lost ≤",
            percentile: 1.0,
            ms: 0.0,
            value: |round| Some(round.ends as f64),
        }],
    }
}

/// The smallest value that so large a part of the values does not exceed.
pub fn percentile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}
