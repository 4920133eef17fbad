//! A host's clock: it starts anywhere and runs at its own rate.

use kneard::election::{MAX_DRIFT_PER_MILLE, Time};

use super::random::Random;

const MILLION: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    /// Since when it runs, in the world's time.
    since: u64,
    /// By how many millionths it is faster than the slowest clock that is possible.
    faster: u64,
}

impl Clock {
    /// Of a machine that is switched on at `since`.
    pub fn new(since: u64, faster: u64, random: &mut Random) -> Self {
        Clock { start: random.below(1_000_000 * 1_000 * MILLION), since, faster }
    }

    /// Within what the protocol assumes; often at the edge of it.
    pub fn any_rate(random: &mut Random) -> u64 {
        let most = u64::from(MAX_DRIFT_PER_MILLE) * 1_000;
        match random.below(4) {
            0 => 0,
            1 => most,
            _ => random.below(most + 1),
        }
    }

    /// A wall clock would be set back so.
    pub fn set_back(&mut self, by: u64) {
        self.start = self.start.saturating_sub(by);
    }

    /// What it shows.
    pub fn read(self, now: u64) -> Time {
        let passed = now.saturating_sub(self.since);
        let extra = passed / MILLION * self.faster + passed % MILLION * self.faster / MILLION;
        Time::from_nanos(self.start + passed + extra)
    }

    /// The first instant at which it shows `time` or later.
    pub fn instant(self, time: Time) -> u64 {
        let shown = time.as_nanos().saturating_sub(self.start);
        let (whole, rest) = (shown / (MILLION + self.faster), shown % (MILLION + self.faster));
        let mut at = self.since + whole * MILLION + rest * MILLION / (MILLION + self.faster);
        while self.read(at) < time {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_the_first_at_which_the_clock_shows_it() {
        let mut random = Random::new(7);
        for _ in 0..10_000 {
            let clock = Clock::new(random.below(1 << 40), random.below(10_001), &mut random);
            let time = Time::from_nanos(clock.start + random.below(1 << 45));
            let at = clock.instant(time);
            assert!(clock.read(at) >= time);
            assert!(at == clock.since || clock.read(at - 1) < time);
        }
    }
}
