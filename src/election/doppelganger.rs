//! Is the validator key at work somewhere that kneard does not manage?
//!
//! Before the first promotion of a process the chain is asked what the account has signed. While
//! nobody holds the key that must not grow. A process that has seen another node's record change
//! knows that the key was managed all the time, and asks nothing.

use std::time::Duration;

use super::{Duties, Mark, Time};

/// Blocks after which what a holder signed last is counted by the chain.
const SETTLING_BLOCKS: u64 = 3;
/// Blocks in which a signer would sign something.
const WATCHED_BLOCKS: u64 = 3;
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// A chain that makes no block for so long has halted, and a neard that gives no answer for so long
/// will give none: to wait on would keep the chain from being started again.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Doppelganger {
    /// The key is known to be managed, or the check is not wanted.
    clear: bool,
    /// The record that was there first.
    first: Option<Mark>,
    watch: Option<Watch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Watch {
    since: Time,
    /// The own head at that time.
    head: u64,
    asked: bool,
    next_ask: Time,
    answered: bool,
    /// What was signed, and the own head, when the comparison began.
    base: Option<(Duties, u64)>,
    found: bool,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// The key signs elsewhere, which was not known before.
    Found,
    /// It does not, or as far as can be known.
    Clear(&'static str),
}

impl Doppelganger {
    pub fn new(wanted: bool) -> Self {
        Doppelganger { clear: !wanted, first: None, watch: None }
    }

    pub fn is_clear(&self) -> bool {
        self.clear
    }

    /// Something signs with the key that is not managed.
    pub fn is_found(&self) -> bool {
        !self.clear && self.watch.as_ref().is_some_and(|watch| watch.found)
    }

    /// Takes in another node's record.
    pub fn observe(&mut self, mark: Mark) {
        match &self.first {
            None => self.first = Some(mark),
            Some(first) => self.clear |= *first != mark,
        }
    }

    /// Somebody may hold the key: nothing can be concluded from what is signed.
    pub fn interrupt(&mut self) {
        self.watch = None;
    }

    /// Nobody holds the key. Whether the chain is to be asked now.
    pub fn is_due(&mut self, now: Time, head: u64) -> bool {
        let watch = self.watch.get_or_insert(Watch {
            since: now,
            head,
            asked: false,
            next_ask: now,
            answered: false,
            base: None,
            found: false,
        });
        let due = !watch.asked && now >= watch.next_ask;
        watch.asked |= due;
        due
    }

    pub fn next_ask(&self) -> Option<Time> {
        self.watch.as_ref().filter(|watch| !watch.asked).map(|watch| watch.next_ask)
    }

    pub fn answered(
        &mut self,
        now: Time,
        head: u64,
        answer: Result<Option<Duties>, String>,
    ) -> Finding {
        let Some(watch) = self.watch.as_mut().filter(|watch| watch.asked) else {
            return Finding::Nothing;
        };
        watch.asked = false;
        watch.next_ask = now + ASK_INTERVAL;
        let finding = watch.judge(now, head, answer);
        self.clear |= matches!(finding, Finding::Clear(_));
        finding
    }
}

impl Watch {
    fn judge(&mut self, now: Time, head: u64, answer: Result<Option<Duties>, String>) -> Finding {
        let waited = now.since(self.since) >= PATIENCE;
        let duties = match answer {
            Ok(Some(duties)) => duties,
            Ok(None) => return Finding::Clear("the account does not validate in this epoch"),
            Err(_) if waited && !self.answered => {
                return Finding::Clear("neard does not say what was signed: not checked");
            }
            Err(_) => return Finding::Nothing,
        };
        self.answered = true;
        match &self.base {
            Some((base, _)) if base.epoch == duties.epoch && duties.signed > base.signed => {
                self.base = Some((duties, head));
                let known = std::mem::replace(&mut self.found, true);
                if known { Finding::Nothing } else { Finding::Found }
            }
            Some((base, from)) if base.epoch == duties.epoch => {
                let over = head >= from.saturating_add(WATCHED_BLOCKS);
                self.verdict(over, waited, head)
            }
            None if head < self.head.saturating_add(SETTLING_BLOCKS) => {
                self.verdict(false, waited, head)
            }
            // With a new epoch the figures begin anew.
            Some(_) | None => {
                self.base = Some((duties, head));
                Finding::Nothing
            }
        }
    }

    fn verdict(&self, over: bool, waited: bool, head: u64) -> Finding {
        if over {
            Finding::Clear("nothing was signed")
        } else if waited && head == self.head && !self.found {
            Finding::Clear("the chain makes no blocks: not checked")
        } else {
            Finding::Nothing
        }
    }
}
