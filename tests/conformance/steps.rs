//! Random operations, in terms that mean the same to a real Consul and to the model.

use std::time::Duration;

use kneard::consul::Behavior;

use crate::support::random::Random;

const KEYS: [&str; 4] = ["a", "b", "b/c", "d"];

/// An operation; sessions by number.
#[derive(Clone, Debug)]
pub enum Step {
    Create {
        behavior: Behavior,
        lock_delay: Duration,
    },
    Renew(usize),
    Destroy(usize),
    Info(usize),
    Put {
        key: String,
        value: String,
        acquire: Option<usize>,
    },
    Delete {
        key: String,
    },
    Read {
        key: String,
    },
    List {
        prefix: String,
    },
    Txn(Vec<Part>),
    /// What the client has no use for, but operators have.
    Raw(Raw),
    /// Blocking readers wait while a change is made: which of them wake?
    Wake {
        readers: Vec<Reader>,
        by: Box<Step>,
    },
}

/// A transaction's operation; indexes by what they are.
#[derive(Clone, Debug)]
pub enum Part {
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

/// Plain HTTP requests beyond those of the client.
#[derive(Clone, Debug)]
pub enum Raw {
    PutCas(String, String, Index),
    PutRelease(String, String, usize),
    DeleteCas(String, Index),
    DeleteTree(String),
    Keys(String),
}

#[derive(Clone, Copy, Debug)]
pub enum Index {
    Current,
    Stale,
    Zero,
}

/// What a blocking query waits for.
#[derive(Clone, Debug)]
pub enum Reader {
    Key(String),
    Tree(String),
}

/// Random steps on keys and sessions of their own, so that lock delays of others do not matter.
pub struct Round {
    pub random: Random,
    pub prefix: String,
    pub first_session: usize,
    sessions: usize,
}

impl Round {
    pub fn new(seed: u64, prefix: String, first_session: usize) -> Self {
        Self { random: Random::new(seed), prefix, first_session, sessions: 0 }
    }

    fn key(&mut self) -> String {
        format!("{}/{}", self.prefix, KEYS[self.random.index(KEYS.len())])
    }

    fn tree(&mut self) -> String {
        let tails = ["/", "/b", "/b/", "/nothing"];
        format!("{}{}", self.prefix, tails[self.random.index(tails.len())])
    }

    /// Few values, so that writes which change nothing occur.
    fn value(&mut self) -> String {
        ["", "one", "two"][self.random.index(3)].to_owned()
    }

    fn session(&mut self) -> usize {
        if self.sessions == 0 || self.random.percent(5) {
            return 1_000_000; // never created
        }
        self.first_session + self.random.index(self.sessions)
    }

    fn index(&mut self) -> Index {
        match self.random.index(10) {
            0..=6 => Index::Current,
            7..=8 => Index::Stale,
            _ => Index::Zero,
        }
    }

    pub fn step(&mut self) -> Step {
        if self.sessions < 2 {
            return self.create();
        }
        match self.random.index(100) {
            0..=3 => self.create(),
            4..=6 => Step::Renew(self.session()),
            7..=8 => Step::Info(self.session()),
            9..=20 => self.read(),
            21..=28 => {
                let readers = (0..1 + self.random.index(4)).map(|_| self.reader()).collect();
                Step::Wake { readers, by: Box::new(self.write()) }
            }
            _ => self.write(),
        }
    }

    fn create(&mut self) -> Step {
        self.sessions += 1;
        let behavior = if self.random.percent(25) { Behavior::Delete } else { Behavior::Release };
        // None, or longer than the test runs: its end is a matter of time, and of another test.
        let lock_delay = if self.random.percent(20) { 60 } else { 0 };
        Step::Create { behavior, lock_delay: Duration::from_secs(lock_delay) }
    }

    fn read(&mut self) -> Step {
        match self.random.index(10) {
            0..=5 => Step::Read { key: self.key() },
            6..=8 => Step::List { prefix: self.tree() },
            _ => Step::Raw(Raw::Keys(self.tree())),
        }
    }

    fn reader(&mut self) -> Reader {
        if self.random.percent(70) { Reader::Key(self.key()) } else { Reader::Tree(self.tree()) }
    }

    fn write(&mut self) -> Step {
        match self.random.index(70) {
            0..=3 => Step::Destroy(self.session()),
            4..=19 => {
                let acquire = self.random.percent(60).then(|| self.session());
                Step::Put { key: self.key(), value: self.value(), acquire }
            }
            20..=22 => Step::Delete { key: self.key() },
            23..=27 => Step::Raw(self.raw_write()),
            _ => {
                let count = 1 + self.random.index(4);
                Step::Txn((0..count).map(|_| self.part()).collect())
            }
        }
    }

    fn raw_write(&mut self) -> Raw {
        let key = self.key();
        match self.random.index(10) {
            0..=3 => Raw::PutCas(key, self.value(), self.index()),
            4..=6 => Raw::PutRelease(key, self.value(), self.session()),
            7..=8 => Raw::DeleteCas(key, self.index()),
            _ => Raw::DeleteTree(self.tree()),
        }
    }

    fn part(&mut self) -> Part {
        let key = self.key();
        match self.random.index(20) {
            0..=5 => Part::Lock(key, self.value(), self.session()),
            6..=8 => Part::Unlock(key, self.value(), self.session()),
            9..=11 => Part::CheckIndex(key, self.index()),
            12 => Part::CheckSession(key, self.session()),
            13 => Part::CheckNotExists(key),
            14 => Part::Set(key, self.value()),
            15 => Part::Cas(key, self.value(), self.index()),
            16 => Part::Get(key),
            17 => Part::GetTree(self.tree()),
            18 if self.random.percent(50) => Part::Delete(key),
            18 => Part::DeleteCas(key, self.index()),
            _ => Part::DeleteTree(self.tree()),
        }
    }
}
