//! The value of the election key in Consul.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::MAX_LOCK_DELAY;

/// The only version of the record that this code reads and writes.
const VERSION: u32 = 1;

/// The highest term and the highest beat that are believed. Where they cannot grow any more, two
/// writes would look like one, and a holder that renews its lease like one that does not.
const HIGHEST_COUNT: u64 = u64::MAX / 2;

/// A random number that tells one run of kneard from every other. The identity of a holder is this
/// and its session, never the node id alone: two hosts may carry the same one by mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// The lock is held, the key is not known to be loaded.
    Pending,
    /// neard has confirmed the key.
    Active,
    /// Whoever wrote this has taken the key out, and everyone before it is done too.
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Node id of the holder, for humans.
    pub holder: String,
    pub instance: InstanceId,
    pub hostname: String,
    /// Grows by one with each acquisition.
    pub term: u64,
    /// Grows with each renewal.
    pub beat: u64,
    /// How long after first sight of this record its writer, or while it is pending its
    /// predecessor, may still sign, in milliseconds.
    pub lease_ms: u64,
    /// No block or chunk above this height was signed before this record, except within what
    /// `lease_ms` allows. While pending: the predecessor's.
    pub head: u64,
    /// `head` is an upper bound and not a height that the writer has processed. In an active record:
    /// its neard is catching up, so that nothing is known of how high it will sign next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub head_is_bound: bool,
    pub state: RecordState,
    /// While released: the node that an operator wants to take over. Others leave it some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Why the record is in this state, for humans.
    #[serde(default)]
    pub reason: String,
    /// Wall-clock time (RFC 3339) at which this state began, for humans. The machine has no wall
    /// clock and leaves it empty: whoever writes the record to Consul fills it in.
    #[serde(default)]
    pub since: String,
}

/// Which record this is. Two sights of one mark are sights of the same write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    pub instance: InstanceId,
    pub term: u64,
    pub beat: u64,
}

impl Record {
    /// The first record of a term.
    pub fn pending(holder: &str, instance: &InstanceId, hostname: &str, term: u64) -> Self {
        Record {
            version: VERSION,
            holder: holder.to_owned(),
            instance: instance.clone(),
            hostname: hostname.to_owned(),
            term,
            beat: 0,
            lease_ms: 0,
            head: 0,
            head_is_bound: false,
            state: RecordState::Pending,
            successor: None,
            reason: String::new(),
            since: String::new(),
        }
    }

    pub fn mark(&self) -> Mark {
        Mark { instance: self.instance.clone(), term: self.term, beat: self.beat }
    }

    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// What may be written on behalf of a writer whose neard is proven dead. Only an active record
    /// proves that nobody before it can sign either; its head is as old as a lease may be.
    pub fn after_crash(&self, reason: &str) -> Self {
        let mut record = self.next();
        reason.clone_into(&mut record.reason);
        if record.state == RecordState::Active {
            record.state = RecordState::Released;
            record.head = match record.head_is_bound {
                true => u64::MAX,
                false => bound_on_head(record.lease(), record.head),
            };
            record.head_is_bound = true;
        }
        record
    }

    /// The next record of the same writer.
    pub fn next(&self) -> Self {
        Record {
            beat: self.beat.saturating_add(1),
            successor: None,
            since: String::new(),
            ..self.clone()
        }
    }
}

/// The shortest time between two blocks that any NEAR chain is configured for (nearcore
/// `core/chain-configs`: `min_block_production_delay`, 600 ms on mainnet, 100 ms in its tests).
/// Shorter is the safe side: it makes the bound higher.
const SHORTEST_BLOCK_TIME: Duration = Duration::from_millis(100);

/// The highest height that a neard can have signed at, whose head was `head` so long ago.
pub(super) fn bound_on_head(age: Duration, head: u64) -> u64 {
    let blocks = age.as_nanos().div_ceil(SHORTEST_BLOCK_TIME.as_nanos());
    head.saturating_add(u64::try_from(blocks).unwrap_or(u64::MAX)).saturating_add(1)
}

/// What a value of the election key means to a reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    Record(Record),
    /// Not JSON, not a record, or a record of another version: an unknown holder.
    Unreadable,
}

impl Content {
    pub fn parse(value: &[u8]) -> Self {
        // The parser would take a list for a record.
        if value.trim_ascii_start().first() != Some(&b'{') {
            return Content::Unreadable;
        }
        match serde_json::from_slice::<Record>(value) {
            // No node can have written another lease: one of zero would let a successor in at
            // once, and one of years would keep everyone out. Nor can it have counted so far.
            Ok(record)
                if record.version == VERSION
                    && record.lease_ms > 0
                    && record.lease() <= MAX_LOCK_DELAY
                    && record.term.max(record.beat) <= HIGHEST_COUNT =>
            {
                Content::Record(record)
            }
            _ => Content::Unreadable,
        }
    }

    pub fn record(&self) -> Option<&Record> {
        match self {
            Content::Record(record) => Some(record),
            Content::Unreadable => None,
        }
    }
}
