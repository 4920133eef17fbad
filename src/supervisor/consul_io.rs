//! Carries requests on the election key to Consul and brings the answers back as events. Each
//! request is a task that sends exactly one event.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use super::election_key::{longest_lease, operations, outcome, seen, session_request};
use super::{Keys, pause};
use crate::consul::{BlockingIndex, Client, Consistency, Error, Kind, SessionRequest};
use crate::election::{Event, Record, SessionId, Settings, Write};

/// For how long one blocking query waits for a change where the leader answers it. A holder writes
/// every second.
const LEADER_WAIT: Duration = Duration::from_secs(3);
/// The same where any server does.
const ANY_WAIT: Duration = Duration::from_secs(60);
/// How long the leader may take beyond the wait.
const LEADER_LIMIT: Duration = Duration::from_secs(1);
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
            session: session_request(keys.account(), settings),
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
            let mut created = client.create_session(&request, LIMIT).await;
            let denied = created.as_ref().is_err_and(|error| error.kind == Kind::Denied);
            // The right that is missing bears the agent's name.
            if denied && client.agent_self(LIMIT).await.is_ok() {
                created = client.create_session(&request, LIMIT).await;
            }
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
            let answer = client.txn(&operations(&key, write), limit).await;
            Event::Written { id, outcome: outcome(&key, answer) }
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
            let watch = watch(self.client.clone(), self.keys.clone(), self.events.clone());
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

/// Tells of every change of the key. The leader knows of one first, the other servers when it next
/// writes to them, up to 100 ms later (hashicorp/raft `CommitTimeout`); but without a leader any
/// server may answer, however far behind: a late sight makes a candidate wait longer, and every
/// write checks what it was based on.
async fn watch(client: Client, keys: Keys, events: Sender<Event>) {
    let (key, pause_key) = (keys.election(), keys.pause());
    let mut index = BlockingIndex::new();
    let random = getrandom::u64().unwrap_or_default();
    let mut complaint = None;
    // Whether takeovers are paused comes before what invites to one: after a while without Consul
    // a pause may have begun unseen.
    let mut knows_pause = false;
    let mut ask_leader = true;
    loop {
        if !knows_pause {
            match pause::read(&client, &pause_key).await {
                Ok(pause) => {
                    if events.send(Event::Paused(pause.is_some())).await.is_err() {
                        return;
                    }
                    knows_pause = true;
                }
                Err(_) => {
                    tokio::time::sleep(WATCH_RETRY).await;
                    continue;
                }
            }
        }
        let started = Instant::now();
        let (wait, consistency, limit) = if ask_leader {
            (LEADER_WAIT, Consistency::Default, LEADER_LIMIT)
        } else {
            (ANY_WAIT, Consistency::Stale, LIMIT)
        };
        let read = client.watch(&key, index.next(), wait, consistency, limit).await;
        let pause = match read {
            Ok(read) => {
                ask_leader = true;
                let progress = index.update(read.index);
                if events.send(Event::Watched(seen(read.entry))).await.is_err() {
                    return;
                }
                index.pause(progress, started.elapsed(), wait, random)
            }
            // Whether Consul answers is reported by the requests that matter. But who may not read
            // the key never gets so far as to send them.
            Err(error) => {
                if error.kind == Kind::Denied && complaint.as_ref() != Some(&error.what) {
                    tracing::error!("the election cannot be followed: {error}");
                    complaint = Some(error.what);
                }
                index.reset();
                knows_pause = false;
                ask_leader = !ask_leader;
                WATCH_RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn one_line(error: Error) -> String {
    error.to_string()
}
