//! Who took over from whom, why, and for how long nobody signed: derived from what one node sees,
//! for the history. It decides nothing.

use std::fmt;
use std::time::Duration;

use super::{InstanceId, Machine, Mark, RecordState, Step, Time};

/// Reasons of a release, as the record gives them.
pub(super) const SWITCHOVER: &str = "switchover";
pub(super) const STOPPING: &str = "kneard is stopping";
pub(super) const NOT_IN_SYNC: &str = "neard is not in sync";

/// A change of holder, as the new holder knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    pub term: u64,
    /// Who had the key before, if it is known.
    pub from: Option<String>,
    pub to: String,
    pub kind: TakeoverKind,
    /// In words.
    pub reason: String,
    /// For how long nobody signed, as well as the new holder can know it: from the moment at which
    /// it saw the predecessor's release, or if there was none the predecessor's last beat, until
    /// its own neard confirmed the key. A predecessor that was cut off may have signed for up to a
    /// lease after its last beat, so that this is then too long, and one that crashed ended a
    /// moment before its release was seen.
    pub without_signer: Option<Duration>,
}

/// The few kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TakeoverKind {
    /// Nobody is known to have held the key before.
    First,
    /// An operator asked for it.
    Switchover,
    /// The predecessor's kneard was stopped.
    Shutdown,
    /// The predecessor gave the key back because its neard was out of sync.
    OutOfSync,
    /// The predecessor's kneard or neard died, and its host could still say so.
    Failure,
    /// The predecessor was not heard of any more.
    Silence,
}

impl TakeoverKind {
    pub const ALL: [TakeoverKind; 6] = [
        TakeoverKind::First,
        TakeoverKind::Switchover,
        TakeoverKind::Shutdown,
        TakeoverKind::OutOfSync,
        TakeoverKind::Failure,
        TakeoverKind::Silence,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TakeoverKind::First => "first",
            TakeoverKind::Switchover => "switchover",
            TakeoverKind::Shutdown => "shutdown",
            TakeoverKind::OutOfSync => "out_of_sync",
            TakeoverKind::Failure => "failure",
            TakeoverKind::Silence => "silence",
        }
    }

    /// Somebody wanted it.
    pub fn is_planned(self) -> bool {
        matches!(self, TakeoverKind::Switchover | TakeoverKind::Shutdown)
    }
}

impl fmt::Display for TakeoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Watches a [`Machine`] for its takeovers.
#[derive(Debug, Default)]
pub struct Chronicle {
    /// Who was known last to have the key.
    signer: Option<Signer>,
    /// The newest record of others, and its state.
    last: Option<(Mark, RecordState)>,
    /// The term of the last takeover that was told.
    told: Option<u64>,
}

#[derive(Debug)]
struct Signer {
    holder: String,
    instance: InstanceId,
    term: u64,
    /// When it was seen last with the key, or its release was.
    at: Time,
    /// Why it gave the key back, if it did.
    released: Option<String>,
}

impl Chronicle {
    /// To be called after each event; tells of a takeover of this node's once.
    pub fn observe(&mut self, now: Time, machine: &Machine) -> Option<Takeover> {
        let record = machine.record()?;
        let signer = |released| Signer {
            holder: record.holder.clone(),
            instance: record.instance.clone(),
            term: record.term,
            at: now,
            released,
        };
        match machine.step() {
            Some(Step::Active) => {
                let takeover = (self.told != Some(record.term)).then(|| {
                    let before = self.signer.as_ref();
                    Takeover {
                        term: record.term,
                        from: before.map(|before| before.holder.clone()),
                        to: record.holder.clone(),
                        kind: before.map_or(TakeoverKind::First, Signer::end),
                        reason: record.reason.clone(),
                        without_signer: before.map(|before| now.since(before.at)),
                    }
                });
                self.told = Some(record.term);
                match &mut self.signer {
                    Some(own) if own.instance == record.instance && own.term == record.term => {
                        own.at = now;
                    }
                    _ => self.signer = Some(signer(None)),
                }
                self.last = None;
                return takeover;
            }
            Some(_) => {
                if self.told != Some(record.term) {
                    self.last = Some((record.mark(), RecordState::Pending));
                }
                return None;
            }
            None => {}
        }
        let mark = record.mark();
        if self.last.as_ref().is_some_and(|(last, _)| *last == mark) {
            return None;
        }
        // One that gives back what it had only claimed has not signed.
        let only_claimed = self.last.as_ref().is_some_and(|(last, state)| {
            *state == RecordState::Pending
                && last.instance == mark.instance
                && last.term == mark.term
        });
        match record.state {
            RecordState::Active => self.signer = Some(signer(None)),
            RecordState::Released if !only_claimed => {
                self.signer = Some(signer(Some(record.reason.clone())));
            }
            RecordState::Released | RecordState::Pending => {}
        }
        self.last = Some((mark, record.state));
        None
    }
}

impl Signer {
    /// How it came to its end.
    fn end(&self) -> TakeoverKind {
        match self.released.as_deref() {
            None => TakeoverKind::Silence,
            Some(SWITCHOVER) => TakeoverKind::Switchover,
            Some(STOPPING) => TakeoverKind::Shutdown,
            Some(NOT_IN_SYNC) => TakeoverKind::OutOfSync,
            Some(_) => TakeoverKind::Failure,
        }
    }
}
