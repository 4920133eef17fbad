//! What can happen next.
//!
//! Time passes only when nothing is left that would happen within a tick: answers that are not held
//! up, timers that are due, sights of the key. Whatever is left may happen in any order.

use kneard::election::{Machine, Mutant, Promotion, Step};

use super::config::{Config, Kind};
use super::world::{Cut, Dying, World};

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
}
