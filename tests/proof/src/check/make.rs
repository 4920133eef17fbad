//! What each move does.

use std::sync::Arc;

use kneard::consul::model::{Condition, Op};
use kneard::election::{Content, Event, Mutant, Outcome, RecordState};
use kneard::supervisor::election_key::seen;

use super::config::{Config, KILL_MARGIN, host_name};
use super::consul::KEY;
use super::moves::Move;
use super::words::describe_outcome;
use super::world::{Cut, Late, World, happened};

impl World {
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
    pub(super) fn write_back(&self) -> Option<Vec<u8>> {
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
}
