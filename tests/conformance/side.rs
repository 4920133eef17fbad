//! One of the two that are compared: does a step and says in words what came back.

use std::net::SocketAddr;
use std::time::Duration;

use kneard::consul::{
    Client, ClientConfig, Consistency, Error, KvEntry, SessionId, SessionRequest, TxnOp,
};

use super::LIMIT;
use super::raw;
use super::steps::{Index, Part, Raw, Step};

/// A Consul or a stand-in, and what it has answered so far.
pub struct Side {
    pub client: Client,
    pub address: SocketAddr,
    pub sessions: Vec<SessionId>,
    /// Every index that it answered, in order: the two sides' must rank alike.
    pub indexes: Vec<u64>,
}

impl Side {
    pub fn new(url: String) -> Self {
        let address = url.trim_start_matches("http://").parse().expect("an address");
        let config = ClientConfig { addresses: vec![url], ..ClientConfig::default() };
        Self {
            client: Client::new(config).expect("a client"),
            address,
            sessions: Vec::new(),
            indexes: Vec::new(),
        }
    }

    /// An id that was created on this side, or for numbers beyond those one that never was.
    fn session(&self, number: usize) -> SessionId {
        let unknown = || SessionId(format!("ffffffff-ffff-ffff-ffff-{number:012x}"));
        self.sessions.get(number).cloned().unwrap_or_else(unknown)
    }

    async fn index(&self, key: &str, index: Index) -> u64 {
        if matches!(index, Index::Zero) {
            return 0;
        }
        let read = self.client.read(key, Consistency::Consistent, LIMIT).await.expect("a read");
        let current = read.entry.map_or(7, |entry| entry.modify_index);
        if matches!(index, Index::Stale) { current - 1 } else { current }
    }

    /// Do it, and say what came back, with indexes set aside and sessions by number.
    pub async fn run(&mut self, step: &Step) -> String {
        let client = self.client.clone();
        match step {
            Step::Create { behavior, lock_delay } => {
                let request = SessionRequest {
                    name: "conformance".to_owned(),
                    node: None,
                    ttl: Duration::from_secs(600),
                    lock_delay: *lock_delay,
                    behavior: *behavior,
                    node_checks: Vec::new(),
                };
                let id = client.create_session(&request, LIMIT).await.expect("a session");
                self.sessions.push(id);
                "created".to_owned()
            }
            Step::Renew(number) => {
                let outcome = client.renew_session(&self.session(*number), LIMIT).await;
                self.describe(outcome, |side, info| {
                    side.indexes.push(info.create_index);
                    format!("{} {} {:?} {}", info.name, info.ttl, info.behavior, info.lock_delay)
                })
            }
            Step::Destroy(number) => {
                let outcome = client.destroy_session(&self.session(*number), LIMIT).await;
                self.describe(outcome, |_, ()| "destroyed".to_owned())
            }
            Step::Info(number) => {
                let id = self.session(*number);
                let outcome = client.session_info(&id, Consistency::Consistent, LIMIT).await;
                self.describe(outcome, |_, info| format!("there: {}", info.is_some()))
            }
            Step::Put { key, value, acquire } => {
                let session = acquire.map(|number| self.session(number));
                let outcome = client.put(key, value.as_bytes(), session.as_ref(), LIMIT).await;
                self.describe(outcome, |_, stored| format!("stored: {stored}"))
            }
            Step::Delete { key } => {
                let outcome = client.delete(key, LIMIT).await;
                self.describe(outcome, |_, ()| "deleted".to_owned())
            }
            Step::Read { key } => {
                let outcome = client.read(key, Consistency::Consistent, LIMIT).await;
                self.describe(outcome, |side, read| {
                    side.indexes.push(read.index);
                    read.entry.map_or("missing".to_owned(), |entry| side.entry(&entry))
                })
            }
            Step::List { prefix } => {
                let outcome = client.read_prefix(prefix, Consistency::Consistent, LIMIT).await;
                // The client has no use for a listing's index.
                self.raw("GET", &format!("{prefix}?recurse&consistent"), "").await;
                self.describe(outcome, Self::entries)
            }
            Step::Txn(parts) => {
                let mut ops = Vec::new();
                for part in parts {
                    ops.push(self.operation(part).await);
                }
                let outcome = client.txn(&ops, LIMIT).await;
                self.describe(outcome, Self::entries)
            }
            Step::Raw(raw) => self.run_raw(raw).await,
            Step::Wake { .. } => unreachable!("it has a function of its own"),
        }
    }

