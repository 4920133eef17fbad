//! Consul as a plain state machine: no clock, no randomness, no I/O.
//!
//! Drives the model checker and the simulation, and stands behind the HTTP stand-in. It is the
//! *leader's applied state*: staleness, lost requests and lost answers are the driver's to add, by
//! keeping old clones and by applying a request without delivering its answer. The conformance
//! test compares it with a real Consul answer by answer.
//!
//! Time is a [`Duration`] since any fixed instant. Sessions do not end by themselves: Consul's
//! timer may end one at any moment from its TTL to twice its TTL after the last renewal, so the
//! driver picks the moment with [`Op::Expire`], which is refused before the TTL.

mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use store::{Fault, Store};

use super::answer;
use super::error::{Error, Failure, Kind};
use super::types::{Behavior, KvEntry, SessionId, SessionInfo, SessionRequest, TxnOp, go_duration};

/// Consul caps every lock delay at this.
pub const MAX_LOCK_DELAY: Duration = Duration::from_secs(60);

/// What can be asked of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Create a session.
    CreateSession(SessionRequest),
    /// Start its TTL anew.
    RenewSession(SessionId),
    /// End it, releasing or deleting what it holds.
    DestroySession(SessionId),
    /// Its timer fires. Nothing happens before its TTL has passed.
    Expire(SessionId),
    /// Store a value under a condition.
    Put { key: String, value: Vec<u8>, flags: u64, condition: Condition },
    /// Remove a key; with an index, only if its ModifyIndex is that.
    Delete { key: String, index: Option<u64> },
    /// Remove all keys under a prefix.
    DeleteTree { prefix: String },
    /// All of the operations, or none.
    Txn(Vec<TxnOp>),
    /// Another server has become leader: every session's timer starts anew.
    LeaderChanged,
}

/// When a [`Op::Put`] stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Always, leaving the lock as it is.
    Always,
    /// If the ModifyIndex is this; 0: if the key is missing.
    Index(u64),
    /// If this session has or gets the lock.
    Acquire(SessionId),
    /// If this session has the lock, which it gives back.
    Release(SessionId),
}

/// What the leader answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A new session.
    Created(SessionId),
    /// The renewed session, or none when it is gone.
    Session(Option<SessionInfo>),
    /// Whether it was done.
    Done(bool),
    /// The transaction's results: entries without values, except for reads.
    Committed(Vec<KvEntry>),
    /// The transaction did nothing: position and Consul's words for each operation at fault.
    Refused(Vec<(usize, String)>),
    /// An error in Consul's words (HTTP 500).
    Failed(String),
}

impl Answer {
    /// A transaction's answer as [`Client::txn`](super::Client::txn) gives it.
    ///
    /// # Errors
    /// Consul's refusal, or its error; an answer to another question is of unknown outcome.
    pub fn into_txn_result(self) -> Result<Vec<KvEntry>, Error> {
        let failure = match self {
            Answer::Committed(entries) => return Ok(entries),
            Answer::Refused(errors) => answer::refused(errors),
            Answer::Failed(what) => Failure::new(Kind::Unknown, what),
            other => Failure::unknown(format!("{other:?} is no answer to a transaction")),
        };
        Err(failure.at("the model"))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Session {
    info: SessionInfo,
    node_checks: Vec<String>,
    ttl: Duration,
    lock_delay: Duration,
    renewed: Duration,
}

/// The state of a Consul cluster, as far as kneard uses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    /// The one Consul node that sessions belong to.
    node: String,
    /// Goes into session ids, so that two models never give the same.
    seed: u32,
    created: u64,
    /// Raft index of the last write.
    index: u64,
    store: Store,
    sessions: BTreeMap<SessionId, Session>,
    /// Raft index of the last change to the sessions.
    session_index: u64,
    /// Until when a key cannot be locked.
    lock_delays: BTreeMap<String, Duration>,
}

impl Model {
    /// An empty cluster with one node.
    pub fn new(node: impl Into<String>, seed: u32) -> Self {
        Self {
            node: node.into(),
            seed,
            created: 0,
            // Real clusters never give a client an index as low as 1.
            index: 1,
            store: Store::default(),
            sessions: BTreeMap::new(),
            session_index: 0,
            lock_delays: BTreeMap::new(),
        }
    }

