//! The stand-in (and so the model behind it) answers as a real Consul does: the same operations
//! go to both through the same client, and every answer is compared.
//!
//! `KNEARD_SEED=n` replays one round, `KNEARD_ROUNDS=n` runs more of them.
mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use kneard::consul::stand_in::StandIn;
use kneard::consul::{
    Behavior, Client, ClientConfig, Consistency, Error, KvEntry, SessionId, SessionRequest, TxnOp,
};
use support::consul::Consul;

const LIMIT: Duration = Duration::from_secs(20);
const OPERATIONS_A_ROUND: usize = 40;
const KEYS: [&str; 4] = ["a", "b", "b/c", "d"];

/// splitmix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a small bound")
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// An operation in terms that mean the same on both sides.
#[derive(Clone, Debug)]
enum Step {
    Create { behavior: Behavior, lock_delay: Duration },
    Renew(usize),
    Destroy(usize),
    Info(usize),
    Put { key: String, value: String, acquire: Option<usize> },
    Delete { key: String },
    Read { key: String },
    List { prefix: String },
    Txn(Vec<Part>),
}

/// A transaction's operation; sessions by number, indexes by what they are.
#[derive(Clone, Debug)]
enum Part {
    Set(String, String),
    Cas(String, String, Index),
    Lock(String, String, usize),
    Unlock(String, String, usize),
    Get(String),
    GetTree(String),
    CheckIndex(String, Index),
    CheckSession(String, usize),
    CheckNotExists(String),
    Delete(String),
    DeleteCas(String, Index),
    DeleteTree(String),
}

#[derive(Clone, Copy, Debug)]
enum Index {
    Current,
    Stale,
    Zero,
}

/// One of the two, and what it has answered so far.
struct Side {
    client: Client,
    address: SocketAddr,
    sessions: Vec<SessionId>,
    /// Every index that it answered, in order: the two sides' must rank alike.
    indexes: Vec<u64>,
}

impl Side {
    fn new(url: String) -> Self {
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

    /// Do it, and say in words what came back, with indexes set aside and sessions by number.
    async fn run(&mut self, step: &Step) -> String {
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
                self.indexes.push(self.listing_index(prefix).await);
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
        }
    }

    /// The index of a listing, which the client has no use for.
    async fn listing_index(&self, prefix: &str) -> u64 {
        let (address, path) = (self.address, format!("/v1/kv/{prefix}?recurse"));
        let ask = move || support::consul::exchange(address, "GET", &path, None, "");
        // The stand-in answers on this very thread.
        let answer = tokio::task::spawn_blocking(ask).await.expect("asked");
        let (_, head, _) = answer.expect("an answer");
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("x-consul-index"))
            .map(|(_, index)| index.parse().expect("an index"))
            .expect("an index")
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
                let mut text = self.without_session_ids(&error.what);
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