    async fn run_raw(&mut self, raw: &Raw) -> String {
        match raw {
            Raw::PutCas(key, value, index) => {
                let index = self.index(key, *index).await;
                self.raw("PUT", &format!("{key}?cas={index}"), value).await
            }
            Raw::PutRelease(key, value, number) => {
                let session = self.session(*number);
                self.raw("PUT", &format!("{key}?release={session}"), value).await
            }
            Raw::DeleteCas(key, index) => {
                let index = self.index(key, *index).await;
                self.raw("DELETE", &format!("{key}?cas={index}"), "").await
            }
            Raw::DeleteTree(prefix) => self.raw("DELETE", &format!("{prefix}?recurse"), "").await,
            Raw::Keys(prefix) => {
                self.raw("GET", &format!("{prefix}?keys&separator=/&consistent"), "").await
            }
        }
    }

    /// A bare request on the KV store: status and body, with the index set aside.
    async fn raw(&mut self, method: &str, path: &str, body: &str) -> String {
        let path = format!("/v1/kv/{path}");
        let asked = raw::ask(self.address, method, &path, body);
        let answer = tokio::time::timeout(LIMIT, asked).await.ok().flatten().expect("an answer");
        self.indexes.extend(answer.index);
        format!("{} {}", answer.status, self.without_session_ids(answer.body.trim_end()))
    }

    async fn operation(&self, part: &Part) -> TxnOp {
        let bytes = |value: &str| value.as_bytes().to_vec();
        match part.clone() {
            Part::Set(key, value) => TxnOp::Set { key, value: bytes(&value), flags: 3 },
            Part::Cas(key, value, index) => {
                let index = self.index(&key, index).await;
                TxnOp::Cas { key, value: bytes(&value), flags: 0, index }
            }
            Part::Lock(key, value, session) => {
                TxnOp::Lock { key, value: bytes(&value), flags: 0, session: self.session(session) }
            }
            Part::Unlock(key, value, session) => TxnOp::Unlock {
                key,
                value: bytes(&value),
                flags: 0,
                session: self.session(session),
            },
            Part::Get(key) => TxnOp::Get { key },
            Part::GetTree(prefix) => TxnOp::GetTree { prefix },
            Part::CheckIndex(key, index) => {
                let index = self.index(&key, index).await;
                TxnOp::CheckIndex { key, index }
            }
            Part::CheckSession(key, session) => {
                TxnOp::CheckSession { key, session: self.session(session) }
            }
            Part::CheckNotExists(key) => TxnOp::CheckNotExists { key },
            Part::Delete(key) => TxnOp::Delete { key },
            Part::DeleteCas(key, index) => {
                let index = self.index(&key, index).await;
                TxnOp::DeleteCas { key, index }
            }
            Part::DeleteTree(prefix) => TxnOp::DeleteTree { prefix },
        }
    }

    fn describe<T>(
        &mut self,
        outcome: Result<T, Error>,
        words: impl FnOnce(&mut Self, T) -> String,
    ) -> String {
        match outcome {
            Ok(value) => words(self, value),
            Err(error) => {
                // A follower says so when it only passes the leader's error on.
                let text = error.what.replace("rpc error making call: ", "");
                let mut text = self.without_session_ids(&text);
                // The one message with indexes in it.
                while let Some((before, rest)) = text.split_once("current modify index ") {
                    let (current, rest) = rest.split_once(" != ").expect("the known wording");
                    self.indexes.push(current.parse().expect("an index"));
                    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                    text = format!("{before}another index{}", &rest[end..]);
                }
                let kind = format!("{:?}", error.kind);
                let kind = kind.split(['(', '[']).next().expect("a first part");
                format!("{kind}: {text}")
            }
        }
    }

    pub fn entries(&mut self, entries: Vec<KvEntry>) -> String {
        entries.iter().fold(String::new(), |text, entry| text + &self.entry(entry) + "; ")
    }

    fn entry(&mut self, entry: &KvEntry) -> String {
        self.indexes.extend([entry.create_index, entry.modify_index]);
        let session = entry.session.as_ref().map_or("none", SessionId::as_str);
        format!(
            "{} = {:?}, flags {}, locked {} times, by {}",
            entry.key,
            String::from_utf8_lossy(&entry.value),
            entry.flags,
            entry.lock_index,
            self.without_session_ids(session)
        )
    }

    fn without_session_ids(&self, text: &str) -> String {
        self.sessions
            .iter()
            .enumerate()
            .fold(text.to_owned(), |text, (i, id)| text.replace(id.as_str(), &format!("S{i}")))
    }
}

/// Positions of the indexes among all of them: what is left of them when the numbers themselves
/// do not count.
pub fn ranks(indexes: &[u64]) -> Vec<usize> {
    let mut sorted = indexes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    indexes.iter().map(|index| sorted.binary_search(index).expect("one of them")).collect()
}
