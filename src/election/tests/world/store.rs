//! What Consul promises, and no more: one entry, sessions, transactions that check the index.

use std::collections::BTreeMap;

use crate::election::{Content, Entry, Outcome, Refusal, Seen, SessionId, Write};

/// Instants are nanoseconds of the world's clock.
#[derive(Debug, Clone, Default)]
pub struct Store {
    index: u64,
    entry: Option<Entry>,
    /// Until when each lives unless it is renewed.
    sessions: BTreeMap<SessionId, u64>,
    sessions_made: u64,
    locked_out_until: u64,
    taken_at: u64,
}

impl Store {
    pub fn read(&self) -> Seen {
        self.entry.clone().map_or(Seen::Missing, Seen::Entry)
    }

    pub fn create_session(&mut self, until: u64) -> SessionId {
        self.sessions_made += 1;
        let id = SessionId(format!("s{}", self.sessions_made));
        self.sessions.insert(id.clone(), until);
        id
    }

    pub fn renew(&mut self, id: &SessionId, until: u64) -> bool {
        self.sessions.get_mut(id).map(|end| *end = until).is_some()
    }

    /// Ends a session, by its TTL, its owner, an operator or a bad day of Consul's.
    pub fn end_session(&mut self, id: &SessionId, locked_out_until: u64) {
        self.sessions.remove(id);
        if self.entry.as_ref().is_some_and(|entry| entry.session.as_ref() == Some(id)) {
            self.locked_out_until = locked_out_until;
            self.change(|entry| entry.session = None);
        }
    }

    pub fn expired(&self, now: u64) -> Vec<SessionId> {
        let over = self.sessions.iter().filter(|(_, until)| **until <= now);
        over.map(|(id, _)| id.clone()).collect()
    }

    pub fn lock_holder(&self) -> Option<&SessionId> {
        self.entry.as_ref()?.session.as_ref()
    }

    /// When the lock changed hands last.
    pub fn taken_at(&self) -> u64 {
        self.taken_at
    }

    pub fn delete(&mut self) {
        self.index += 1;
        self.entry = None;
    }

    /// A plain write by a stranger: the lock stays with whoever has it.
    pub fn overwrite_with_garbage(&mut self) {
        self.change(|entry| entry.content = Content::Unreadable);
    }

    /// Entry and sessions become those of `snapshot`; the raft index goes on.
    pub fn restore(&mut self, snapshot: &Store, sessions_until: u64) {
        self.entry.clone_from(&snapshot.entry);
        self.sessions.clone_from(&snapshot.sessions);
        self.sessions.values_mut().for_each(|until| *until = sessions_until);
        self.index += 1;
    }

    pub fn write(&mut self, now: u64, write: &Write) -> Outcome {
        match self.check(now, write) {
            Err(refusal) => Outcome::Refused(refusal, format!("{refusal:?}")),
            Ok(session) => {
                self.index += 1;
                if matches!(write, Write::Acquire { .. } | Write::Steal { .. }) {
                    self.taken_at = now;
                }
                let content = Content::Record(write.record().clone());
                self.entry = Some(Entry { index: self.index, session, content });
                Outcome::Committed(self.index)
            }
        }
    }

    /// Whether the transaction passes; who has the lock after it.
    fn check(&self, now: u64, write: &Write) -> Result<Option<SessionId>, Refusal> {
        let index = self.entry.as_ref().map(|entry| entry.index);
        let holder = self.lock_holder();
        let (expected, needed, session) = match write {
            Write::Acquire { index, session, .. } => (*index, None, session),
            Write::Steal { index, from, session, .. } => (Some(*index), Some(from), session),
            Write::Beat { index, session, .. } | Write::Release { index, session, .. } => {
                (Some(*index), Some(session), session)
            }
        };
        if index != expected {
            return Err(Refusal::Conflict);
        }
        if holder != needed || !self.sessions.contains_key(session) {
            return Err(Refusal::LockLost);
        }
        match write {
            Write::Release { .. } => Ok(None),
            Write::Acquire { .. } if now < self.locked_out_until => Err(Refusal::LockDelay),
            _ => Ok(Some(session.clone())),
        }
    }

    fn change(&mut self, what: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            self.index += 1;
            entry.index = self.index;
            what(entry);
        }
    }
}