    /// Name of the Consul node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Do one thing, atomically.
    pub fn apply(&mut self, now: Duration, op: Op) -> Answer {
        match op {
            Op::CreateSession(request) => self.create_session(now, request),
            Op::RenewSession(id) => Answer::Session(self.sessions.get_mut(&id).map(|session| {
                session.renewed = now;
                session.info.clone()
            })),
            Op::DestroySession(id) => {
                self.end_session(now, &id);
                Answer::Done(true)
            }
            Op::Expire(id) => {
                let may = self.sessions.get(&id).is_some_and(|session| {
                    session.ttl > Duration::ZERO && now >= session.renewed + session.ttl
                });
                if may {
                    self.end_session(now, &id);
                }
                Answer::Done(may)
            }
            Op::Put { key, value, flags, condition } => self.put(now, key, value, flags, condition),
            Op::Delete { key, index } => {
                self.index += 1;
                let current = self.store.entries.get(&key).map(|entry| entry.modify_index);
                let may = index.is_none() || current.is_none() || current == index;
                if may {
                    self.store.delete(self.index, &key);
                }
                Answer::Done(may)
            }
            Op::DeleteTree { prefix } => {
                self.index += 1;
                self.store.delete_tree(self.index, &prefix);
                Answer::Done(true)
            }
            Op::Txn(ops) => self.txn(now, &ops),
            Op::LeaderChanged => {
                for session in self.sessions.values_mut() {
                    session.renewed = now;
                }
                Answer::Done(true)
            }
        }
    }

    /// `consul snapshot restore`: keys and sessions become those of the snapshot, as they were, but
    /// the raft index goes on. The sessions' timers start anew, and lock delays, which the leader
    /// keeps in memory, are forgotten.
    pub fn restore(&mut self, now: Duration, snapshot: &Model) {
        let (index, created) = (self.index, self.created);
        self.clone_from(snapshot);
        self.index = index + 1;
        // No id is given twice.
        self.created = created;
        self.lock_delays.clear();
        for session in self.sessions.values_mut() {
            session.renewed = now;
        }
    }

    /// One key and the index that a read of it answers with.
    pub fn get(&self, key: &str) -> (u64, Option<&KvEntry>) {
        match self.store.entries.get(key) {
            Some(entry) => (entry.modify_index, Some(entry)),
            None => (self.store.changed.max(1), None),
        }
    }

    /// The keys under a prefix and the index that a listing of them answers with.
    pub fn list(&self, prefix: &str) -> (u64, Vec<&KvEntry>) {
        let entries: Vec<&KvEntry> = self.store.under(prefix).collect();
        let newest = entries.iter().map(|entry| entry.modify_index);
        let deleted = self.store.tombstones.iter();
        let deleted = deleted.filter(|(key, _)| key.starts_with(prefix)).map(|(_, index)| *index);
        let index = match newest.chain(deleted).max() {
            Some(index) if !prefix.is_empty() => index,
            _ => self.store.changed,
        };
        (index.max(1), entries)
    }

    /// One session, with its node checks.
    pub fn session(&self, id: &SessionId) -> Option<(&SessionInfo, &[String])> {
        self.sessions.get(id).map(|session| (&session.info, session.node_checks.as_slice()))
    }

    /// All sessions, with their node checks, in the order of their ids.
    pub fn sessions(&self) -> impl Iterator<Item = (&SessionInfo, &[String])> {
        self.sessions.values().map(|session| (&session.info, session.node_checks.as_slice()))
    }

    /// The index that a read of sessions answers with.
    pub fn session_index(&self) -> u64 {
        self.session_index.max(1)
    }

    /// The sessions that may expire, each with the time from which it may and at which it must.
    pub fn expirations(&self) -> impl Iterator<Item = (&SessionId, Duration, Duration)> {
        self.sessions
            .iter()
            .filter(|(_, session)| session.ttl > Duration::ZERO)
            .map(|(id, s)| (id, s.renewed + s.ttl, s.renewed + 2 * s.ttl))
    }

