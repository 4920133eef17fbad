//! The chain: a block each 600 ms, except while it halts.

use super::MS;

pub const BLOCK_TIME: u64 = 600 * MS;
/// A chain has some history.
const FIRST_HEIGHT: u64 = 1_000;

#[derive(Default)]
pub struct Chain {
    /// From, to.
    halts: Vec<(u64, u64)>,
}

impl Chain {
    /// No block is made until `until`. Does nothing while it halts already.
    pub fn halt(&mut self, now: u64, until: u64) {
        if self.halts.last().is_none_or(|(_, end)| *end <= now) {
            self.halts.push((now, until));
        }
    }

    /// Height of the newest block.
    pub fn height(&self, at: u64) -> u64 {
        let halted: u64 = self.halts.iter().map(|(from, to)| at.clamp(*from, *to) - from).sum();
        FIRST_HEIGHT + (at - halted) / BLOCK_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_block_is_made_in_a_halt() {
        let mut chain = Chain::default();
        chain.halt(6_000 * MS, 12_000 * MS);
        chain.halt(7_000 * MS, 90_000 * MS);
        let heights = [0, 6_000, 11_999, 12_000, 12_600].map(|ms| chain.height(ms * MS));
        assert_eq!(heights, [1_000, 1_010, 1_010, 1_010, 1_011]);
    }
}
