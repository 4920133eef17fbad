//! The Consul cluster: the production model as its applied state, with elections of a leader,
//! followers that lag behind, blocking queries, and a timer for each session.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use kneard::consul::model::{Answer, Model, Op};
use kneard::consul::{KvEntry, SessionId};
use kneard::election::Seen;
use kneard::supervisor::{Keys, election_key};

use super::SECOND;

/// How far back a lagging follower can be.
const HISTORY: u64 = 40 * SECOND;

/// The election's entry as some write left it.
#[derive(Clone)]
pub struct Sight {
    pub at: u64,
    /// `X-Consul-Index` of a read.
    pub index: u64,
    pub seen: Rc<Seen>,
}

/// A blocking query that waits for a higher index.
pub struct Waiter {
    pub host: usize,
    pub query: u64,
    pub index: u64,
}

pub struct Cluster {
    pub model: Model,
    pub keys: Keys,
    pub election: String,
    /// The newest last.
    history: VecDeque<Sight>,
    pub waiters: Vec<Waiter>,
    /// No write and no consistent read is served before.
    pub leaderless_until: u64,
    /// Neither is anything else.
    pub down_until: u64,
    pub backup: Option<(Model, Sight)>,
}

impl Cluster {
    pub fn new(seed: u64) -> Self {
        let keys = Keys::new("validator.near");
        let first = Sight { at: 0, index: 1, seen: Rc::new(Seen::Missing) };
        Cluster {
            model: Model::new("consul", seed as u32),
            election: keys.election(),
            keys,
            history: VecDeque::from([first]),
            waiters: Vec::new(),
            leaderless_until: 0,
            down_until: 0,
            backup: None,
        }
    }

    /// Does one thing as the leader. `true`: the election's entry, or the index of a read of it,
    /// is another one now, and [`Cluster::newest`] tells.
    pub fn apply(&mut self, now: u64, op: Op) -> (Answer, bool) {
        let answer = self.model.apply(Duration::from_nanos(now), op);
        let (index, entry) = self.model.get(&self.election);
        if index == self.newest().index {
            return (answer, false);
        }
        let seen = Rc::new(election_key::seen(entry.cloned()));
        self.add(Sight { at: now, index, seen });
        (answer, true)
    }

    fn add(&mut self, sight: Sight) {
        let now = sight.at;
        self.history.push_back(sight);
        while self.history.len() > 1 && self.history[1].at + HISTORY < now {
            self.history.pop_front();
        }
    }

    /// What the leader has.
    pub fn newest(&self) -> &Sight {
        self.history.back().expect("there always is one")
    }

    /// What a follower has that is behind by `lag`.
    pub fn behind(&self, now: u64, lag: u64) -> &Sight {
        let seen = self.history.iter().rev().find(|sight| sight.at + lag <= now);
        seen.unwrap_or(&self.history[0])
    }

    /// The first that came with a higher index, if the newest has one.
    pub fn first_above(&self, index: u64) -> Option<&Sight> {
        let above = self.history.iter().rev().take_while(|sight| sight.index > index).count();
        self.history.get(self.history.len() - above)
    }

    pub fn entry(&self) -> Option<&KvEntry> {
        self.model.get(&self.election).1
    }

    pub fn lock_holder(&self) -> Option<&SessionId> {
        self.entry()?.session.as_ref()
    }

    pub fn back_up(&mut self) {
        self.backup = Some((self.model.clone(), self.newest().clone()));
    }

    /// `consul snapshot restore`: false if there is no backup.
    pub fn restore(&mut self, now: u64) -> bool {
        let Some((model, sight)) = &self.backup else { return false };
        self.model.restore(Duration::from_nanos(now), model);
        let sight = Sight { at: now, ..sight.clone() };
        self.add(sight);
        true
    }

    /// When the session's timer may next end it, and when it must; none when it is gone.
    pub fn expiration(&self, id: &SessionId) -> Option<(u64, u64)> {
        let nanos = |length: Duration| super::setup::nanos(length);
        self.model
            .expirations()
            .find(|(session, _, _)| *session == id)
            .map(|(_, may, must)| (nanos(may), nanos(must)))
    }
}
