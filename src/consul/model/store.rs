//! The keys of the model, and what each operation does to them.

use std::collections::BTreeMap;

use super::super::types::{KvEntry, SessionId, TxnOp};
use super::Session;

/// The keys, apart from the sessions so that a transaction can work on a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) entries: BTreeMap<String, KvEntry>,
    /// Raft index of each key's or prefix's last deletion.
    pub(super) tombstones: BTreeMap<String, u64>,
    /// Raft index of the last change to any key.
    pub(super) changed: u64,
}

/// Why an operation was not done: a plain no, or an error. A put answers them differently.
pub(super) enum Fault {
    No(String),
    Error(String),
}

impl Store {
    /// One operation at a raft index, and the entries that it answers with.
    pub(super) fn run(
        &mut self,
        index: u64,
        sessions: &BTreeMap<SessionId, Session>,
        op: &TxnOp,
    ) -> Result<Vec<KvEntry>, Fault> {
        match op {
            TxnOp::Set { key, value, flags } => {
                let session = self.entries.get(key).and_then(|entry| entry.session.clone());
                Ok(vec![self.set(index, key, value, *flags, 0, session)])
            }
            TxnOp::Cas { key, value, flags, index: expected } => {
                let current = self.entries.get(key);
                if current.map_or(0, |entry| entry.modify_index) != *expected {
                    return Err(Fault::No(format!("failed to set key {key:?}, index is stale")));
                }
                let session = current.and_then(|entry| entry.session.clone());
                Ok(vec![self.set(index, key, value, *flags, 0, session)])
            }
            TxnOp::Lock { key, value, flags, session } => {
                check_session(sessions, session)?;
                let locks = match self.entries.get(key) {
                    None => 1,
                    Some(entry) if entry.session.as_ref() == Some(session) => entry.lock_index,
                    Some(entry) if entry.session.is_none() => entry.lock_index + 1,
                    Some(_) => {
                        let what = format!("failed to lock key {key:?}, lock is already held");
                        return Err(Fault::No(what));
                    }
                };
                Ok(vec![self.set(index, key, value, *flags, locks, Some(session.clone()))])
            }
            TxnOp::Unlock { key, value, flags, session } => match self.entries.get(key) {
                Some(entry) if entry.session.as_ref() == Some(session) => {
                    let locks = entry.lock_index;
                    Ok(vec![self.set(index, key, value, *flags, locks, None)])
                }
                _ => Err(Fault::No(format!(
                    "failed to unlock key {key:?}, lock isn't held, or is held by another session"
                ))),
            },
            TxnOp::Get { key } => match self.entries.get(key) {
                Some(entry) => Ok(vec![entry.clone()]),
                None => Err(Fault::Error(format!("key {key:?} doesn't exist"))),
            },
            TxnOp::GetTree { prefix } => Ok(self.under(prefix).cloned().collect()),
            TxnOp::CheckIndex { key, index: expected } => match self.entries.get(key) {
                Some(entry) if entry.modify_index == *expected => Ok(vec![bare(entry)]),
                Some(entry) => Err(Fault::Error(format!(
                    "failed index check for key {key:?}, current modify index {} != {expected}",
                    entry.modify_index
                ))),
                None => {
                    Err(Fault::Error(format!("failed to check index, key {key:?} doesn't exist")))
                }
            },
            TxnOp::CheckSession { key, session } => match self.entries.get(key) {
                Some(entry) if entry.session.as_ref() == Some(session) => Ok(vec![bare(entry)]),
                Some(entry) => Err(Fault::Error(format!(
                    "failed session check for key {key:?}, current session {:?} != {:?}",
                    entry.session.as_ref().map_or("", SessionId::as_str),
                    session.as_str()
                ))),
                None => {
                    Err(Fault::Error(format!("failed to check session, key {key:?} doesn't exist")))
                }
            },
            TxnOp::CheckNotExists { key } => match self.entries.get(key) {
                None => Ok(Vec::new()),
                Some(_) => Err(Fault::Error(format!("key {key:?} exists"))),
            },
            TxnOp::Delete { key } => {
                self.delete(index, key);
                Ok(Vec::new())
            }
            TxnOp::DeleteCas { key, index: expected } => {
                if self.entries.get(key).is_some_and(|entry| entry.modify_index != *expected) {
                    return Err(Fault::No(format!("failed to delete key {key:?}, index is stale")));
                }
                self.delete(index, key);
                Ok(Vec::new())
            }
            TxnOp::DeleteTree { prefix } => {
                self.delete_tree(index, prefix);
                Ok(Vec::new())
            }
        }
    }

