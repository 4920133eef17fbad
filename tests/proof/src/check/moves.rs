//! What can happen next, and what it does.
//!
//! Time passes only when nothing is left that would happen within a tick: answers that are not held
//! up, timers that are due, sights of the key. Whatever is left may happen in any order.

use std::sync::Arc;

use kneard::consul::model::{Condition, Op};
use kneard::election::{Content, Event, Machine, Mutant, Outcome, Promotion, RecordState, Step};
use kneard::supervisor::election_key::seen;

use super::config::{Config, KILL_MARGIN, Kind, host_name};
use super::consul::KEY;
use super::host::describe_write;
use super::world::{Cut, Dying, Late, World, happened};

/// How many ticks the client waits for an answer.
const CLIENT_PATIENCE: u32 = 2;

/// One step. Hosts are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// A tick passes.
    Time,
    /// A timer of kneard's is due.
    Wake(usize),
    /// A request reaches Consul, which does it.
    Arrive(usize),
    /// A request reaches a Consul without a leader and is committed all the same.
    ArriveUnanswered(usize),
    /// kneard gets the answer.
    Answer(usize),
    /// kneard gives up waiting for it.
    GiveUp(usize),
    /// The watch shows the key.
    Watch(usize),
    /// neard, told to stop or killed, is reaped.
    NeardDies(usize),
    /// A thawed kneard hears that neard is dead.
    HearOfDeath(usize),
    /// The guard's deadline has passed: it kills neard, sooner or later within the kill margin.
    GuardKills(usize),
    /// The guard of a dead kneard runs `kneard release`.
    GuardReleases(usize),
    /// neard applies what it was told to reload.
    Reload(usize),
    Restart(usize),
    Thaw(usize),
    Heal(usize),
    LeaderBack,
    CatchUp(usize),
    /// The copy of a request that nobody awaits arrives.
    LateArrives(usize),

    Hold(usize),
    Double(usize),
    HoldSight(usize),
    StaleSight(usize),
    CutOff(usize),
    CutAnswers(usize),
    Freeze(usize),
    Crash(usize),
    EndSession(usize),
    DeleteKey,
    LoseLeader,
    Stop(usize),
    SwitchOver(usize),
    NeardCrashes(usize),
    ReloadSlowly(usize),
    WriteBack,
    Lag(usize),
    StepClock(usize),
}

impl Move {
    /// The host that it befalls, if it is one's.
    pub fn host(self) -> Option<usize> {
        match self {
            Move::Wake(host)
            | Move::Arrive(host)
            | Move::ArriveUnanswered(host)
            | Move::Answer(host)
            | Move::GiveUp(host)
            | Move::Watch(host)
            | Move::NeardDies(host)
            | Move::HearOfDeath(host)
            | Move::GuardKills(host)
            | Move::GuardReleases(host)
            | Move::Reload(host)
            | Move::Restart(host)
            | Move::Thaw(host)
            | Move::Heal(host)
            | Move::CatchUp(host) => Some(host),
            _ => None,
        }
    }

    /// What kind of fault it is, if it is one.
    pub fn kind(self) -> Option<Kind> {
        Some(match self {
            Move::Hold(_) | Move::Double(_) | Move::HoldSight(_) | Move::StaleSight(_) => Kind::Net,
            Move::CutOff(_) | Move::CutAnswers(_) => Kind::Cut,
            Move::Freeze(_) => Kind::Freeze,
            Move::Crash(_) => Kind::Crash,
            Move::EndSession(_) => Kind::Session,
            Move::DeleteKey => Kind::Delete,
            Move::LoseLeader => Kind::Leader,
            Move::Stop(_) | Move::SwitchOver(_) => Kind::Stop,
            Move::NeardCrashes(_) | Move::ReloadSlowly(_) => Kind::Neard,
            Move::WriteBack => Kind::Damage,
            Move::Lag(_) => Kind::Lag,
            Move::StepClock(_) => Kind::Clock,
            _ => return None,
        })
    }
}

