//! One machine, driven by hand: events at given milliseconds, and helpers that bring it to the
//! states that the tests start from.

use std::time::Duration;

use crate::election::{
    Action, Content, Entry, Event, InstanceId, Machine, NeardStatus, Notice, Outcome, Record,
    RecordState, Refusal, Role, Seen, SessionId, Settings, SignKey, State, Step, Time, Transition,
    Write,
};

/// By all nodes of these tests.
pub const LEASE_MS: u64 = 6_000;
/// `LEASE_MS` × (1 + ρ).
pub const SAFE_MS: u64 = 6_060;
pub const KILL_MARGIN_MS: u64 = 500;
/// What [`Node::standby`]'s neard says.
pub const HEAD: u64 = 100;
/// ModifyIndex of the entry that [`Node::voting`] has seen.
pub const INDEX: u64 = 40;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn at(millis: u64) -> Time {
    Time::default() + ms(millis)
}

pub fn session(name: &str) -> SessionId {
    SessionId(name.to_owned())
}

/// The own session.
pub fn own() -> SessionId {
    session("own")
}

pub fn settings() -> Settings {
    let mut settings = Settings::new("node0", InstanceId("instance0".to_owned()), "host0");
    settings.lease = ms(LEASE_MS);
    settings
}

/// A record of another node.
pub fn record(term: u64, beat: u64, state: RecordState) -> Record {
    let mut record = Record::pending("node1", &InstanceId("instance1".to_owned()), "host1", term);
    record.beat = beat;
    record.lease_ms = LEASE_MS;
    record.head = HEAD;
    record.state = state;
    record
}

/// An own record.
pub fn own_record(term: u64, beat: u64, state: RecordState) -> Record {
    let mut record = Record::pending("node0", &InstanceId("instance0".to_owned()), "host0", term);
    record.beat = beat;
    record.lease_ms = LEASE_MS;
    record.head = HEAD;
    record.state = state;
    record
}

pub fn entry(index: u64, lock: Option<&SessionId>, record: &Record) -> Seen {
    let content = Content::Record(record.clone());
    Seen::Entry(Entry { index, session: lock.cloned(), content })
}

pub fn garbage(index: u64, lock: Option<&SessionId>) -> Seen {
    Seen::Entry(Entry { index, session: lock.cloned(), content: Content::Unreadable })
}

pub fn changed(from: State, to: State) -> Action {
    Action::Changed(Transition { from, to })
}

pub fn in_sync(head: u64, key: SignKey) -> Result<NeardStatus, String> {
    Ok(NeardStatus { syncing: false, head, key, made_up_to: None })
}

pub fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal, "refused".to_owned())
}

pub fn unknown() -> Outcome {
    Outcome::Unknown("no answer".to_owned())
}

pub struct Node {
    pub machine: Machine,
    /// Of the newest request on the election key.
    pub request: u64,
    /// Of the newest question to `/status`.
    pub question: u64,
    pub log: Vec<Notice>,
    now: u64,
}

impl Node {
    pub fn new() -> Self {
        Node::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        let machine = Machine::new(settings, at(0));
        Node { machine, request: 0, question: 0, log: Vec::new(), now: 0 }
    }

    /// Every action, those of routine too.
    pub fn all(&mut self, now: u64, event: Event) -> Vec<Action> {
        assert!(now >= self.now, "a test's clock runs forward");
        self.now = now;
        let actions = self.machine.handle(at(now), event);
        for action in &actions {
            match action {
                Action::Commit { id, .. } | Action::ReadKey { id } => self.request = *id,
                Action::AskStatus { id } => self.question = *id,
                Action::Log(notice) => self.log.push(notice.clone()),
                _ => {}
            }
        }
        actions
    }

    /// The exact actions, without the routine that has tests of its own: questions to `/status`,
    /// renewals of the session, and the log.
    pub fn on(&mut self, now: u64, event: Event) -> Vec<Action> {
        let mut actions = self.all(now, event);
        actions.retain(|action| {
            !matches!(action, Action::Log(_) | Action::AskStatus { .. } | Action::RenewSession(_))
        });
        actions
    }

