//! The index of a blocking query.
//!
//! The rules are those of Consul's documentation ("Implementation Details" of blocking queries):
//! start anew when the index goes backwards, never trust a zero, and do not ask in a tight loop.

use std::time::Duration;

/// The `index` to send with the next blocking query on one key, and how long to pause before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockingIndex {
    index: u64,
    /// Answers in a row that came at once and brought no higher index.
    idle_answers: u32,
}

/// What an answer's index means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Higher than before: the key, or for a missing key any key, may have changed.
    Advanced,
    /// The wait ran out, or the server ended it early, without a change.
    Unchanged,
    /// Lower than before (a restored snapshot, another cluster): what was known is void.
    WentBack,
}

impl BlockingIndex {
    /// Nothing seen yet: the first query does not block.
    pub fn new() -> Self {
        Self::default()
    }

    /// The index to ask with; 0 does not block.
    pub fn next(&self) -> u64 {
        self.index
    }

    /// Forget the index, as after an answer that could not be read.
    pub fn reset(&mut self) {
        self.index = 0;
    }

    /// Take in an answer's `X-Consul-Index`. A zero counts as 1, because a query with 0 does not
    /// block and would spin.
    pub fn update(&mut self, answered: u64) -> Progress {
        let answered = answered.max(1);
        let progress = match answered.cmp(&self.index) {
            std::cmp::Ordering::Greater => Progress::Advanced,
            std::cmp::Ordering::Equal => Progress::Unchanged,
            std::cmp::Ordering::Less => Progress::WentBack,
        };
        self.index = if progress == Progress::WentBack { 0 } else { answered };
        progress
    }

    /// How long to pause before the next query, given the last one's [`Progress`] and the time it
    /// took of the `wait` it asked for. `random` (any number) spreads the nodes apart.
    ///
    /// Nothing after a change or a full wait. Servers that answer at once without a change, or
    /// with ever lower indexes, are asked ever less often: 50 ms doubling to 1.6 s, plus up to
    /// half of it.
    pub fn pause(
        &mut self,
        progress: Progress,
        took: Duration,
        wait: Duration,
        random: u64,
    ) -> Duration {
        let early = took < wait / 2;
        if progress == Progress::Advanced || (progress == Progress::Unchanged && !early) {
            self.idle_answers = 0;
            return Duration::ZERO;
        }
        let millis = 50u64 << self.idle_answers.min(5);
        self.idle_answers = self.idle_answers.saturating_add(1);
        Duration::from_millis(millis + random % (millis / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    #[test]
    fn the_first_query_does_not_block_and_later_ones_carry_the_last_index() {
        let mut index = BlockingIndex::new();
        assert_eq!(index.next(), 0);
        assert_eq!(index.update(7), Progress::Advanced);
        assert_eq!(index.next(), 7);
        assert_eq!(index.update(7), Progress::Unchanged);
        assert_eq!(index.next(), 7);
        assert_eq!(index.update(9), Progress::Advanced);
        assert_eq!(index.next(), 9);
    }

    #[test]
    fn an_index_that_goes_backwards_starts_anew() {
        let mut index = BlockingIndex::new();
        index.update(100);
        assert_eq!(index.update(40), Progress::WentBack);
        assert_eq!(index.next(), 0);
        assert_eq!(index.update(40), Progress::Advanced);
        assert_eq!(index.next(), 40);
    }

    #[test]
    fn a_zero_counts_as_one_so_that_the_next_query_blocks() {
        let mut index = BlockingIndex::new();
        assert_eq!(index.update(0), Progress::Advanced);
        assert_eq!(index.next(), 1);
        assert_eq!(index.update(0), Progress::Unchanged);
        assert_eq!(index.next(), 1);
    }

    #[test]
    fn changes_and_full_waits_are_followed_at_once() {
        let mut index = BlockingIndex::new();
        let none = Duration::ZERO;
        assert_eq!(index.pause(Progress::Advanced, none, WAIT, 9), none);
        assert_eq!(index.pause(Progress::Unchanged, WAIT, WAIT, 9), none);
    }

    #[test]
    fn answers_at_once_without_a_change_are_asked_for_ever_less_often() {
        let mut index = BlockingIndex::new();
        let mut last = Duration::ZERO;
        for _ in 0..6 {
            let pause = index.pause(Progress::Unchanged, Duration::ZERO, WAIT, 0);
            assert!(pause > last, "{pause:?} after {last:?}");
            last = pause;
        }
        assert_eq!(last, Duration::from_millis(1600));
        for random in [0, 1, u64::MAX] {
            let pause = index.pause(Progress::WentBack, Duration::ZERO, WAIT, random);
            assert!((1600..=2400).contains(&pause.as_millis()), "{pause:?}");
        }
        index.pause(Progress::Advanced, Duration::ZERO, WAIT, 0);
        assert_eq!(
            index.pause(Progress::Unchanged, Duration::ZERO, WAIT, 0),
            Duration::from_millis(50)
        );
    }
}