impl World {
    /// Everything that can happen now.
    pub fn moves(&self, config: &Config, out: &mut Vec<Move>) {
        self.faultless_moves(config, out);
        self.faults(config, out);
    }

    pub fn faultless_moves(&self, config: &Config, out: &mut Vec<Move>) {
        let urgent = self.urgent_moves(out);
        self.lazy_moves(config, out);
        if !urgent {
            out.push(Move::Time);
        }
    }

    /// What happens before the next tick; whether there is any.
    fn urgent_moves(&self, out: &mut Vec<Move>) -> bool {
        let before = out.len();
        for (number, host) in self.hosts.iter().enumerate() {
            if let Some(request) = &host.request {
                if self.tick >= request.sent + CLIENT_PATIENCE && !host.frozen {
                    out.push(Move::GiveUp(number));
                }
                match &request.answer {
                    None if !request.held && host.cut != Cut::Both => {
                        out.push(Move::Arrive(number));
                        if request.write.is_some() && !self.consul.has_leader {
                            out.push(Move::ArriveUnanswered(number));
                        }
                    }
                    Some(_) if !request.held && host.cut == Cut::No && !host.frozen => {
                        out.push(Move::Answer(number));
                    }
                    _ => {}
                }
            }
            if host.neard.as_ref().is_some_and(
                |neard| matches!(neard.dying, Dying::Killed(since) if since < self.tick),
            ) {
                out.push(Move::NeardDies(number));
            }
            if host.neard.as_ref().is_some_and(|neard| neard.reloads && !neard.reloads_slowly) {
                out.push(Move::Reload(number));
            }
            if host.frozen {
                continue;
            }
            let Some(machine) = &host.machine else { continue };
            if host.exit_untold {
                out.push(Move::HearOfDeath(number));
            }
            if self.is_due(number, machine) {
                out.push(Move::Wake(number));
            }
            if self.has_sight(number) && host.held_sight.is_none() {
                out.push(Move::Watch(number));
            }
        }
        out.len() > before
    }

    fn is_due(&self, host: usize, machine: &Machine) -> bool {
        machine.next_timeout().is_some_and(|at| at <= self.clock(host))
    }

    fn has_sight(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        host.watching && host.cut == Cut::No && host.shown != Some(self.key().0)
    }

    /// What may happen now or later.
    fn lazy_moves(&self, config: &Config, out: &mut Vec<Move>) {
        for (number, host) in self.hosts.iter().enumerate() {
            if let Some(neard) = &host.neard {
                let fresh = match neard.dying {
                    Dying::Stopping => true,
                    Dying::Killed(since) => since == self.tick,
                    Dying::No => false,
                };
                if fresh {
                    out.push(Move::NeardDies(number));
                }
                if neard.reloads && neard.reloads_slowly {
                    out.push(Move::Reload(number));
                }
                let due = neard.kill_at.is_some_and(|at| at <= self.clock(number));
                if due && !fresh {
                    out.push(Move::GuardKills(number));
                }
            }
            if let Some(request) = &host.request
                && request.held
            {
                match &request.answer {
                    None if host.cut != Cut::Both => out.push(Move::Arrive(number)),
                    Some(_) if host.cut == Cut::No && !host.frozen => {
                        out.push(Move::Answer(number));
                    }
                    _ => {}
                }
            }
            if host.held_sight.is_some() && !host.frozen && host.cut == Cut::No {
                out.push(Move::Watch(number));
            }
            let proven =
                host.neard.is_none() || config.mutant == Some(Mutant::CrashReleaseWithoutProof);
            if host.left_behind.is_some() && proven && self.reaches_consul(number) {
                out.push(Move::GuardReleases(number));
            }
            if host.machine.is_none() && host.neard.is_none() {
                out.push(Move::Restart(number));
            }
            if host.frozen {
                out.push(Move::Thaw(number));
            }
            if host.cut != Cut::No {
                out.push(Move::Heal(number));
            }
            if host.behind {
                out.push(Move::CatchUp(number));
            }
        }
        if !self.consul.has_leader {
            out.push(Move::LeaderBack);
        } else {
            out.extend((0..self.late.len()).map(Move::LateArrives));
        }
    }