    pub fn tick(&mut self, now: u64) -> Vec<Action> {
        self.on(now, Event::Tick)
    }

    pub fn status(&mut self, now: u64, result: Result<NeardStatus, String>) -> Vec<Action> {
        let id = self.question;
        self.on(now, Event::Status { id, result })
    }

    /// The answer to the newest transaction.
    pub fn written(&mut self, now: u64, outcome: Outcome) -> Vec<Action> {
        let id = self.request;
        self.on(now, Event::Written { id, outcome })
    }

    /// The answer to the newest read.
    pub fn read(&mut self, now: u64, seen: Seen) -> Vec<Action> {
        let id = self.request;
        self.on(now, Event::Read { id, result: Ok(seen) })
    }

    pub fn read_failed(&mut self, now: u64) -> Vec<Action> {
        self.read_failed_with(now, "no answer")
    }

    pub fn read_failed_with(&mut self, now: u64, why: &str) -> Vec<Action> {
        let id = self.request;
        self.on(now, Event::Read { id, result: Err(why.to_owned()) })
    }

    pub fn watched(&mut self, now: u64, seen: Seen) -> Vec<Action> {
        self.on(now, Event::Watched(seen))
    }

    pub fn exited(&mut self, now: u64) -> Vec<Action> {
        self.on(now, Event::NeardExited("signal 9".to_owned()))
    }

    pub fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|notice| notice.to_string().contains(text))
    }

    /// At 0 ms: neard is up and in sync without the key, the session exists; nothing of the
    /// election key was seen yet.
    pub fn standby() -> Self {
        Node::standby_with(settings())
    }

    pub fn standby_with(settings: Settings) -> Self {
        let mut node = Node::with(settings);
        node.tick(0);
        node.on(0, Event::NeardStarted);
        node.status(0, in_sync(HEAD, SignKey::None));
        node.on(0, Event::SessionCreated(Ok(own())));
        assert_eq!(node.machine.state(), State::Voting);
        node
    }

    /// A standby that has seen, at 0 ms, another node's active record, term 7 beat 3, under lock.
    pub fn voting() -> Self {
        let mut node = Node::standby();
        let seen = entry(INDEX, Some(&session("other")), &record(7, 3, RecordState::Active));
        assert_eq!(node.watched(0, seen), []);
        node
    }

    /// Holds the lock since 0 ms after a clean release, term 8, ModifyIndex 50, and is restarting
    /// neard with the key, which costs it its present process.
    pub fn promoting() -> Self {
        let mut node = Node::standby();
        node.watched(0, entry(INDEX, None, &record(7, 3, RecordState::Released)));
        let actions = node.written(0, Outcome::Committed(50));
        assert!(actions.contains(&Action::TerminateNeard), "{actions:?}");
        node
    }

    /// The same with a keyed neard that was started at 100 ms and has not answered.
    pub fn starting_with_key() -> Self {
        let mut node = Node::promoting();
        let kill_at = at(LEASE_MS - KILL_MARGIN_MS);
        let start = Action::StartNeard(Role::Validator { kill_at });
        assert!(node.exited(100).contains(&start));
        node
    }

    /// The same, active since 200 ms with record term 8 beat 1 at ModifyIndex 51; the next beat is
    /// due at 1,200 ms and the lease ends at 6,200 ms.
    pub fn holder() -> Self {
        let mut node = Node::starting_with_key();
        node.status(200, in_sync(HEAD, SignKey::Ours));
        assert_eq!(node.machine.step(), Some(&Step::Active));
        node.written(200, Outcome::Committed(51));
        node
    }

    /// The last commit among `actions`.
    pub fn write_of(actions: &[Action]) -> &Write {
        let write = actions.iter().rev().find_map(|action| match action {
            Action::Commit { write, .. } => Some(write),
            _ => None,
        });
        write.unwrap_or_else(|| panic!("no commit in {actions:?}"))
    }
}
