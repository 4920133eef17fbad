//! The election's machine, told anything that a world can tell it, in any order.
//!
//! The input is a list of moves. Consul's answers are as a rule those of one entry that this test
//! keeps, but may be anything; neard and its guard do what real ones may do ([`host`]), late or in
//! time. What must hold after every move is in [`oracle`].

mod host;
mod oracle;

use std::collections::BTreeSet;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use kneard::election::{
    Action, Content, Duties, Entry, Event, InstanceId, Machine, NeardStatus, Outcome, Promotion,
    Record, RecordState, Refusal, Role, Seen, SessionId, Settings, SignKey, Time, Write,
};

use host::Host;
use oracle::Oracle;

/// Moves in one input; what comes after these says nothing new.
const MOVES: usize = 300;
/// What [`reach`] may say.
#[cfg(test)]
pub const KINDS: [&str; 24] = [
    "start without the key",
    "start with the key",
    "terminate",
    "kill",
    "ask",
    "arm",
    "disarm",
    "load",
    "unload",
    "reload",
    "create the session",
    "renew the session",
    "destroy the session",
    "acquire",
    "steal",
    "beat",
    "release",
    "read",
    "read leases",
    "ask duties",
    "watch",
    "changed",
    "log",
    "exit",
];
const MS: u64 = 1_000_000;

pub fn run(data: &[u8]) {
    reach(data);
}

/// As [`run`]; the kinds of actions that the machine asked for.
pub fn reach(data: &[u8]) -> BTreeSet<&'static str> {
    let mut input = Unstructured::new(data);
    let Ok(settings) = settings(&mut input) else { return BTreeSet::new() };
    let mut play = Play::new(settings);
    for _ in 0..MOVES {
        // The input's end is the play's end.
        if input.is_empty() || play.step(&mut input).is_err() || play.over {
            break;
        }
    }
    play.reached
}

fn settings(input: &mut Unstructured<'_>) -> Result<Settings> {
    let mut settings = Settings::new("own", InstanceId("own".to_owned()), "host");
    settings.lease = Duration::from_secs(*input.choose(&[7, 7, 3, 60])?);
    settings.promotion = *input.choose(&[Promotion::HotSwap, Promotion::Restart])?;
    settings.doppelganger_check = *input.choose(&[false, true])?;
    settings.max_lag = *input.choose(&[10, 0, u64::MAX])?;
    assert_eq!(settings.check(), Ok(()));
    Ok(settings)
}

struct Play {
    machine: Machine,
    oracle: Oracle,
    host: Host,
    now: u64,
    /// The entry as Consul has it.
    entry: Seen,
    index: u64,
    sessions: u64,
    commit: Option<(u64, Write)>,
    read: Option<u64>,
    question: Option<u64>,
    over: bool,
    reached: BTreeSet<&'static str>,
}

impl Play {
    fn new(settings: Settings) -> Self {
        // Boot time is never zero when a program runs.
        let now = 1_000 * MS;
        Self {
            machine: Machine::new(settings.clone(), Time::from_nanos(now)),
            oracle: Oracle::new(settings),
            host: Host::default(),
            now,
            entry: Seen::Missing,
            index: 10,
            sessions: 0,
            commit: None,
            read: None,
            question: None,
            over: false,
            reached: BTreeSet::new(),
        }
    }

    fn time(&self) -> Time {
        Time::from_nanos(self.now)
    }