    fn faults(&self, config: &Config, out: &mut Vec<Move>) {
        let may = |kind| self.may(config, kind);
        for (number, host) in self.hosts.iter().enumerate() {
            let runs = host.machine.is_some();
            if may(Kind::Net) {
                if let Some(request) = &host.request
                    && host.cut != Cut::Both
                {
                    if !request.held {
                        out.push(Move::Hold(number));
                    }
                    if request.answer.is_none() && request.write.is_some() {
                        out.push(Move::Double(number));
                    }
                }
                if self.has_sight(number) && host.held_sight.is_none() && !host.frozen {
                    out.push(Move::HoldSight(number));
                }
                if host.watching && !host.frozen && self.consul.older.is_some() {
                    out.push(Move::StaleSight(number));
                }
            }
            if may(Kind::Cut) && runs && host.cut == Cut::No {
                out.push(Move::CutOff(number));
                if host.request.is_some() {
                    out.push(Move::CutAnswers(number));
                }
            }
            if may(Kind::Freeze) && runs && !host.frozen {
                out.push(Move::Freeze(number));
            }
            if may(Kind::Crash) && runs {
                out.push(Move::Crash(number));
            }
            if may(Kind::Stop) && runs && !host.frozen {
                out.push(Move::Stop(number));
                if self.step(number) == Some(&Step::Active) {
                    out.push(Move::SwitchOver(number));
                }
            }
            if may(Kind::Neard) && host.neard.is_some() {
                out.push(Move::NeardCrashes(number));
                let swaps = config.promotion == Promotion::HotSwap;
                if swaps && host.neard.as_ref().is_some_and(|neard| !neard.reloads_slowly) {
                    out.push(Move::ReloadSlowly(number));
                }
            }
            if may(Kind::Lag) && !host.lags && !host.behind {
                out.push(Move::Lag(number));
            }
            if may(Kind::Clock) {
                out.push(Move::StepClock(number));
            }
        }
        if may(Kind::Session) {
            let sessions = self.consul.model.sessions().count();
            out.extend((0..sessions).map(Move::EndSession));
        }
        if may(Kind::Delete) && self.key().1.is_some() {
            out.push(Move::DeleteKey);
        }
        if may(Kind::Damage) && self.write_back().is_some() {
            out.push(Move::WriteBack);
        }
        if may(Kind::Leader) && self.consul.has_leader {
            out.push(Move::LoseLeader);
        }
    }