    fn create_session(&mut self, now: Duration, request: SessionRequest) -> Answer {
        let (least, most) = (Duration::from_secs(10), Duration::from_secs(24 * 60 * 60));
        if request.ttl > Duration::ZERO && !(least..=most).contains(&request.ttl) {
            let nanos = request.ttl.as_nanos();
            return Answer::Failed(format!(
                "Invalid Session TTL '{nanos}', must be between [10s=24h0m0s]"
            ));
        }
        let node = request.node.unwrap_or_else(|| self.node.clone());
        self.index += 1;
        if node != self.node {
            return Answer::Failed("Missing node registration".to_owned());
        }
        if let Some(check) = request.node_checks.iter().find(|check| *check != "serfHealth") {
            return Answer::Failed(format!("Missing check '{check}' registration"));
        }
        self.created += 1;
        let id = SessionId(format!("{:08x}-0000-4000-8000-{:012x}", self.seed, self.created));
        let info = SessionInfo {
            id: id.clone(),
            name: request.name,
            node,
            ttl: if request.ttl.is_zero() { String::new() } else { go_duration(request.ttl) },
            lock_delay: u64::try_from(request.lock_delay.as_nanos()).unwrap_or(u64::MAX),
            behavior: request.behavior,
            create_index: self.index,
        };
        self.session_index = self.index;
        self.sessions.insert(
            id.clone(),
            Session {
                info,
                node_checks: request.node_checks,
                ttl: request.ttl,
                lock_delay: request.lock_delay.min(MAX_LOCK_DELAY),
                renewed: now,
            },
        );
        Answer::Created(id)
    }

    fn end_session(&mut self, now: Duration, id: &SessionId) {
        self.index += 1;
        let Some(session) = self.sessions.remove(id) else { return };
        self.session_index = self.index;
        let held: Vec<String> = self
            .store
            .entries
            .values()
            .filter(|entry| entry.session.as_ref() == Some(id))
            .map(|entry| entry.key.clone())
            .collect();
        for key in held {
            match session.info.behavior {
                Behavior::Release => self.store.release(self.index, &key),
                Behavior::Delete => self.store.delete(self.index, &key),
            }
            if session.lock_delay > Duration::ZERO {
                self.lock_delays.insert(key, now + session.lock_delay);
            }
        }
        self.lock_delays.retain(|_, until| *until > now);
    }

    fn put(
        &mut self,
        now: Duration,
        key: String,
        value: Vec<u8>,
        flags: u64,
        condition: Condition,
    ) -> Answer {
        let op = match condition {
            Condition::Always => TxnOp::Set { key, value, flags },
            Condition::Index(index) => TxnOp::Cas { key, value, flags, index },
            Condition::Acquire(session) => TxnOp::Lock { key, value, flags, session },
            Condition::Release(session) => TxnOp::Unlock { key, value, flags, session },
        };
        if self.lock_delayed(now, &op) {
            return Answer::Done(false);
        }
        self.index += 1;
        match self.store.run(self.index, &self.sessions, &op) {
            Ok(_) => Answer::Done(true),
            Err(Fault::No(_)) => Answer::Done(false),
            Err(Fault::Error(what)) => Answer::Failed(what),
        }
    }

    /// As Consul does, in two steps: the lock delays before anything is logged, and only if none
    /// is at fault the operations themselves. Every failed operation is named, and those after
    /// one see its effects as far as it had any.
    fn txn(&mut self, now: Duration, ops: &[TxnOp]) -> Answer {
        let delayed: Vec<(usize, String)> = ops
            .iter()
            .enumerate()
            .filter(|(_, op)| self.lock_delayed(now, op))
            .map(|(i, op)| {
                let key = op.result_key().unwrap_or_default();
                (i, format!("failed to lock key {key:?} due to lock delay"))
            })
            .collect();
        if !delayed.is_empty() {
            return Answer::Refused(delayed);
        }
        // A copy of what the operations touch: there may be many other keys.
        let part = self.store.excerpt(ops);
        let is_part = part.is_some();
        let mut store = part.unwrap_or_else(|| self.store.clone());
        if !ops.iter().all(TxnOp::is_read) {
            self.index += 1;
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for (i, op) in ops.iter().enumerate() {
            match store.run(self.index, &self.sessions, op) {
                Ok(entries) => results.extend(entries),
                Err(Fault::No(what) | Fault::Error(what)) => errors.push((i, what)),
            }
        }
        if !errors.is_empty() {
            return Answer::Refused(errors);
        }
        if is_part {
            self.store.merge(store, ops);
        } else {
            self.store = store;
        }
        Answer::Committed(results)
    }

    fn lock_delayed(&self, now: Duration, op: &TxnOp) -> bool {
        matches!(op, TxnOp::Lock { key, .. }
            if self.lock_delays.get(key).is_some_and(|until| *until > now))
    }
}

#[cfg(test)]
mod tests;
