//! Writes and reads while three servers have no leader: what is said of them must be true.

use std::fmt;
use std::time::Duration;

use kneard::consul::{Consistency, SessionId, TxnOp};

use super::LIMIT;
use super::timed::Timed;

/// For one write; shorter than an election.
const SHORT: Duration = Duration::from_millis(400);
/// No election takes so long.
const BOUND: Duration = Duration::from_secs(60);

/// What the client said of each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Done,
    NotDone,
    Unknown,
}

pub struct Gap {
    prefix: String,
    said: Vec<Said>,
    /// How many reads were answered, of how many.
    reads: (usize, usize),
}

impl Gap {
    /// Write one key after the other until a write succeeds after some had failed. `locked`, a key
    /// and the session that holds it, is read meanwhile, and is seen so or not at all.
    pub async fn live_through(both: &Timed, prefix: &str, locked: (&str, &SessionId)) -> Self {
        let mut gap = Self { prefix: prefix.to_owned(), said: Vec::new(), reads: (0, 0) };
        let end = both.now() + BOUND;
        loop {
            let key = gap.key(gap.said.len());
            let set = TxnOp::Set { key, value: b"written".to_vec(), flags: 0 };
            let said = match both.client.txn(&[set], SHORT).await {
                Ok(_) => Said::Done,
                Err(error) if error.certainly_not_applied() => Said::NotDone,
                Err(_) => Said::Unknown,
            };
            let over = said == Said::Done && gap.count(Said::Done) < gap.said.len();
            gap.said.push(said);
            if over {
                return gap;
            }
            assert!(both.now() < end, "no leader within {BOUND:?}: {gap}");
            for how in [Consistency::Stale, Consistency::Default, Consistency::Consistent] {
                gap.reads.1 += 1;
                let Ok(read) = both.client.read(locked.0, how, SHORT).await else { continue };
                gap.reads.0 += 1;
                let holder = read.entry.and_then(|entry| entry.session);
                assert_eq!(holder.as_ref(), Some(locked.1), "{how:?}");
            }
            // A server without a leader answers at once.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What was said to be done is there, and what was said not to be done is not.
    pub async fn check(&self, both: &Timed) {
        for (number, said) in self.said.iter().enumerate() {
            let key = self.key(number);
            let read = both.client.read(&key, Consistency::Consistent, LIMIT).await;
            let there = read.expect("a read").entry.is_some();
            match said {
                Said::Done => assert!(there, "{key} was said to be written"),
                Said::NotDone => assert!(!there, "{key} was said not to be written"),
                Said::Unknown => {}
            }
        }
    }

    fn key(&self, number: usize) -> String {
        format!("{}/{number}", self.prefix)
    }

    fn count(&self, what: Said) -> usize {
        self.said.iter().filter(|said| **said == what).count()
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [done, not, unknown] =
            [Said::Done, Said::NotDone, Said::Unknown].map(|what| self.count(what));
        let (answered, reads) = self.reads;
        write!(
            f,
            "{done} writes done, {not} certainly not done, {unknown} of unknown outcome, \
             {answered} of {reads} reads answered"
        )
    }
}