    /// Carries a move out.
    pub fn make(&mut self, config: &Config, what: Move) {
        self.happened = 0;
        if self.story.is_some() {
            let (text, tick) = (self.describe(what), self.tick);
            self.tell_story(|| format!("{tick:>3} s  {text}"));
        }
        self.used += u8::from(what.kind().is_some());
        match what {
            Move::Time => self.pass_time(config),
            Move::Wake(host) => self.tell(config, host, Event::Tick),
            Move::Arrive(host) => self.arrive(config, host, false),
            Move::ArriveUnanswered(host) => self.arrive(config, host, true),
            Move::Answer(host) => {
                if let Some(event) =
                    self.host(host).request.take().and_then(|request| request.answer)
                {
                    self.tell(config, host, event);
                }
            }
            Move::GiveUp(host) => self.give_up(config, host),
            Move::Watch(host) => self.watch(config, host),
            Move::NeardDies(host) | Move::NeardCrashes(host) => self.neard_ends(config, host),
            Move::GuardKills(host) => {
                self.neard_ends(config, host);
                self.happened |= happened::GUARD_KILLED;
            }
            Move::HearOfDeath(host) => {
                self.host(host).exit_untold = false;
                self.tell(config, host, Event::NeardExited("it ended".to_owned()));
            }
            Move::GuardReleases(host) => self.release_for_the_dead(config, host),
            Move::Reload(host) => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.reloads = false;
                    neard.keyed = neard.key_at_home;
                }
            }
            Move::Restart(host) => self.boot(config, host),
            Move::Thaw(host) => self.host(host).frozen = false,
            Move::Heal(host) => self.host(host).cut = Cut::No,
            Move::LeaderBack => {
                self.consul_apply(Op::LeaderChanged);
                Arc::make_mut(&mut self.consul).has_leader = true;
            }
            Move::CatchUp(host) => self.catch_up(host),
            Move::LateArrives(number) => {
                let late = self.late.remove(number);
                if let Outcome::Committed(_) = self.commit(config, late.host, &late.write) {
                    self.happened |= happened::LATE_COMMITTED;
                }
            }
            Move::Hold(host) => {
                if let Some(request) = &mut self.host(host).request {
                    request.held = true;
                }
            }
            Move::Double(host) => {
                if let Some(write) =
                    self.hosts[host].request.as_ref().and_then(|request| request.write.clone())
                {
                    self.late.push(Late { host, write });
                }
            }
            Move::HoldSight(host) => {
                let (index, entry) = self.key();
                let sight = (index, entry.cloned());
                self.host(host).held_sight = Some(sight);
            }
            Move::StaleSight(host) => {
                if let Some((_, entry)) = self.consul.older.clone() {
                    self.host(host).shown = None;
                    self.tell(config, host, Event::Watched(seen(entry)));
                }
            }
            Move::CutOff(host) => self.host(host).cut = Cut::Both,
            Move::CutAnswers(host) => self.host(host).cut = Cut::Answers,
            Move::Freeze(host) => self.host(host).frozen = true,
            Move::Crash(host) => self.crash(host),
            Move::EndSession(number) => {
                let id = self.consul.model.sessions().nth(number).map(|(info, _)| info.id.clone());
                if let Some(id) = id {
                    self.end_session(id);
                }
            }
            Move::DeleteKey => {
                self.consul_apply(Op::Delete { key: KEY.to_owned(), index: None });
            }
            Move::LoseLeader => Arc::make_mut(&mut self.consul).has_leader = false,
            Move::Stop(host) => self.tell(config, host, Event::Stop),
            Move::SwitchOver(host) => self.tell(config, host, Event::Switchover { to: None }),
            Move::ReloadSlowly(host) => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.reloads_slowly = true;
                }
            }
            Move::WriteBack => {
                if let Some(value) = self.write_back() {
                    let (key, condition) = (KEY.to_owned(), Condition::Always);
                    self.consul_apply(Op::Put { key, value, flags: 0, condition });
                }
            }
            Move::Lag(host) => self.host(host).lags = true,
            // kneard and its guard read the boot clock, which no step of the wall clock moves.
            Move::StepClock(host) => {
                if config.mutant == Some(Mutant::WallClock) {
                    self.host(host).stepped_back += 2;
                }
            }
        }
        self.forget_dead_copies(config);
        self.look();
    }

    /// What the key held before its last change, if that can be written again. Not a record that
    /// says "released": whoever writes that by hand says that nobody signs.
    fn write_back(&self) -> Option<Vec<u8>> {
        let entry = self.key().1?;
        let (_, older) = self.consul.older.as_ref()?;
        let older = older.as_ref().filter(|older| older.value != entry.value)?;
        let content = Content::parse(&older.value);
        let released = content.record().is_some_and(|record| record.state == RecordState::Released);
        (!released).then(|| older.value.clone())
    }

    fn pass_time(&mut self, config: &Config) {
        for host in 0..self.hosts.len() {
            // Whoever was behind has the block by now.
            self.catch_up(host);
        }
        self.tick += 1;
        for host in 0..self.hosts.len() {
            let now = self.clock(host);
            let dead = self.hosts[host].neard.as_ref().is_some_and(|neard| {
                neard.kill_at.is_some_and(|kill_at| kill_at + KILL_MARGIN <= now)
            });
            if dead {
                self.tell_story(|| {
                    format!("      {}'s guard has killed neard in time", host_name(host))
                });
                self.neard_ends(config, host);
                self.happened |= happened::GUARD_KILLED;
            }
            if self.hosts[host].lags {
                let here = self.host(host);
                here.lags = false;
                here.behind = true;
            } else {
                self.sign(host);
            }
        }
    }

    fn catch_up(&mut self, host: usize) {
        if self.hosts[host].behind {
            self.host(host).behind = false;
            self.sign(host);
        }
    }

    /// Consul does what a request asks. Without a leader the answer is an error, whether the
    /// write was committed or not; a copy that waits for the leader is not modelled apart.
    fn arrive(&mut self, config: &Config, host: usize, unanswered: bool) {
        let Some(request) = self.hosts[host].request.clone() else { return };
        let has_leader = self.consul.has_leader;
        let no_leader = || "no cluster leader".to_owned();
        let event = match &request.write {
            None if has_leader => self.read_event(request.id),
            None => Event::Read { id: request.id, result: Err(no_leader()) },
            Some(write) => {
                let mut outcome = Outcome::Unknown(no_leader());
                if has_leader || unanswered {
                    let done = self.commit(config, host, write);
                    if has_leader {
                        outcome = done;
                    }
                }
                let text = format!("      Consul: {}", describe_outcome(&outcome));
                self.tell_story(|| text);
                Event::Written { id: request.id, outcome }
            }
        };
        if let Some(request) = &mut self.host(host).request {
            request.answer = Some(event);
        }
    }

    /// Nobody can say what became of the request.
    fn give_up(&mut self, config: &Config, host: usize) {
        let cut = self.hosts[host].cut;
        let Some(request) = self.host(host).request.take() else { return };
        self.happened |= happened::GAVE_UP;
        let event = match request.write {
            None => Event::Read { id: request.id, result: Err("no answer in time".to_owned()) },
            Some(write) => {
                if request.answer.is_none() && cut != Cut::Both {
                    self.late.push(Late { host, write });
                }
                let outcome = Outcome::Unknown("no answer in time".to_owned());
                Event::Written { id: request.id, outcome }
            }
        };
        self.tell(config, host, event);
    }

    fn watch(&mut self, config: &Config, host: usize) {
        let (index, entry) = self.key();
        let now = (index, entry.cloned());
        let here = self.host(host);
        let (index, entry) = here.held_sight.take().unwrap_or(now);
        here.shown = Some(index);
        self.tell(config, host, Event::Watched(seen(entry)));
    }

    fn describe(&self, what: Move) -> String {
        let name = |host: usize| host_name(host);
        let sent = |host: usize| match &self.hosts[host].request {
            Some(request) => match &request.write {
                Some(write) => describe_write(write),
                None => "the read of the key".to_owned(),
            },
            None => "nothing".to_owned(),
        };
        let answered = |host: usize| {
            self.hosts[host].request.as_ref().is_some_and(|request| request.answer.is_some())
        };
        match what {
            Move::Time => "a second passes".to_owned(),
            Move::Wake(host) => format!("a timer of {}'s is due", name(host)),
            Move::Arrive(host) => format!("{}'s request arrives: {}", name(host), sent(host)),
            Move::ArriveUnanswered(host) => {
                format!("{}'s request is committed as the leader goes: {}", name(host), sent(host))
            }
            Move::Answer(host) => format!("{} gets the answer to: {}", name(host), sent(host)),
            Move::GiveUp(host) => format!("{} gives up waiting for: {}", name(host), sent(host)),
            Move::Watch(host) => format!("{}'s watch shows {}", name(host), self.sight(host)),
            Move::NeardDies(host) => format!("{}'s neard is dead and reaped", name(host)),
            Move::HearOfDeath(host) => format!("{} hears that its neard is dead", name(host)),
            Move::GuardKills(host) => format!("{}'s guard kills neard", name(host)),
            Move::GuardReleases(host) => {
                format!("{}'s guard gives the dead kneard's lock back", name(host))
            }
            Move::Reload(host) => match &self.hosts[host].neard {
                Some(neard) if neard.key_at_home => {
                    format!("{}'s neard has loaded the key", name(host))
                }
                _ => format!("{}'s neard has unloaded the key", name(host)),
            },
            Move::Restart(host) => format!("{}'s kneard starts again", name(host)),
            Move::Thaw(host) => format!("{}'s kneard is continued", name(host)),
            Move::Heal(host) => format!("{} reaches Consul again", name(host)),
            Move::LeaderBack => "Consul has a leader again".to_owned(),
            Move::CatchUp(host) => format!("{} has the newest block too", name(host)),
            Move::LateArrives(number) => format!(
                "a late copy of {}'s arrives: {}",
                name(self.late[number].host),
                describe_write(&self.late[number].write)
            ),
            Move::Hold(host) if answered(host) => {
                format!("FAULT: the answer to {} is held up: {}", name(host), sent(host))
            }
            Move::Hold(host) => {
                format!("FAULT: {}'s request is held up: {}", name(host), sent(host))
            }
            Move::Double(host) => {
                format!("FAULT: {}'s request is doubled: {}", name(host), sent(host))
            }
            Move::HoldSight(host) => format!("FAULT: {}'s watch is slow", name(host)),
            Move::StaleSight(host) => {
                format!("FAULT: {}'s watch shows what the key was before", name(host))
            }
            Move::CutOff(host) => format!("FAULT: {} is cut off from Consul", name(host)),
            Move::CutAnswers(host) => {
                format!("FAULT: {} gets no answers from Consul any more", name(host))
            }
            Move::Freeze(host) => format!("FAULT: {}'s kneard freezes", name(host)),
            Move::Crash(host) => format!("FAULT: {}'s kneard dies", name(host)),
            Move::EndSession(number) => {
                let lock = self.key().1.and_then(|entry| entry.session.clone());
                let id = self.consul.model.sessions().nth(number).map(|(info, _)| info);
                let owner = id.map_or("?", |info| info.name.rsplit(' ').next().unwrap_or("?"));
                let held = if id.is_some_and(|info| lock.as_ref() == Some(&info.id)) {
                    ", which holds the lock"
                } else {
                    ""
                };
                format!("FAULT: a session of {owner}'s ends{held}")
            }
            Move::DeleteKey => "FAULT: an operator deletes the election key".to_owned(),
            Move::LoseLeader => "FAULT: Consul loses its leader".to_owned(),
            Move::Stop(host) => format!("FAULT: {}'s kneard is told to stop", name(host)),
            Move::SwitchOver(host) => {
                format!("FAULT: an operator asks for a switchover away from {}", name(host))
            }
            Move::NeardCrashes(host) => format!("FAULT: {}'s neard dies", name(host)),
            Move::ReloadSlowly(host) => {
                format!("FAULT: {}'s neard reloads slowly, if at all", name(host))
            }
            Move::WriteBack => "FAULT: an operator writes the record before this again".to_owned(),
            Move::Lag(host) => format!("FAULT: {} will get the next block late", name(host)),
            Move::StepClock(host) => {
                format!("FAULT: {}'s wall clock is stepped back by two seconds", name(host))
            }
        }
    }

    fn sight(&self, host: usize) -> String {
        let here = &self.hosts[host];
        let entry = match &here.held_sight {
            Some((_, entry)) => entry.as_ref(),
            None => self.key().1,
        };
        describe_entry(entry)
    }
}

fn describe_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Committed(_) => "committed".to_owned(),
        Outcome::Refused(refusal, _) => format!("refused ({refusal:?})"),
        Outcome::Unknown(why) => format!("unknown ({why})"),
    }
}

fn describe_entry(entry: Option<&kneard::consul::KvEntry>) -> String {
    let Some(entry) = entry else { return "that the key is missing".to_owned() };
    let lock = if entry.session.is_some() { "locked" } else { "not locked" };
    match kneard::election::Content::parse(&entry.value).record() {
        None => format!("an unreadable record, {lock}"),
        Some(record) => format!(
            "the record of {}: term {}, beat {}, {}, {lock}",
            record.holder,
            record.term,
            record.beat,
            format!("{:?}", record.state).to_lowercase()
        ),
    }
}
