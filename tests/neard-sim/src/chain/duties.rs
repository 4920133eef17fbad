//! Who was to make what, and did: the figures of the RPC methods `validators` and
//! `EXPERIMENTAL_maintenance_windows`, counted from the chain itself.

use crate::chain::store::Store;
use crate::genesis::Genesis;

/// One validator's figures in the current epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub produced_blocks: u64,
    pub expected_blocks: u64,
    pub produced_chunks: u64,
    pub expected_chunks: u64,
    pub produced_endorsements: u64,
    pub expected_endorsements: u64,
}

/// The figures of all validators, from the start of the head's epoch (or the oldest block
/// kept, if that is later) to the head.
pub fn figures(genesis: &Genesis, store: &Store) -> Vec<Figures> {
    let mut all = vec![Figures::default(); genesis.validators.len()];
    let start = genesis.epoch_start(store.head().height).max(genesis.height + 1);
    for block in store.from(start) {
        for height in (block.prev_height + 1).max(start)..=block.height {
            all[genesis.block_producer(height)].expected_blocks += 1;
        }
        all[block.producer].produced_blocks += 1;
        // No chunk builds on the genesis: no node saw it arrive.
        if block.prev_height > genesis.height {
            all[genesis.chunk_producer(block.prev_height + 1)].expected_chunks += 1;
            for figures in &mut all {
                figures.expected_endorsements += u64::from(block.chunk.is_some());
            }
        }
        if let Some(included) = &block.chunk {
            all[included.chunk.producer].produced_chunks += 1;
            for (who, _) in &included.endorsements {
                all[*who].produced_endorsements += 1;
            }
        }
    }
    all
}

/// Ranges of heights, the end excluded, from the head to the end of its epoch, in which the
/// validator `who` (none: an account without a seat) makes neither block nor chunk.
/// Endorsements do not count, as in nearcore.
pub fn maintenance_windows(genesis: &Genesis, head: u64, who: Option<usize>) -> Vec<(u64, u64)> {
    let end = genesis.epoch_start(head) + genesis.epoch_length;
    let mut windows = Vec::new();
    let mut open = None;
    for height in head..end {
        let busy = who.is_some_and(|who| {
            genesis.block_producer(height) == who || genesis.chunk_producer(height) == who
        });
        match (busy, open) {
            (true, Some(start)) => {
                windows.push((start, height));
                open = None;
            }
            (false, None) => open = Some(height),
            _ => {}
        }
    }
    windows.extend(open.map(|start| (start, end)));
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::tests::of_nodes;

    #[test]
    fn windows_leave_out_the_heights_with_duties() {
        let genesis = of_nodes(4);
        // node1 makes the chunks of heights 0, 4, 8 and the blocks of 1, 5, 9.
        let windows = maintenance_windows(&genesis, 490, Some(1));
        assert_eq!(windows, [(490, 492), (494, 496), (498, 500)]);
    }

    #[test]
    fn an_account_without_a_seat_is_free_until_the_epoch_ends() {
        assert_eq!(maintenance_windows(&of_nodes(4), 10, None), [(10, 500)]);
    }

    #[test]
    fn a_single_validator_is_never_free() {
        assert!(maintenance_windows(&of_nodes(1), 10, Some(0)).is_empty());
    }
}