    fn entries(&mut self, entries: Vec<KvEntry>) -> String {
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
fn ranks(indexes: &[u64]) -> Vec<usize> {
    let mut sorted = indexes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    indexes.iter().map(|index| sorted.binary_search(index).expect("one of them")).collect()
}

/// A round has keys and sessions of its own, so that lock delays of earlier ones do not matter.
struct Round {
    random: Random,
    prefix: String,
    first_session: usize,
    sessions: usize,
}

impl Round {
    fn key(&mut self) -> String {
        format!("{}/{}", self.prefix, KEYS[self.random.below(KEYS.len())])
    }

    fn tree(&mut self) -> String {
        let tails = ["/", "/b", "/b/", "/nothing"];
        format!("{}{}", self.prefix, tails[self.random.below(tails.len())])
    }

    /// Few values, so that writes which change nothing occur.
    fn value(&mut self) -> String {
        ["", "one", "two"][self.random.below(3)].to_owned()
    }

    fn session(&mut self) -> usize {
        if self.sessions == 0 || self.random.chance(5) {
            return 1_000_000; // never created
        }
        self.first_session + self.random.below(self.sessions)
    }

    fn index(&mut self) -> Index {
        match self.random.below(10) {
            0..=6 => Index::Current,
            7..=8 => Index::Stale,
            _ => Index::Zero,
        }
    }

    fn step(&mut self) -> Step {
        match self.random.below(100) {
            _ if self.sessions < 2 => self.create(),
            0..=4 => self.create(),
            5..=7 => Step::Renew(self.session()),
            8..=11 => Step::Destroy(self.session()),
            12..=13 => Step::Info(self.session()),
            14..=29 => {
                let acquire = self.random.chance(60).then(|| self.session());
                Step::Put { key: self.key(), value: self.value(), acquire }
            }
            30..=33 => Step::Delete { key: self.key() },
            34..=45 => Step::Read { key: self.key() },
            46..=53 => Step::List { prefix: self.tree() },
            _ => {
                let count = 1 + self.random.below(4);
                Step::Txn((0..count).map(|_| self.part()).collect())
            }
        }
    }

    fn create(&mut self) -> Step {
        self.sessions += 1;
        let behavior = if self.random.chance(25) { Behavior::Delete } else { Behavior::Release };
        // None, or longer than the test runs: its end is a matter of time, which is not compared.
        let lock_delay = if self.random.chance(20) { 60 } else { 0 };
        Step::Create { behavior, lock_delay: Duration::from_secs(lock_delay) }
    }

    fn part(&mut self) -> Part {
        let key = self.key();
        match self.random.below(20) {
            0..=5 => Part::Lock(key, self.value(), self.session()),
            6..=8 => Part::Unlock(key, self.value(), self.session()),
            9..=11 => Part::CheckIndex(key, self.index()),
            12 => Part::CheckSession(key, self.session()),
            13 => Part::CheckNotExists(key),
            14 => Part::Set(key, self.value()),
            15 => Part::Cas(key, self.value(), self.index()),
            16 => Part::Get(key),
            17 => Part::GetTree(self.tree()),
            18 if self.random.chance(50) => Part::Delete(key),
            18 => Part::DeleteCas(key, self.index()),
            _ => Part::DeleteTree(self.tree()),
        }
    }
}

async fn stand_in() -> String {
    let stand_in = StandIn::bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
    let url = format!("http://{}", stand_in.local_addr());
    tokio::spawn(stand_in.serve());
    url
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test]
async fn random_operations_are_answered_alike() {
    let consul = Consul::start();
    let mut real = Side::new(consul.url());
    let mut model = Side::new(stand_in().await);
    let seeds = match number("KNEARD_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("KNEARD_ROUNDS").unwrap_or(15),
    };
    let mut compared = 0;
    for seed in seeds {
        let mut round = Round {
            random: Random(seed),
            prefix: format!("round{seed}"),
            first_session: real.sessions.len(),
            sessions: 0,
        };
        let mut story = String::new();
        for _ in 0..OPERATIONS_A_ROUND {
            let step = round.step();
            let (expected, answered) = (real.run(&step).await, model.run(&step).await);
            writeln!(story, "{step:?}\n    -> {expected}").expect("a string");
            assert_eq!(expected, answered, "KNEARD_SEED={seed}, after\n{story}");
            assert_eq!(
                ranks(&real.indexes),
                ranks(&model.indexes),
                "KNEARD_SEED={seed}: indexes {:?} and {:?}, after\n{story}",
                real.indexes,
                model.indexes
            );
            compared += 1;
        }
    }
    println!("{compared} answers compared, {} indexes ranked", real.indexes.len());
}

/// What the client does not send but an operator's `curl` does, and the wrong requests.
#[tokio::test]
async fn raw_requests_are_answered_alike() {
    let consul = Consul::start();
    let real = &consul.servers()[0];
    let model = stand_in().await;
    let model = model.trim_start_matches("http://").parse().expect("an address");
    for (method, path, body) in [
        ("GET", "/v1/kv/x/a?raw", ""),
        ("GET", "/v1/kv/x?keys", ""),
        ("PUT", "/v1/kv/x/a?flags=42", "hello"),
        ("GET", "/v1/kv/x/a?raw", ""),
        ("PUT", "/v1/kv/x/b/c?cas=0", "two"),
        ("PUT", "/v1/kv/x/b/c?cas=0", "three"),
        ("PUT", "/v1/kv/x/b/d", "four"),
        ("GET", "/v1/kv/x/?keys", ""),
        ("GET", "/v1/kv/x/?keys&separator=/", ""),
        ("GET", "/v1/kv/?keys", ""),
        ("PUT", "/v1/kv/x/a?release=00000000-0000-0000-0000-000000000000", "x"),
        ("PUT", "/v1/kv/x/a?acquire=00000000-0000-0000-0000-000000000000", "x"),
        ("PUT", "/v1/kv/x/a?acquire=nonsense", "x"),
        ("PUT", "/v1/kv/x/a?acquire=1&cas=0", "x"),
        ("PUT", "/v1/kv/", "x"),
        ("GET", "/v1/kv/", ""),
        ("GET", "/v1/kv/x/a?stale&consistent", ""),
        ("GET", "/v1/kv/x/a?index=abc", ""),
        ("GET", "/v1/kv/x/a?index=1&wait=abc", ""),
        ("POST", "/v1/kv/x/a", ""),
        ("DELETE", "/v1/kv/x/a?cas=1", ""),
        ("DELETE", "/v1/kv/x/nothing?cas=1", ""),
        ("DELETE", "/v1/kv/x/b?recurse", ""),
        ("GET", "/v1/kv/x/?keys", ""),
        ("GET", "/v1/nonsense", ""),
        ("PUT", "/v1/session/create", r#"{"TTL":"5s"}"#),
        ("PUT", "/v1/session/create", r#"{"TTL":"10s","Node":"elsewhere"}"#),
        ("PUT", "/v1/session/create", r#"{"TTL":"10s","Behavior":"foo"}"#),
        ("PUT", "/v1/session/create", r#"{"TTL":"10s","NodeChecks":["nope"]}"#),
        ("PUT", "/v1/session/renew/nonsense", ""),
        ("PUT", "/v1/session/renew/00000000-0000-0000-0000-000000000000", ""),
        ("PUT", "/v1/session/destroy/00000000-0000-0000-0000-000000000000", ""),
        ("GET", "/v1/session/info/00000000-0000-0000-0000-000000000000", ""),
        ("GET", "/v1/session/info/nonsense", ""),
        ("GET", "/v1/session/list", ""),
        ("GET", "/v1/session/create", ""),
        ("PUT", "/v1/txn", r#"[{"KV":{"Verb":"bogus","Key":"x/a"}}]"#),
        ("PUT", "/v1/txn", r#"[{"KV":{"Verb":"lock","Key":"x/a"}}]"#),
        ("PUT", "/v1/txn", r#"[{"KV":{"Verb":"set","Value":"eA=="}}]"#),
        ("PUT", "/v1/txn", "[]"),
        ("GET", "/v1/txn", ""),
    ] {
        let expected = raw(real.http_addr(), method, path, body).await;
        let answered = raw(model, method, path, body).await;
        let expected = expected.unwrap_or_else(|| panic!("Consul: {method} {path}"));
        let answered = answered.unwrap_or_else(|| panic!("the stand-in: {method} {path}"));
        assert_eq!(expected.0, answered.0, "{method} {path}: {expected:?} {answered:?}");
        // Consul adds what it says of reads to transactions that have no write.
        let text = |body: &str| body.split(",\"Index\":").next().unwrap_or_default().to_owned();
        let text = |body: &str| text(body).trim_end_matches('}').trim_end().to_owned();
        assert_eq!(text(&expected.1), text(&answered.1), "{method} {path}");
    }
    let body = "garbage";
    for path in ["/v1/txn", "/v1/session/create"] {
        let expected = raw(real.http_addr(), "PUT", path, body).await;
        let answered = raw(model, "PUT", path, body).await;
        // The rest is the JSON parser's own complaint.
        let head = |answer: Option<(u16, String)>| {
            answer.map(|(status, body)| (status, body.split(':').next().map(str::to_owned)))
        };
        assert_eq!(head(expected), head(answered), "{path}");
    }
}

async fn raw(
    address: SocketAddr,
    method: &'static str,
    path: &'static str,
    body: &'static str,
) -> Option<(u16, String)> {
    // The stand-in answers on this very thread.
    let asked = move || support::consul::http(address, method, path, None, body);
    tokio::task::spawn_blocking(asked).await.expect("asked")
}

#[tokio::test]
async fn the_stand_in_says_that_it_is_one() {
    let side = Side::new(stand_in().await);
    let agent = side.client.agent_self(LIMIT).await.expect("the agent");
    assert!(agent.version.ends_with("-standin"), "{}", agent.version);
    let leader = side.client.leader(LIMIT).await.expect("an answer");
    assert!(leader.is_some());
}

#[tokio::test]
async fn the_stand_in_wakes_a_watch_and_lets_it_go_when_the_wait_is_over() {
    let client = Side::new(stand_in().await).client;
    client.put("t/a", b"1", None, LIMIT).await.expect("written");
    let watch = |index, wait| client.watch("t/a", index, wait, Consistency::Default, LIMIT);
    let first = watch(0, Duration::from_secs(60)).await.expect("at once");
    let started = tokio::time::Instant::now();
    let same = watch(first.index, Duration::from_millis(200)).await.expect("an answer");
    assert_eq!(same.index, first.index);
    assert!(started.elapsed() >= Duration::from_millis(200));
    let (seen, written) = tokio::join!(
        watch(first.index, Duration::from_secs(60)),
        client.put("t/a", b"2", None, LIMIT)
    );
    assert!(written.expect("written"));
    assert_eq!(seen.expect("the change").entry.expect("an entry").value, b"2");
    assert!(started.elapsed() < Duration::from_secs(30));
}