    /// One move. The cheap first byte decides; the common ones have most of its values.
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.arbitrary::<u8>()? % 40 {
            0..=4 => self.wait_for_timeout(),
            5..=6 => self.pass(input.int_in_range(0..=3_000)? * MS),
            7 => self.pass(*input.choose(&[0, 1, 60_000 * MS, 1 << 50, u64::MAX / 2])?),
            8 => self.tell(Event::Tick),
            9..=12 => self.answer_question(input)?,
            13..=16 => self.answer_commit(input)?,
            17..=18 => self.answer_read(input)?,
            19..=21 => self.tell(Event::Watched(self.entry.clone())),
            22 => {
                let seen = self.any_sight(input)?;
                self.tell(Event::Watched(seen));
            }
            23 => self.entry = self.any_sight(input)?,
            24..=25 => {
                self.sessions += 1;
                let id = SessionId(format!("own {}", self.sessions));
                let created = if input.ratio(1, 8)? { Err("no".to_owned()) } else { Ok(id) };
                self.tell(Event::SessionCreated(created));
            }
            26 => {
                let renewed = [Ok(true), Ok(true), Ok(false), Err("no".to_owned())];
                self.tell(Event::SessionRenewed(input.choose(&renewed)?.clone()));
            }
            27 => self.tell(Event::NeardStarted),
            28 => {
                if self.host.alive {
                    self.host.dies();
                }
                self.tell_of_end(input)?;
            }
            29 => {
                if self.host.terminated {
                    self.host.dies();
                }
                self.tell_of_end(input)?;
            }
            30..=31 => {
                if !self.host.shell_acts() {
                    self.host.reload_reads();
                }
            }
            32..=33 => self.host.reload_applies(),
            34..=35 => match self.host.shell_fails() {
                Some(true) => self.tell(Event::KeyNotLoaded("it cannot".to_owned())),
                Some(false) => self.tell(Event::KeyNotUnloaded("read-only".to_owned())),
                None => {}
            },
            36 if input.ratio(1, 2)? => {
                let (epoch, signed) = *input.choose(&[(10, 5), (10, 5), (10, 6), (90, 0)])?;
                let count = |signed| Ok(Some(Duties { epoch, signed }));
                let duties = [count(signed), count(u64::MAX), Ok(None), Err("no".to_owned())];
                self.tell(Event::Duties(input.choose(&duties)?.clone()));
            }
            36 => {
                let leases = [Ok(None), Ok(Some(u64::MAX)), Ok(Some(9_000)), Err("no".to_owned())];
                let longest = input.choose(&leases)?.clone();
                self.tell(Event::Leases(longest.map(|ms| ms.map(Duration::from_millis))));
            }
            37 => self.tell(Event::Switchover {
                to: input.choose(&[None, Some("b".to_owned())])?.clone(),
            }),
            38 => self.tell(Event::GuardSilent),
            _ if input.ratio(1, 4)? => self.tell(Event::Stop),
            _ => self.stale_answers(input)?,
        }
        Ok(())
    }

    fn wait_for_timeout(&mut self) {
        if let Some(at) = self.machine.next_timeout() {
            self.now = self.now.max(at.as_nanos());
        }
        self.tell(Event::Tick);
    }

    fn pass(&mut self, nanos: u64) {
        self.now = self.now.saturating_add(nanos);
    }

    /// `/status` as this neard would answer now, or a failure.
    fn answer_question(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let kind = input.arbitrary::<u8>()?;
        let Some(id) = self.question.take() else { return Ok(()) };
        if !self.host.alive || kind % 8 == 7 {
            self.tell(Event::Status { id, result: Err("no answer".to_owned()) });
            return Ok(());
        }
        let key = match (self.host.loaded, kind % 8) {
            (_, 6) => SignKey::Other,
            (true, _) => SignKey::Ours,
            (false, _) => SignKey::None,
        };
        let head = *input.choose(&[100, 100, 101, 0, u64::MAX])?;
        let made_up_to = *input.choose(&[None, Some(head), Some(u64::MAX)])?;
        let status = NeardStatus { syncing: kind & 0xf0 == 0xf0, head, key, made_up_to };
        self.tell(Event::Status { id, result: Ok(status) });
        Ok(())
    }

    fn answer_commit(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let kind = input.arbitrary::<u8>()?;
        let Some((id, write)) = self.commit.take() else { return Ok(()) };
        let why = || "because".to_owned();
        let outcome = match kind % 16 {
            0..=9 => Outcome::Committed(self.index + 1),
            10 => Outcome::Refused(Refusal::Conflict, why()),
            11 => Outcome::Refused(Refusal::LockLost, why()),
            12 => Outcome::Refused(Refusal::LockDelay, why()),
            13 => Outcome::Refused(Refusal::NotAllowed, why()),
            _ => Outcome::Unknown(why()),
        };
        let applied = match outcome {
            Outcome::Committed(_) => true,
            Outcome::Unknown(_) => kind & 0x80 != 0,
            Outcome::Refused(..) => false,
        };
        if applied {
            self.index += 1;
            let session = match &write {
                Write::Acquire { session, .. }
                | Write::Steal { session, .. }
                | Write::Beat { session, .. } => Some(session.clone()),
                Write::Release { .. } => None,
            };
            let content = Content::Record(write.record().clone());
            self.entry = Seen::Entry(Entry { index: self.index, session, content });
        }
        if let Outcome::Committed(_) = outcome {
            self.oracle.committed(id);
        }
        self.tell(Event::Written { id, outcome });
        Ok(())
    }

    fn answer_read(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let kind = input.arbitrary::<u8>()?;
        let Some(id) = self.read.take() else { return Ok(()) };
        let result = match kind % 8 {
            0..=4 => Ok(self.entry.clone()),
            5..=6 => Ok(self.any_sight(input)?),
            _ => Err("no answer".to_owned()),
        };
        if let Ok(seen) = &result {
            self.oracle.was_read(seen);
        }
        self.tell(Event::Read { id, result });
        Ok(())
    }

    /// Answers to questions that nobody asked, or asked long ago.
    fn stale_answers(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let id = input.int_in_range(0..=5)?;
        let is_open = |play: &Self| {
            play.read == Some(id) || play.commit.as_ref().is_some_and(|(open, _)| *open == id)
        };
        if !is_open(self) {
            self.tell(Event::Written { id, outcome: Outcome::Committed(u64::MAX) });
        }
        if !is_open(self) {
            self.tell(Event::Read { id, result: Ok(Seen::Missing) });
        }
        if self.question != Some(id) {
            let status =
                NeardStatus { syncing: false, head: 1, key: SignKey::Ours, made_up_to: None };
            self.tell(Event::Status { id, result: Ok(status) });
        }
        Ok(())
    }

    fn tell_of_end(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let not_started = input.ratio(1, 8)?;
        if self.host.take_end() {
            let why = "gone".to_owned();
            self.oracle.neard_ended();
            self.question = None;
            let event =
                if not_started { Event::NeardNotStarted(why) } else { Event::NeardExited(why) };
            self.tell(event);
        }
        Ok(())
    }

    /// What a read may show: nothing, garbage, other nodes' records, or own ones that are old or
    /// that somebody has tampered with.
    fn any_sight(&mut self, input: &mut Unstructured<'_>) -> Result<Seen> {
        let kind = input.arbitrary::<u8>()?;
        if kind % 8 == 0 {
            return Ok(Seen::Missing);
        }
        self.index += u64::from(kind >> 7);
        let own = || SessionId(format!("own {}", self.sessions));
        let locks = [None, Some(SessionId("other".to_owned())), Some(own())];
        let session = input.choose(&locks)?.clone();
        let content = match kind % 8 {
            1 => Content::Unreadable,
            2 => match self.oracle.written(input.arbitrary::<u8>()?.into()) {
                Some(record) => Content::Record(record.clone()),
                None => Content::Unreadable,
            },
            _ => any_record(input)?,
        };
        Ok(Seen::Entry(Entry { index: self.index, session, content }))
    }

    fn tell(&mut self, event: Event) {
        if let Event::Watched(seen) = &event {
            self.oracle.was_seen(self.time(), seen);
        }
        if let Event::Read { result: Ok(seen), .. } = &event {
            self.oracle.was_seen(self.time(), seen);
        }
        self.host.time_passes(self.now);
        let now = self.time();
        let actions = self.machine.handle(now, event);
        for action in &actions {
            self.oracle.before(now, action, &self.host);
            self.carry_out(action);
        }
        if let Some(at) = self.machine.next_timeout() {
            assert!(at > now, "a timeout in the past spins");
        }
        self.oracle.after(now, &self.machine, &self.host);
    }

    fn carry_out(&mut self, action: &Action) {
        assert!(!self.over, "{action:?} after the exit");
        self.reached.insert(kind(action));
        match action {
            Action::Commit { id, write } => {
                assert!(self.commit.is_none() && self.read.is_none(), "two requests at once");
                self.commit = Some((*id, write.clone()));
            }
            Action::ReadKey { id } => {
                assert!(self.commit.is_none() && self.read.is_none(), "two requests at once");
                self.read = Some(*id);
            }
            Action::AskStatus { id } => self.question = Some(*id),
            Action::Exit(_) => self.over = true,
            _ => self.host.carry_out(action, self.now),
        }
    }
}

