//! What must hold whatever the machine was told.

use std::time::Duration;

use kneard::election::{
    Action, Content, Entry, Machine, Mark, Record, RecordState, Role, Seen, SessionId, Settings,
    Time, Write, with_drift,
};

use super::host::Host;

/// A write that was sent.
struct Sent {
    id: u64,
    at: Time,
    record: Record,
    session: SessionId,
    /// For a claim: when everyone before is done, by what was seen.
    safe_at: Option<Time>,
}

pub struct Oracle {
    settings: Settings,
    sent: Vec<Sent>,
    /// Sending of the newest write that certainly came through since the last release.
    proven: Option<Time>,
    /// When everyone before the present tenure is done.
    office_safe_at: Option<Time>,
    /// Writes from before the last release prove nothing.
    released_before: usize,
    /// First sights of records, and of other states of the entry by index (none: missing).
    marks: Vec<(Mark, Time)>,
    others: Vec<(Option<u64>, Time)>,
    sights: Vec<Entry>,
    newest_id: u64,
    /// SIGKILL was sent, or the guard fired, since the present neard was started.
    killed: bool,
    keyed: bool,
    stopping: bool,
}

impl Oracle {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            sent: Vec::new(),
            proven: None,
            office_safe_at: None,
            released_before: 0,
            marks: Vec::new(),
            others: Vec::new(),
            sights: Vec::new(),
            newest_id: 0,
            killed: false,
            keyed: false,
            stopping: false,
        }
    }

    /// One of the records written so far.
    pub fn written(&self, number: usize) -> Option<&Record> {
        self.sent.get(number % self.sent.len().max(1)).map(|sent| &sent.record)
    }

    pub fn was_seen(&mut self, now: Time, seen: &Seen) {
        let Seen::Entry(entry) = seen else {
            self.others.push((None, now));
            return;
        };
        match &entry.content {
            Content::Record(record) => {
                let mark = record.mark();
                if !self.marks.iter().any(|(known, _)| *known == mark) {
                    self.marks.push((mark, now));
                }
            }
            Content::Unreadable => self.others.push((Some(entry.index), now)),
        }
        self.sights.push(entry.clone());
    }

    pub fn committed(&mut self, id: u64) {
        let place = self.sent.iter().position(|sent| sent.id == id);
        self.came_through(place);
    }

    /// A read that shows an own record under the own lock proves that its write came through.
    pub fn was_read(&mut self, seen: &Seen) {
        let Seen::Entry(Entry { session: Some(session), content, .. }) = seen else { return };
        let Some(mark) = content.record().map(Record::mark) else { return };
        let own = |sent: &Sent| sent.session == *session && sent.record.mark() == mark;
        self.came_through(self.sent.iter().rposition(own));
    }

    fn came_through(&mut self, place: Option<usize>) {
        let Some(place) = place.filter(|place| *place >= self.released_before) else { return };
        let sent = &self.sent[place];
        if sent.record.state == RecordState::Released {
            return;
        }
        self.proven = self.proven.max(Some(sent.at));
        if sent.safe_at.is_some() {
            self.office_safe_at = sent.safe_at;
        }
    }

    pub fn neard_ended(&mut self) {
        self.keyed = false;
    }

    /// Before an action is carried out.
    pub fn before(&mut self, now: Time, action: &Action, host: &Host) {
        match action {
            Action::StartNeard(role) => {
                assert!(!self.stopping, "a start while stopping");
                self.killed = false;
                self.keyed = false;
                if let Role::Validator { kill_at } = role {
                    self.gives_key(now, *kill_at);
                }
            }
            Action::LoadKey { kill_at } => {
                assert!(host.deadline.is_none(), "a deadline without a key");
                self.gives_key(now, *kill_at);
            }
            Action::ArmGuard(at) => {
                assert!(self.keyed, "a deadline for a neard without the key");
                self.is_covered(*at);
            }
            Action::DisarmGuard => {
                assert!(!host.may_come_to_sign(), "disarmed with the key about: {host:?}");
                self.keyed = false;
            }
            Action::KillNeard => self.killed = true,
            Action::Commit { id, write } => self.commits(now, *id, write, host),
            Action::ReadKey { id } => self.is_new(*id),
            Action::DestroySession(_) | Action::Exit(_) => {
                assert!(!host.may_come_to_sign(), "{action:?} with the key about: {host:?}");
                self.stopping = true;
            }
            _ => {}
        }
    }

    /// The heart of it: nobody gets the key but under a lease that covers it, after everyone
    /// before is done.
    fn gives_key(&mut self, now: Time, kill_at: Time) {
        self.is_covered(kill_at);
        assert!(kill_at > now, "the key for a lease that is over");
        let safe_at = self.office_safe_at.expect("a key without a claim that came through");
        assert!(now >= safe_at, "the key at {now:?}, the others are done at {safe_at:?}");
        self.keyed = true;
    }

    fn is_covered(&self, kill_at: Time) {
        let sent = self.proven.expect("a key without a lease");
        let lease = self.settings.lease - self.settings.kill_margin;
        assert!(kill_at <= sent + lease, "killed at {kill_at:?}, leased at {sent:?}");
    }

    fn is_new(&mut self, id: u64) {
        assert!(id > self.newest_id, "a number twice");
        self.newest_id = id;
    }

    fn commits(&mut self, now: Time, id: u64, write: &Write, host: &Host) {
        self.is_new(id);
        let record = write.record();
        assert_eq!(record.instance, self.settings.instance);
        let value = serde_json::to_vec(record).expect("plain data");
        // Where somebody has put the highest count into Consul that is believed, it goes on beyond.
        let believed = record.term.max(record.beat) <= u64::MAX / 2;
        let read = if believed { Content::Record(record.clone()) } else { Content::Unreadable };
        assert_eq!(Content::parse(&value), read, "nobody can read it");
        let is_claim = matches!(write, Write::Acquire { .. } | Write::Steal { .. });
        if is_claim {
            assert!(!host.may_come_to_sign(), "a claim with the key about");
            assert_eq!(record.state, RecordState::Pending);
            let again = self.sent.iter().any(|sent| sent.record.mark() == record.mark());
            assert!(!again, "two attempts with one mark: {:?}", record.mark());
        }
        let (session, safe_at) = match write {
            Write::Acquire { index, session, .. } => {
                (session, Some(self.is_free(now, *index, record)))
            }
            Write::Steal { index, from, session, .. } => {
                let safe_at = self.done_at(Some(*index), Some(from), record);
                assert!(now >= safe_at, "stolen at {now:?}, due at {safe_at:?}");
                (session, Some(safe_at))
            }
            Write::Beat { session, .. } => {
                assert_ne!(record.state, RecordState::Released);
                (session, None)
            }
            Write::Release { session, .. } => {
                assert!(!host.may_come_to_sign(), "released with the key about: {host:?}");
                assert!(!self.keyed, "released a key that was not given up");
                if record.state == RecordState::Released {
                    let safe_at = self.office_safe_at.expect("an office");
                    assert!(now >= safe_at, "says that everyone before is done");
                }
                self.proven = None;
                self.released_before = self.sent.len() + 1;
                (session, None)
            }
        };
        let (record, session) = (record.clone(), session.clone());
        self.sent.push(Sent { id, at: now, record, session, safe_at });
    }

    /// The entry was seen unlocked; when its writers are done.
    fn is_free(&self, now: Time, index: Option<u64>, record: &Record) -> Time {
        match index {
            Some(_) => self.done_at(index, None, record),
            None => {
                assert!(self.others.iter().any(|(seen, _)| seen.is_none()), "never seen missing");
                // From the claim itself: a record may have come and gone unseen.
                now + with_drift(self.settings.lease)
            }
        }
    }

    /// When everyone is done whom the entry tells of that a claim builds upon. It may have been
    /// seen with more than one content; the most lenient one counts.
    fn done_at(&self, index: Option<u64>, lock: Option<&SessionId>, claim: &Record) -> Time {
        let bases = self
            .sights
            .iter()
            .filter(|entry| Some(entry.index) == index && entry.session.as_ref() == lock);
        let done = bases.map(|entry| match &entry.content {
            Content::Record(record) => {
                let (_, first) =
                    self.marks.iter().find(|(mark, _)| *mark == record.mark()).expect("seen");
                if record.state == RecordState::Released {
                    return *first;
                }
                assert!(
                    claim.term > record.term || {
                        // Another content of the same index was built upon.
                        self.sights.iter().filter(|other| other.index == entry.index).count() > 1
                    }
                );
                *first + with_drift(record.lease())
            }
            Content::Unreadable => {
                let first = self.others.iter().find(|(seen, _)| *seen == index).expect("seen");
                first.1 + with_drift(self.settings.lease)
            }
        });
        done.min().expect("a claim on an entry that was never seen so")
    }

    /// After each event.
    pub fn after(&self, now: Time, machine: &Machine, host: &Host) {
        assert!(!host.signs() || machine.may_sign(), "it signs, and the machine does not know");
        if host.signs() {
            let deadline = host.deadline.map(Time::from_nanos).expect("a key without a deadline");
            assert!(now < deadline, "the guard's work");
            self.is_covered(deadline);
        }
        if host.alive && self.keyed && host.deadline.is_some_and(|at| now.as_nanos() >= at) {
            assert!(self.killed, "neither guard nor kneard has killed it");
        }
        if let Some(expires) = machine.lease_expires() {
            assert!(expires.since(now) <= self.settings.lease, "a lease from the future");
        }
        assert!(machine.record().is_none_or(|record| record.lease() <= Duration::from_secs(60)));
    }
}
