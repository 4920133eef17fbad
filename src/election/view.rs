//! What a candidate knows of the election key, and since when.

use std::time::Duration;

use super::lease::done_at;
use super::{
    Content, Entry, InstanceId, Mutant, Record, RecordState, Seen, SessionId, Settings, Time,
};

/// The newest sight of the key. Only the newest: a record that comes back after another one was
/// seen (a restored snapshot) counts as first seen when it came back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    seen: Seen,
    /// When this node first saw what is there now.
    first_seen: Time,
    /// For an unknown holder: the longest lease that any node publishes, once read.
    longest_lease: Option<Duration>,
}

impl View {
    pub fn new(now: Time, seen: Seen) -> Self {
        View { seen, first_seen: now, longest_lease: None }
    }

    /// Takes in a new sight. The first sight of a record stays for as long as nobody writes the
    /// entry. A record that comes back under another ModifyIndex may hide others that this node has
    /// missed: an operator has written it again. So the wait begins anew even when all that has
    /// happened is that Consul freed the lock; its lock delay then takes as long.
    pub fn observe(&mut self, now: Time, seen: Seen, settings: &Settings) {
        if is_same(&self.seen, &seen, settings) {
            self.seen = seen;
        } else {
            *self = View::new(now, seen);
        }
    }

    pub fn record(&self) -> Option<&Record> {
        record(&self.seen)
    }

    /// The lock's holder, if any.
    pub fn session(&self) -> Option<&SessionId> {
        match &self.seen {
            Seen::Missing => None,
            Seen::Entry(entry) => entry.session.as_ref(),
        }
    }

    /// ModifyIndex of the entry, `None` when there is none.
    pub fn index(&self) -> Option<u64> {
        match &self.seen {
            Seen::Missing => None,
            Seen::Entry(entry) => Some(entry.index),
        }
    }

    pub fn first_seen(&self) -> Time {
        self.first_seen
    }

    /// The holder is unknown and nobody has read yet how long its lease may be.
    pub fn needs_leases(&self) -> bool {
        self.record().is_none() && self.longest_lease.is_none()
    }

    pub fn set_longest_lease(&mut self, longest: Duration) {
        self.longest_lease = Some(longest);
    }

    /// For how long from its first sight the record's writer, or those before it, may sign; for an
    /// unknown holder at least `known`, the longest lease that this node knows of. `None`: nobody
    /// can say yet.
    pub fn granted(&self, known: Duration) -> Option<Duration> {
        match self.record() {
            Some(record) => Some(record.lease()),
            None => self.longest_lease.map(|longest| longest.max(known)),
        }
    }

    /// When everyone is done whom this sight tells of. `None`: not known yet.
    pub fn safe_at(&self, known: Duration) -> Option<Time> {
        match self.record() {
            // Under a lock nobody can have released it: somebody has tampered with the record.
            Some(record) if record.state == RecordState::Released && self.session().is_none() => {
                Some(self.first_seen)
            }
            _ => Some(done_at(self.first_seen, self.granted(known)?)),
        }
    }
}

/// What a node remembers of the key's earlier sights, for when Consul has forgotten them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Past {
    /// The longest lease that any record granted or this node's own settings grant.
    longest_lease: Duration,
    /// The highest head that a holder has told.
    head: u64,
    /// The term that was seen last, and whose it was.
    term: u64,
    writer: Option<(InstanceId, u64)>,
    /// When those are certainly done that the key no longer tells of.
    forgotten_until: Time,
}

impl Past {
    pub fn new(own_lease: Duration, now: Time) -> Self {
        Past { longest_lease: own_lease, head: 0, term: 0, writer: None, forgotten_until: now }
    }

    pub fn longest_lease(&self) -> Duration {
        self.longest_lease
    }

    /// Takes in a sight. Terms only grow, so an older one means that Consul was restored from a
    /// snapshot: whoever held a newer term may sign until it next hears from Consul, or its lease
    /// ends, whatever the restored record says. The same holds for a release by another than who
    /// wrote last as far as this node has seen: it may be older than what was there before it.
    pub fn observe(&mut self, now: Time, record: &Record) {
        self.longest_lease = self.longest_lease.max(record.lease());
        if !record.head_is_bound {
            self.head = self.head.max(record.head);
        }
        let writer = (record.instance.clone(), record.term);
        let released = record.state == RecordState::Released;
        let by_another = self.writer.as_ref().is_some_and(|last| released && *last != writer);
        if record.term < self.term || by_another {
            self.forgotten_until = done_at(now, self.longest_lease);
        }
        self.term = record.term;
        self.writer = Some(writer);
    }

    /// Somebody has signed up to here, whatever bound a later record gives.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Not before this, whatever is seen now.
    pub fn forgotten_until(&self) -> Time {
        self.forgotten_until
    }
}

fn record(seen: &Seen) -> Option<&Record> {
    match seen {
        Seen::Entry(Entry { content: Content::Record(record), .. }) => Some(record),
        Seen::Entry(_) | Seen::Missing => None,
    }
}

/// Whether both are sights of one write, or of no entry.
fn is_same(one: &Seen, other: &Seen, settings: &Settings) -> bool {
    match (one, other) {
        (Seen::Missing, Seen::Missing) => true,
        (Seen::Entry(one), Seen::Entry(other)) => match (&one.content, &other.content) {
            (Content::Record(one), Content::Record(other))
                if settings.has(Mutant::MarkByBeatOnly) =>
            {
                one.beat == other.beat
            }
            (Content::Record(a), Content::Record(b)) => {
                let written_again = one.index != other.index;
                a.mark() == b.mark() && (!written_again || settings.has(Mutant::FirstSightByMark))
            }
            // Records may have come and gone between two unreadable values.
            (Content::Unreadable, Content::Unreadable) => one.index == other.index,
            _ => false,
        },
        _ => false,
    }
}