/// Another node's record, or one in this node's name, within what a reader lets pass.
fn any_record(input: &mut Unstructured<'_>) -> Result<Content> {
    let number =
        |input: &mut Unstructured<'_>| input.choose(&[0, 1, 2, 7, u64::MAX / 2, u64::MAX]).copied();
    let instance = InstanceId((*input.choose(&["b", "b", "c", "own"])?).to_owned());
    let mut record = Record::pending("b", &instance, "host-b", number(input)?);
    record.beat = number(input)?;
    record.lease_ms = *input.choose(&[7_000, 7_000, 1, 60_000, 60_001])?;
    record.head = *input.choose(&[100, 0, 111, u64::MAX])?;
    record.head_is_bound = input.arbitrary()?;
    record.state =
        *input.choose(&[RecordState::Pending, RecordState::Active, RecordState::Released])?;
    if input.ratio(1, 4)? {
        record.successor = Some((*input.choose(&["own", "b"])?).to_owned());
    }
    Ok(Content::parse(&serde_json::to_vec(&record).expect("plain data")))
}

fn kind(action: &Action) -> &'static str {
    match action {
        Action::StartNeard(Role::Standby) => "start without the key",
        Action::StartNeard(Role::Validator { .. }) => "start with the key",
        Action::TerminateNeard => "terminate",
        Action::KillNeard => "kill",
        Action::AskStatus { .. } => "ask",
        Action::ArmGuard(_) => "arm",
        Action::DisarmGuard => "disarm",
        Action::LoadKey { .. } => "load",
        Action::UnloadKey => "unload",
        Action::ReloadNeard => "reload",
        Action::CreateSession => "create the session",
        Action::RenewSession(_) => "renew the session",
        Action::DestroySession(_) => "destroy the session",
        Action::Commit { write: Write::Acquire { .. }, .. } => "acquire",
        Action::Commit { write: Write::Steal { .. }, .. } => "steal",
        Action::Commit { write: Write::Beat { .. }, .. } => "beat",
        Action::Commit { write: Write::Release { .. }, .. } => "release",
        Action::ReadKey { .. } => "read",
        Action::ReadLeases => "read leases",
        Action::AskDuties => "ask duties",
        Action::Watch(_) => "watch",
        Action::Changed(_) => "changed",
        Action::Log(_) => "log",
        Action::Exit(_) => "exit",
    }
}
