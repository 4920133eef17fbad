//! When the key can go to another neard so that the chain misses nothing.
//!
//! When a block arrives, the maker of the next chunk makes it, then and never later, and everyone
//! sends their approval of the next block to that block's maker alone (nearcore
//! `chain/client/src/client.rs`, `on_block_accepted_with_optional_chunk_produce` and
//! `send_block_approval`). So no block may arrive while the key is on its way if the account has a
//! part in the next one; and once the approvals for its own block are there, no other neard can
//! make that block.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::rpc::{Rpc, Status};

/// A moment that is not found within this is not waited for: blocks take half of it on mainnet.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);
/// How long neard may take to answer.
const LIMIT: Duration = Duration::from_millis(500);
/// No block arrives sooner after another one (nearcore `core/chain-configs`,
/// `min_block_production_delay` of mainnet; it is longer on testnet).
const BLOCK_TIME: Duration = Duration::from_millis(600);
/// How long the key is on its way, with a reserve.
const HANDOVER: Duration = Duration::from_millis(150);
/// After how long the approvals that a block gave rise to are there.
const APPROVALS: Duration = Duration::from_millis(200);

/// Returns at a moment at which `account` can stop signing without a gap, or after a while without
/// one. A neard that does not answer is not waited for.
pub async fn quiet_moment(rpc: Rpc, account: &str) {
    let end = Instant::now() + PATIENCE;
    // Without an answer every height counts as one with duties.
    let free = rpc.maintenance_windows(account, LIMIT).await.unwrap_or_default();
    let mut seen: Option<(u64, Option<Instant>)> = None;
    while Instant::now() < end {
        let Ok(status) = rpc.status(LIMIT).await else { return };
        let Ok(made_up_to) = rpc.made_up_to(LIMIT).await else { return };
        // Its arrival is known exactly if it came while we waited.
        let arrived = match seen {
            Some((head, arrived)) if head == status.head => arrived,
            Some(_) => Some(Instant::now()),
            None => None,
        };
        seen = Some((status.head, arrived));
        let age = arrived.map_or_else(|| age(&status), |arrived| Some(arrived.elapsed()));
        let head = Head { height: status.head, age, made_up_to };
        if head.is_quiet(&free) {
            return;
        }
        sleep(STEP).await;
    }
}

/// By the clocks of two hosts: only a hint.
fn age(status: &Status) -> Option<Duration> {
    SystemTime::now().duration_since(status.head_time?).ok()
}

/// The newest block.
struct Head {
    height: u64,
    /// How long ago it arrived, if that is known.
    age: Option<Duration>,
    /// The account has the approvals for its blocks up to here.
    made_up_to: Option<u64>,
}

impl Head {
    /// `free`: ranges of heights (the end excluded) at which the account makes neither block nor
    /// chunk.
    fn is_quiet(&self, free: &[(u64, u64)]) -> bool {
        let is_free = |height| free.iter().any(|(start, end)| (*start..*end).contains(&height));
        let makes_next = self.made_up_to.is_some_and(|up_to| up_to > self.height);
        let approved = self.age.is_some_and(|age| age >= APPROVALS);
        let next_is_far = self.age.is_some_and(|age| age + HANDOVER < BLOCK_TIME);
        !makes_next
            && (is_free(self.height + 1) || approved)
            && (is_free(self.height + 2) || next_is_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The account makes the chunk of height 4 and the block of 5, as of every four.
    const FREE: [(u64, u64); 3] = [(2, 4), (6, 8), (10, 12)];

    fn is_quiet(height: u64, age_ms: Option<u64>, made_up_to: u64) -> bool {
        let age = age_ms.map(Duration::from_millis);
        Head { height, age, made_up_to: Some(made_up_to) }.is_quiet(&FREE)
    }

    #[test]
    fn after_an_own_block_any_time_is_good() {
        for age in [None, Some(0), Some(590), Some(5_000)] {
            assert!(is_quiet(5, age, 5), "{age:?}");
        }
    }

    #[test]
    fn a_block_that_asks_for_work_is_not_to_arrive_meanwhile() {
        assert!(is_quiet(2, Some(10), 1));
        assert!(is_quiet(2, Some(440), 1));
        for age in [None, Some(460), Some(900)] {
            assert!(!is_quiet(2, age, 1), "{age:?}");
        }
    }

    #[test]
    fn an_own_block_is_made_before_anything_else() {
        for age in [None, Some(10), Some(300), Some(900)] {
            assert!(!is_quiet(4, age, 5), "{age:?}");
        }
        // Its approvals may still be under way.
        assert!(!is_quiet(4, Some(10), 1));
        // They did not come: somebody else is going to make the next one.
        assert!(is_quiet(4, Some(300), 1));
    }

    #[test]
    fn between_two_duties_there_is_a_moment() {
        assert!(!is_quiet(3, Some(190), 1));
        assert!(is_quiet(3, Some(210), 1));
        assert!(!is_quiet(3, Some(460), 1));
    }

    #[test]
    fn who_knows_of_no_free_height_goes_by_the_block_times() {
        let head =
            |age_ms| Head { height: 2, age: Some(Duration::from_millis(age_ms)), made_up_to: None };
        assert!(!head(100).is_quiet(&[]));
        assert!(head(300).is_quiet(&[]));
        assert!(!head(500).is_quiet(&[]));
    }
}
