//! The election's words in Consul's: pure translations, the same for the daemon and its proofs.

use std::time::Duration;

use crate::consul::{self, Behavior, Error, Kind, KvEntry, SessionRequest, TxnOp};
use crate::election::{
    Content, Entry, InstanceId, Outcome, Refusal, Seen, SessionId, Settings, Write,
};

/// The session that a node takes part with. Its TTL is relied on for nothing.
pub fn session_request(account: &str, settings: &Settings) -> SessionRequest {
    SessionRequest {
        name: format!("kneard {account} {}", settings.node_id),
        node: None,
        ttl: settings.session_ttl(),
        lock_delay: settings.lock_delay(),
        behavior: Behavior::Release,
        node_checks: Vec::new(),
    }
}

/// What an entry means to the election.
pub fn seen(entry: Option<KvEntry>) -> Seen {
    match entry {
        None => Seen::Missing,
        Some(entry) => Seen::Entry(Entry {
            index: entry.modify_index,
            session: entry.session,
            content: Content::parse(&entry.value),
        }),
    }
}

/// The transaction of a write (<https://developer.hashicorp.com/consul/api-docs/txn>).
pub fn operations(key: &str, write: Write) -> Vec<TxnOp> {
    let key = key.to_owned();
    // A record is plain data: serializing it cannot fail.
    let value = serde_json::to_vec(write.record()).unwrap_or_default();
    let check = |index| TxnOp::CheckIndex { key: key.clone(), index };
    let lock = |session| TxnOp::Lock { key: key.clone(), value: value.clone(), flags: 0, session };
    let unlock =
        |session| TxnOp::Unlock { key: key.clone(), value: value.clone(), flags: 0, session };
    match write {
        Write::Acquire { index: None, session, .. } => {
            vec![TxnOp::CheckNotExists { key: key.clone() }, lock(session)]
        }
        Write::Acquire { index: Some(index), session, .. } | Write::Beat { index, session, .. } => {
            vec![check(index), lock(session)]
        }
        Write::Steal { index, from, session, .. } => {
            vec![check(index), unlock(from), lock(session)]
        }
        Write::Release { index, session, .. } => vec![check(index), unlock(session)],
    }
}

/// What is written for a kneard that is dead, as its neard is; its last `session` and its `instance`
/// are known.
///
/// # Errors
/// There is nothing to release; why, in words.
pub fn release_after_crash(
    seen: Seen,
    session: &SessionId,
    instance: &InstanceId,
) -> Result<Write, &'static str> {
    let (index, content) = match seen {
        Seen::Entry(entry) if entry.session.as_ref() == Some(session) => {
            (entry.index, entry.content)
        }
        Seen::Entry(_) | Seen::Missing => return Err("the lock was not held: nothing to release"),
    };
    let Content::Record(record) = content else {
        return Err("the record is unreadable: left to its lease");
    };
    if record.instance != *instance {
        return Err("the record is another kneard's: nothing to release");
    }
    let record = record.after_crash("kneard died, neard was killed");
    Ok(Write::Release { index, session: session.clone(), record })
}

/// What Consul's answer to a transaction says of the write.
pub fn outcome(key: &str, answer: Result<Vec<KvEntry>, Error>) -> Outcome {
    match answer {
        Ok(entries) => match entries.iter().rev().find(|entry| entry.key == key) {
            Some(entry) => Outcome::Committed(entry.modify_index),
            None => Outcome::Unknown("Consul's answer to a transaction has no result".to_owned()),
        },
        Err(error) => refused_or_unknown(&error),
    }
}

fn refused_or_unknown(error: &Error) -> Outcome {
    let text = error.to_string();
    if error.is_invalid_session() {
        return Outcome::Refused(Refusal::LockLost, text);
    }
    match &error.kind {
        Kind::Refused(errors) => {
            let any = |refusal: consul::Refusal| errors.iter().any(|e| e.refusal == refusal);
            let refusal = if any(consul::Refusal::Denied) {
                Refusal::NotAllowed
            } else if any(consul::Refusal::LockDelay) {
                Refusal::LockDelay
            // Where the index differs, the lock is judged by what is read next.
            } else if any(consul::Refusal::Index)
                || any(consul::Refusal::Missing)
                || any(consul::Refusal::Exists)
            {
                Refusal::Conflict
            } else {
                Refusal::LockLost
            };
            Outcome::Refused(refusal, text)
        }
        Kind::Denied | Kind::Invalid => Outcome::Refused(Refusal::NotAllowed, text),
        Kind::NotFound | Kind::InvalidSession => Outcome::Refused(Refusal::LockLost, text),
        // One that was not sent is as soon tried again, and the read before that does no harm.
        Kind::NotSent | Kind::Unknown => Outcome::Unknown(text),
    }
}

/// The longest lease that nodes publish.
pub fn longest_lease(entries: &[KvEntry]) -> Option<Duration> {
    entries
        .iter()
        .filter_map(|entry| serde_json::from_slice::<crate::control::NodeReport>(&entry.value).ok())
        .map(|report| Duration::from_millis(report.lease_ms))
        .max()
}

/// The transaction of a write whose translation is wrong on purpose, if the settings say so.
#[cfg(feature = "mutants")]
pub fn broken_operations(key: &str, write: Write, settings: &Settings) -> Vec<TxnOp> {
    use crate::election::Mutant;
    let unchecked = settings.has(match write {
        Write::Acquire { .. } => Mutant::AcquireUnchecked,
        Write::Steal { .. } => Mutant::StealUnchecked,
        Write::Beat { .. } => Mutant::BeatUnchecked,
        Write::Release { .. } => return operations(key, write),
    });
    let mut operations = operations(key, write);
    operations.retain(|op| {
        let checks = matches!(op, TxnOp::CheckIndex { .. } | TxnOp::CheckNotExists { .. });
        !(unchecked && checks)
    });
    operations
}
