//! The flags, and the work that follows from them.

use std::{fmt, path::PathBuf};

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::{scenario::Scenario, support::kneard::LEASE};

/// Measures every kind of failover. Needs root: each host is a network namespace.
#[derive(Debug, Parser)]
#[command(name = "failover")]
pub struct Options {
    /// How often each scenario is played
    #[arg(long, default_value_t = 20)]
    pub runs: u32,

    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Scenario>,

    /// Only this way of giving neard the key
    #[arg(long, value_enum)]
    promotion: Option<Promotion>,

    /// Leases, in seconds, with which the loss of Consul's leader is played beside the default one
    #[arg(long, value_delimiter = ',', default_value = "3,4,5,6")]
    leases: Vec<u64>,

    /// A lease, in seconds, with which the deaths of processes are played beside the default one
    #[arg(long, default_value_t = 30)]
    long_lease: u64,

    /// How many clusters run at a time
    #[arg(long, default_value_t = 4)]
    pub clusters: usize,

    /// The moments of the faults follow from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write failover.json, failover.svg and failover.md to this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Take the figures from this failover.json; only what --scenarios names is played anew
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,

    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    HotSwap,
    Restart,
}

impl Promotion {
    pub const ALL: [Self; 2] = [Self::HotSwap, Self::Restart];

    /// As `kneard --promotion` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HotSwap => "hot-swap",
            Self::Restart => "restart",
        }
    }
}

/// One scenario in one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Job {
    pub scenario: Scenario,
    pub promotion: Promotion,
    pub lease_s: u64,
}

impl Job {
    pub fn has_default_lease(&self) -> bool {
        self.lease_s == LEASE.as_secs()
    }

    pub fn name(&self) -> String {
        format!("{}-{}-{}s", self.scenario.name(), self.promotion.name(), self.lease_s)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scenario, promotion) = (self.scenario.name(), self.promotion.name());
        write!(f, "{scenario}, {promotion}, lease {} s", self.lease_s)
    }
}

impl Options {
    /// Nothing is to be played.
    pub fn only_renders(&self) -> bool {
        self.from.is_some() && self.scenarios.is_empty()
    }

    /// Those that take longest first.
    pub fn jobs(&self) -> Vec<Job> {
        let wanted =
            |scenario: &Scenario| self.scenarios.is_empty() || self.scenarios.contains(scenario);
        let lease = LEASE.as_secs();
        let mut jobs = Vec::new();
        for scenario in Scenario::ALL.into_iter().filter(wanted) {
            let others: &[u64] = match scenario {
                Scenario::LeaderLoss => &self.leases,
                _ if scenario.is_a_death() => &[self.long_lease],
                _ => &[],
            };
            let others = others.iter().map(|lease_s| (Promotion::HotSwap, *lease_s));
            let mut all: Vec<_> = others.chain(Promotion::ALL.map(|one| (one, lease))).collect();
            all.sort_unstable();
            all.dedup();
            jobs.extend(
                all.into_iter()
                    .filter(|(promotion, _)| self.promotion.is_none_or(|only| only == *promotion))
                    .map(|(promotion, lease_s)| Job { scenario, promotion, lease_s }),
            );
        }
        let short = |job: &Job| (job.promotion == Promotion::HotSwap, !job.scenario.ends_a_lease());
        jobs.sort_by_key(short);
        jobs
    }
}