    /// Store, unless nothing would change: then the ModifyIndex stays too.
    fn set(
        &mut self,
        index: u64,
        key: &str,
        value: &[u8],
        flags: u64,
        lock_index: u64,
        session: Option<SessionId>,
    ) -> KvEntry {
        let old = self.entries.get(key);
        let mut entry = KvEntry {
            key: key.to_owned(),
            value: value.to_vec(),
            flags,
            session,
            lock_index,
            create_index: old.map_or(index, |old| old.create_index),
            modify_index: old.map_or(index, |old| old.modify_index),
        };
        if old != Some(&entry) {
            entry.modify_index = index;
            self.changed = index;
            self.entries.insert(key.to_owned(), entry.clone());
        }
        bare(&entry)
    }

    /// A store that answers these operations as this one does; `None` if only a copy of all would.
    pub(super) fn excerpt(&self, ops: &[TxnOp]) -> Option<Self> {
        let mut part = Store { changed: self.changed, ..Store::default() };
        for op in ops {
            let key = op.key()?;
            if let Some(entry) = self.entries.get(key)
                && !part.entries.contains_key(key)
            {
                part.entries.insert(key.to_owned(), entry.clone());
            }
        }
        Some(part)
    }

    /// Takes over what these operations made of an excerpt.
    pub(super) fn merge(&mut self, mut part: Self, ops: &[TxnOp]) {
        for key in ops.iter().filter_map(TxnOp::key) {
            if let Some(deleted) = part.tombstones.remove(key) {
                self.tombstones.insert(key.to_owned(), deleted);
                self.entries.remove(key);
            }
        }
        self.entries.extend(part.entries);
        self.changed = part.changed;
    }

    pub(super) fn release(&mut self, index: u64, key: &str) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.session = None;
            entry.modify_index = index;
            self.changed = index;
        }
    }

    pub(super) fn delete(&mut self, index: u64, key: &str) {
        if self.entries.remove(key).is_some() {
            self.tombstones.insert(key.to_owned(), index);
            self.changed = index;
        }
    }

    pub(super) fn delete_tree(&mut self, index: u64, prefix: &str) {
        let before = self.entries.len();
        self.entries.retain(|key, _| !key.starts_with(prefix));
        if self.entries.len() < before {
            self.tombstones.insert(prefix.to_owned(), index);
            self.changed = index;
        }
    }

    pub(super) fn under(&self, prefix: &str) -> impl Iterator<Item = &KvEntry> {
        let from = prefix.to_owned();
        let to = prefix.to_owned();
        self.entries
            .range(from..)
            .take_while(move |(key, _)| key.starts_with(&to))
            .map(|(_, entry)| entry)
    }
}

/// A transaction's results carry no values.
fn bare(entry: &KvEntry) -> KvEntry {
    KvEntry { value: Vec::new(), ..entry.clone() }
}

fn check_session(
    sessions: &BTreeMap<SessionId, Session>,
    session: &SessionId,
) -> Result<(), Fault> {
    let what = if sessions.contains_key(session) {
        return Ok(());
    } else if session.as_str().is_empty() {
        "missing session".to_owned()
    } else if session.as_str().len() != 36 {
        "failed session lookup: index error: UUID must be 36 characters".to_owned()
    } else {
        format!("invalid session {:?}", session.as_str())
    };
    Err(Fault::Error(what))
}
