//! What a run counts.

use super::faults::Fault;

/// Lengths in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u32>);

impl Times {
    pub fn add(&mut self, millis: u64) {
        self.0.push(u32::try_from(millis).unwrap_or(u32::MAX));
    }

    pub fn merge(&mut self, other: &Times) {
        self.0.extend(&other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that so many of a hundred do not exceed.
    pub fn percentiles<const N: usize>(&self, of: [f64; N]) -> [u32; N] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        of.map(|share| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((share / 100.0 * last as f64).round() as usize).copied().unwrap_or(0)
        })
    }
}

/// Of one run, or of many.
#[derive(Clone, Debug)]
pub struct Stats {
    pub seeds: u64,
    pub nanos: u64,
    pub events: u64,
    pub faults: [u64; Fault::ALL.len()],
    /// By the single fault that caused each, and whether hot swap was on: from the fault until the successor's neard has confirmed.
    pub takeovers: Vec<((Fault, bool), Times)>,
    /// From the end of any neard with the key to the next that has confirmed it.
    pub gaps: Times,
    /// Neards that were started with the key and have ended.
    pub tenures: u64,
    /// Elections of a leader of Consul for which a holder took the key out of neard for a moment.
    pub suspended: u64,
    /// Terms that became active.
    pub terms: u64,
    /// Of everything that happened, in its order.
    pub hash: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            seeds: 0,
            nanos: 0,
            events: 0,
            faults: [0; Fault::ALL.len()],
            takeovers: Vec::new(),
            gaps: Times::default(),
            tenures: 0,
            suspended: 0,
            terms: 0,
            hash: 0,
        }
    }
}

impl Stats {
    pub(super) fn took_over(&mut self, fault: Fault, swaps: bool, nanos: u64) {
        self.times((fault, swaps)).add(nanos / super::MS);
    }

    fn times(&mut self, cause: (Fault, bool)) -> &mut Times {
        let position = match self.takeovers.iter().position(|(known, _)| *known == cause) {
            Some(position) => position,
            None => {
                self.takeovers.push((cause, Times::default()));
                self.takeovers.len() - 1
            }
        };
        &mut self.takeovers[position].1
    }

    pub fn merge(&mut self, other: &Stats) {
        self.seeds += other.seeds;
        self.nanos += other.nanos;
        self.events += other.events;
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
        for (cause, times) in &other.takeovers {
            self.times(*cause).merge(times);
        }
        self.gaps.merge(&other.gaps);
        self.tenures += other.tenures;
        self.suspended += other.suspended;
        self.terms += other.terms;
        // Whatever the order in which threads finish.
        self.hash ^= other.hash;
    }

    pub fn hours(&self) -> f64 {
        self.nanos as f64 / super::HOUR as f64
    }
}
