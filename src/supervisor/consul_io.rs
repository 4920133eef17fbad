//! Carries requests on the election key to Consul and brings the answers back as events. Each
//! request is a task that sends exactly one event.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use super::Keys;
use crate::consul::{
    self, BlockingIndex, Client, Consistency, Error, Kind, KvEntry, SessionRequest, TxnOp,
};
use crate::election::{
    Content, Entry, Event, Outcome, Record, Refusal, Seen, SessionId, Settings, Write,
};

/// For how long one blocking query waits for a change.
const WATCH_WAIT: Duration = Duration::from_secs(60);
/// How long a failed watch waits before its next try.
const WATCH_RETRY: Duration = Duration::from_millis(500);
/// For requests on which no lease depends.
const LIMIT: Duration = Duration::from_secs(3);

pub struct ConsulIo {
    client: Client,
    keys: Keys,
    events: Sender<Event>,
    /// Time limit of a request that a lease depends on.
    limit: Duration,
    session: SessionRequest,
    watch: Option<JoinHandle<()>>,
    /// When the record's present term and state began, to be written with each beat.
    since: Option<(u64, crate::election::RecordState, String)>,
}

impl ConsulIo {
    pub fn new(client: Client, keys: Keys, settings: &Settings, events: Sender<Event>) -> Self {
        ConsulIo {
            client,
            session: SessionRequest {
                name: format!("kneard {} {}", keys.account(), settings.node_id),
                node: None,
                ttl: settings.session_ttl(),
                lock_delay: settings.lock_delay(),
                behavior: consul::Behavior::Release,
                node_checks: Vec::new(),
            },
            keys,
            events,
            limit: settings.beat_interval(),
            watch: None,
            since: None,
        }
    }

    pub fn create_session(&self) {
        let (client, request) = (self.client.clone(), self.session.clone());
        self.task(async move {
            let created = client.create_session(&request, LIMIT).await;
            Event::SessionCreated(created.map_err(one_line))
        });
    }

    pub fn renew_session(&self, id: SessionId) {
        let client = self.client.clone();
        self.task(async move {
            Event::SessionRenewed(match client.renew_session(&id, LIMIT).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind == Kind::NotFound || error.is_invalid_session() => {
                    Ok(false)
                }
                Err(error) => Err(one_line(error)),
            })
        });
    }

    /// The last thing that a kneard says to Consul; if it is lost, the session's TTL does it.
    pub async fn destroy_session(&self, id: &SessionId) {
        if let Err(error) = self.client.destroy_session(id, LIMIT).await {
            tracing::warn!("the Consul session {id} is left to expire: {error}");
        }
    }

    pub fn commit(&mut self, id: u64, mut write: Write) {
        self.stamp(write.record_mut());
        let (client, key, limit) = (self.client.clone(), self.keys.election(), self.limit);
        self.task(async move {
            let outcome = match client.txn(&operations(&key, write), limit).await {
                Ok(entries) => committed(&key, &entries),
                Err(error) => refused_or_unknown(&error),
            };
            Event::Written { id, outcome }
        });
    }

    pub fn read_key(&self, id: u64) {
        let (client, key, limit) = (self.client.clone(), self.keys.election(), self.limit);
        self.task(async move {
            let read = client.read(&key, Consistency::Consistent, limit).await;
            Event::Read { id, result: read.map(|read| seen(read.entry)).map_err(one_line) }
        });
    }

    pub fn read_leases(&self) {
        let (client, prefix) = (self.client.clone(), self.keys.nodes());
        self.task(async move {
            let entries = client.read_prefix(&prefix, Consistency::Consistent, LIMIT).await;
            Event::Leases(entries.map(|entries| longest_lease(&entries)).map_err(one_line))
        });
    }

    pub fn watch(&mut self, wanted: bool) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
        if wanted {
            let watch = watch(self.client.clone(), self.keys.election(), self.events.clone());
            self.watch = Some(tokio::spawn(watch));
        }
    }

    /// Since when the record that was written last has been in its state.
    pub fn since(&self) -> Option<&str> {
        self.since.as_ref().map(|(_, _, since)| since.as_str())
    }

    fn task(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let event = work.await;
            // Nobody listens any more only when the process is about to end.
            let _ = events.send(event).await;
        });
    }

    /// Fills in the wall-clock time at which the record's state began.
    fn stamp(&mut self, record: &mut Record) {
        let same = self
            .since
            .as_ref()
            .filter(|(term, state, _)| *term == record.term && *state == record.state);
        record.since = match same {
            Some((_, _, since)) => since.clone(),
            None => {
                let now = std::time::SystemTime::now();
                let since = humantime::format_rfc3339_millis(now).to_string();
                self.since = Some((record.term, record.state, since.clone()));
                since
            }
        };
    }
}

/// Tells of every change of the key. Any server may answer, however far behind: a late sight makes
/// a candidate wait longer, and every write checks what it was based on.
async fn watch(client: Client, key: String, events: Sender<Event>) {
    let mut index = BlockingIndex::new();
    let random = getrandom::u64().unwrap_or_default();
    loop {
        let started = Instant::now();
        let read = client.watch(&key, index.next(), WATCH_WAIT, Consistency::Stale, LIMIT).await;
        let pause = match read {
            Ok(read) => {
                let progress = index.update(read.index);
                if events.send(Event::Watched(seen(read.entry))).await.is_err() {
                    return;
                }
                index.pause(progress, started.elapsed(), WATCH_WAIT, random)
            }
            // Whether Consul answers is reported by the requests that matter.
            Err(_) => {
                index.reset();
                WATCH_RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn seen(entry: Option<KvEntry>) -> Seen {
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
pub(super) fn operations(key: &str, write: Write) -> Vec<TxnOp> {
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

pub(super) fn committed(key: &str, entries: &[KvEntry]) -> Outcome {
    match entries.iter().rev().find(|entry| entry.key == key) {
        Some(entry) => Outcome::Committed(entry.modify_index),
        None => Outcome::Unknown("Consul's answer to a transaction has no result".to_owned()),
    }
}

pub(super) fn refused_or_unknown(error: &Error) -> Outcome {
    let text = one_line(error.clone());
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

fn longest_lease(entries: &[KvEntry]) -> Option<Duration> {
    entries
        .iter()
        .filter_map(|entry| serde_json::from_slice::<crate::control::NodeReport>(&entry.value).ok())
        .map(|report| Duration::from_millis(report.lease_ms))
        .max()
}

fn one_line(error: Error) -> String {
    error.to_string()
}
