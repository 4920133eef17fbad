//! A real Consul and the bare model side by side, by one clock: what takes time.

use std::time::Duration;

use kneard::consul::model::{Answer, Model, Op};
use kneard::consul::{
    Behavior, Client, ClientConfig, Consistency, KvEntry, Refusal, SessionId, SessionRequest, TxnOp,
};
use tokio::time::Instant;

use super::LIMIT;

/// The least that Consul takes.
pub const TTL: Duration = Duration::from_secs(10);
/// How late a loaded machine may see something happen.
pub const LATE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// A session on both sides.
#[derive(Clone)]
pub struct Ids {
    pub real: SessionId,
    model: SessionId,
}

/// Both sides, and what was compared.
pub struct Timed {
    pub client: Client,
    pub model: Model,
    started: Instant,
    /// By how much later than in the model Consul's timers may have been started.
    pub uncertain: Duration,
    pub compared: usize,
}

impl Timed {
    pub fn new(url: String) -> Self {
        let config = ClientConfig { addresses: vec![url], ..ClientConfig::default() };
        Self {
            client: Client::new(config).expect("a client"),
            model: Model::new("consul", 1),
            started: Instant::now(),
            uncertain: Duration::ZERO,
            compared: 0,
        }
    }

    /// The model's clock.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub async fn until(&self, at: Duration) {
        tokio::time::sleep_until(self.started + at).await;
    }

    pub async fn create(&mut self, ttl: Duration, lock_delay: Duration, how: Behavior) -> Ids {
        let request = SessionRequest {
            name: "timed".to_owned(),
            node: None,
            ttl,
            lock_delay,
            behavior: how,
            node_checks: Vec::new(),
        };
        // The model's clock reads the time before the request: its window opens no later.
        let now = self.now();
        let real = self.client.create_session(&request, LIMIT).await.expect("a session");
        match self.model.apply(now, Op::CreateSession(request)) {
            Answer::Created(model) => Ids { real, model },
            other => panic!("{other:?}"),
        }
    }

    pub async fn renew(&mut self, ids: &Ids) {
        let now = self.now();
        self.client.renew_session(&ids.real, LIMIT).await.expect("renewed");
        let renewed = self.model.apply(now, Op::RenewSession(ids.model.clone()));
        assert!(matches!(renewed, Answer::Session(Some(_))), "{renewed:?}");
    }

    pub async fn destroy(&mut self, ids: &Ids) {
        self.client.destroy_session(&ids.real, LIMIT).await.expect("destroyed");
        self.model.apply(self.now(), Op::DestroySession(ids.model.clone()));
    }

    /// Try to lock on both sides, by transaction and by put; they must agree.
    pub async fn lock(&mut self, key: &str, ids: &Ids) -> Result<(), Refusal> {
        let (real, now) = (self.lock_real(key, ids).await, self.now());
        let model = self.lock_model(now, key, ids);
        assert_eq!(real, model, "the lock of {key}");
        self.compared += 1;
        real
    }

    /// For as long as Consul delays the lock of `key`, which `end` started, ask again. The model
    /// must delay it for as long.
    pub async fn lock_after_delay(&mut self, key: &str, ids: &Ids, end: Duration, delay: Duration) {
        assert_eq!(self.lock(key, ids).await, Err(Refusal::LockDelay), "{key}");
        let granted = loop {
            match self.lock_real(key, ids).await {
                Ok(()) => break self.now(),
                Err(why) => assert_eq!(why, Refusal::LockDelay, "{key}"),
            }
            tokio::time::sleep(POLL).await;
        };
        // `end` is when the session's end was seen, somewhat after it happened.
        let (early, late) = (end + delay - LATE.min(delay / 2), end + delay + LATE);
        assert!((early..=late).contains(&granted), "{key}: {granted:?} for {early:?} to {late:?}");
        let still = end + delay - Duration::from_millis(1);
        assert_eq!(self.lock_model(still, key, ids), Err(Refusal::LockDelay));
        assert_eq!(self.lock_model(granted.max(end + delay), key, ids), Ok(()));
        self.compared += 1;
        self.same(key).await;
    }

    async fn lock_real(&self, key: &str, ids: &Ids) -> Result<(), Refusal> {
        match self.client.txn(&lock(key, &ids.real), LIMIT).await {
            Ok(_) => Ok(()),
            Err(error) => Err(reason(error)),
        }
    }

    fn lock_model(&mut self, now: Duration, key: &str, ids: &Ids) -> Result<(), Refusal> {
        let answer = self.model.apply(now, Op::Txn(lock(key, &ids.model)));
        answer.into_txn_result().map(|_| ()).map_err(reason)
    }

    /// Wait until Consul has ended the session, which holds `key`; the model must allow that at
    /// that moment, and must not allow Consul any later one. When it was seen.
    pub async fn expires(&mut self, key: &str, ids: &Ids) -> Duration {
        let window = self.model.expirations().find(|(id, _, _)| **id == ids.model);
        let (may, must) = window.map(|(_, may, must)| (may, must)).expect("a TTL");
        let must = must + self.uncertain;
        loop {
            let read = self.client.read(key, Consistency::Consistent, LIMIT).await.expect("a read");
            let now = self.now();
            if read.entry.and_then(|entry| entry.session).as_ref() != Some(&ids.real) {
                let ended = self.model.apply(now, Op::Expire(ids.model.clone()));
                assert_eq!(ended, Answer::Done(true), "{key} lost its session before {may:?}");
                println!("{key}: expired at {now:.1?}, allowed from {may:.1?} to {must:.1?}");
                self.compared += 1;
                self.same(key).await;
                let info = self.client.session_info(&ids.real, Consistency::Consistent, LIMIT);
                assert_eq!(info.await.expect("an answer"), None);
                return now;
            }
            assert!(now < must + LATE, "{key}: the session lives beyond twice its TTL");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The entry is the same on both sides, indexes aside.
    pub async fn same(&mut self, key: &str) {
        let read = self.client.read(key, Consistency::Consistent, LIMIT).await.expect("a read");
        let shape = |entry: &KvEntry| {
            (entry.value.clone(), entry.flags, entry.lock_index, entry.session.is_some())
        };
        let (_, model) = self.model.get(key);
        assert_eq!(read.entry.as_ref().map(shape), model.map(shape), "{key}");
        self.compared += 1;
    }
}

fn lock(key: &str, session: &SessionId) -> Vec<TxnOp> {
    let (key, session) = (key.to_owned(), session.clone());
    vec![TxnOp::Lock { key, value: b"locked".to_vec(), flags: 0, session }]
}

fn reason(error: kneard::consul::Error) -> Refusal {
    match error.kind {
        kneard::consul::Kind::Refused(errors) => errors[0].refusal.clone(),
        _ => panic!("{error}"),
    }
}
