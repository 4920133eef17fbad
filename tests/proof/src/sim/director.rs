//! The schedule: calm hours, single faults with a promise about each, storms; and after each of
//! them time to recover.

use kneard::election::{Mutant, State, Step};

use super::faults::Fault;
use super::setup::{Intensity, nanos};
use super::{Item, MS, SECOND, World};

/// What is going on, and what must hold meanwhile.
#[derive(Clone, Debug)]
pub enum Phase {
    /// All faults are over: somebody signs by the end.
    Recovery,
    /// Nothing is wrong: whoever signs goes on.
    Calm,
    /// A fault that nobody should notice.
    Unnoticed,
    /// A fault that ends the holder's tenure: another process signs by the end.
    Takeover {
        fault: Fault,
        since: u64,
        done: bool,
    },
    Storm,
}

pub struct Director {
    pub phase: Phase,
    /// What is planned for an earlier phase is void.
    pub number: u64,
    pub until: u64,
    restored_in_storm: bool,
    /// While Consul elects a leader this host may take the key out of neard for a moment, before
    /// the lease ends.
    pub may_suspend: Option<usize>,
    /// What follows on a moment with a slow network.
    next: Option<Fault>,
}

impl Director {
    pub fn new() -> Self {
        Director {
            phase: Phase::Recovery,
            number: 0,
            until: 0,
            restored_in_storm: false,
            may_suspend: None,
            next: None,
        }
    }

    /// The key may not move.
    pub fn is_calm(&self) -> bool {
        matches!(self.phase, Phase::Calm | Phase::Unnoticed)
    }
}

impl World<'_> {
    pub(super) fn enter(&mut self, phase: Phase, length: u64) {
        self.director.number += 1;
        self.director.phase = phase;
        self.director.until = self.now + length;
        let number = self.director.number;
        self.queue.push(self.now + length, Item::PhaseEnds { number });
        let phase = &self.director.phase;
        if self.trace.is_some() {
            let text = format!("-- {phase:?} for {} ms", length / MS);
            self.say_world(|| text);
        }
    }

    /// From the start of all hosts, or the end of all faults, until somebody signs for certain.
    pub(super) fn recovery(&self) -> u64 {
        let setup = &self.setup;
        let watch = if self.director.restored_in_storm { 70 } else { 12 };
        // A home that is still held, the longest backoff, SIGTERM without effect, a request or two.
        let hosts = 12 * SECOND + 5 * SECOND + nanos(setup.of(0).stop_timeout) + 8 * SECOND;
        // A start, a stop and another start; an unknown holder's lease, a lock delay.
        hosts
            + watch * SECOND
            + 3 * setup.status_interval()
            + 2 * (setup.start.1 + setup.sync)
            + 2 * setup.lease_wait()
            + setup.promotion()
            + if setup.of(0).doppelganger_check { 25 * SECOND } else { 0 }
    }

    pub(super) fn phase_ends(&mut self, number: u64) {
        if self.director.number != number {
            return;
        }
        match self.director.phase.clone() {
            Phase::Recovery => {
                if self.signer().is_none() {
                    let what = "nobody signs though all is well again".to_owned();
                    return self.violate(what);
                }
                let most = match self.setup.intensity {
                    Intensity::Quiet => 1_000_000,
                    Intensity::Single => 15 * 60,
                    Intensity::Mixed => 20 * 60,
                    Intensity::Storms => 3 * 60,
                };
                let length = self.random.below(most) * self.random.below(1_000) / 1_000;
                let quiet = self.setup.intensity == Intensity::Quiet;
                let length = if quiet { most } else { 5 + length };
                self.enter(Phase::Calm, length * SECOND);
            }
            Phase::Calm => {
                if self.random.one_in(3) {
                    self.cluster.back_up();
                }
                self.go_wrong();
            }
            Phase::Unnoticed => self.recover(),
            Phase::Takeover { fault, done, since } => {
                if !done {
                    let length = (self.now - since) / MS;
                    let what = format!("no takeover within {length} ms after: {}", fault.words());
                    return self.violate(what);
                }
                self.recover();
            }
            Phase::Storm => match self.director.next.take() {
                Some(fault) => self.single_fault(fault, 3 * SECOND),
                None => self.recover(),
            },
        }
    }

    /// Everything works again from now on.
    pub(super) fn recover(&mut self) {
        self.director.may_suspend = None;
        self.gentle = false;
        for host in 0..self.hosts.len() {
            let here = &mut self.hosts[host];
            here.down_after_stop = 2 * SECOND;
            if here.machine.is_none() {
                let at = self.now + SECOND + self.random.below(2 * SECOND);
                self.queue.push(at, Item::Boot { host });
            }
        }
        let length = self.recovery();
        self.director.restored_in_storm = false;
        self.enter(Phase::Recovery, length);
    }

    fn go_wrong(&mut self) {
        let storm = match self.setup.intensity {
            Intensity::Quiet | Intensity::Single => false,
            Intensity::Mixed => self.random.one_in(2),
            Intensity::Storms => !self.random.one_in(5),
        };
        if storm {
            return self.start_storm();
        }
        let fault = self.random.pick(&SINGLE);
        if SILENT.contains(&fault) && self.random.one_in(2) && self.signer().is_some() {
            return self.slow_first(fault);
        }
        self.single_fault(fault, 0);
    }

    /// The holder's last answers before it falls silent are late ones.
    fn slow_first(&mut self, fault: Fault) {
        let length = 1_500 * MS;
        if let Some((holder, _)) = self.signer() {
            self.hosts[holder].link.slow_until = self.now + length;
        }
        self.enter(Phase::Storm, length);
        self.director.next = Some(fault);
    }

    fn start_storm(&mut self) {
        let length = self.random.within(2, 90) * SECOND;
        // The mean time between two faults.
        let pace = self.random.pick(&[50, 200, 500, 1_000, 3_000, 10_000]) * MS;
        self.enter(Phase::Storm, length);
        let number = self.director.number;
        self.queue.push(self.now, Item::Squall { number, pace });
    }

    pub(super) fn squall(&mut self, number: u64, pace: u64) {
        if self.director.number != number {
            return;
        }
        let left = self.director.until.saturating_sub(self.now);
        let fault = self.random.pick(&STORM);
        let host = self.some_host();
        let length = match self.random.below(4) {
            0 => self.random.below(500 * MS),
            1 | 2 => self.random.below(4 * SECOND),
            _ => self.random.below(25 * SECOND),
        };
        let until = self.now + length.min(left);
        if self.random.one_in(30) {
            self.cluster.back_up();
        }
        if self.has(Mutant::WallClock)
            && let Some(clock) = &mut self.hosts[host].clock
        {
            clock.set_back(self.random.below(5 * SECOND));
        }
        self.director.restored_in_storm |= fault == Fault::Restore;
        self.befall(fault, host, until);
        let next = self.now + self.random.below(2 * pace);
        self.queue.push(next, Item::Squall { number, pace });
    }

    /// The holder's host more often than another.
    fn some_host(&mut self) -> usize {
        let any = self.random.below(self.hosts.len() as u64) as usize;
        let keyed = self.hosts.iter().position(|host| host.has_key());
        if self.random.one_in(2) { keyed.unwrap_or(any) } else { any }
    }

    /// One fault in calm times, and the promise that is made for it. A beat of the holder may still
    /// be under way for so `long`.
    fn single_fault(&mut self, fault: Fault, long: u64) {
        let Some((holder, _)) = self.signer() else { return self.recover() };
        let setup = &self.setup;
        let (promotion, delay) = (setup.promotion(), setup.delay);
        let beat = nanos(setup.of(holder).beat_interval());
        let lease = setup.lease_wait() + setup.lease_wait() / 100;
        let status = setup.status_interval();
        let (stop, reap) = (setup.stop.max(nanos(setup.of(holder).stop_timeout)), setup.reap);
        // Until a standby may know that the holder is done.
        let noticed = match fault {
            Fault::KillNeard | Fault::KillGuard => reap,
            Fault::KillKneard => 3 * reap + 4 * delay + 200 * MS,
            Fault::FreezeGuard => 3 * SECOND + 3 * reap,
            Fault::FreezeNeard => 4 * (status + SECOND) + 2 * reap,
            Fault::Stop => stop + 2 * reap,
            // The node that an operator chose may not stand by: then it is the others' turn.
            Fault::Switchover => stop + 2 * reap + 3 * SECOND,
            Fault::OutOfSync => 30 * SECOND + 2 * status + stop + 2 * reap,
            Fault::KillBoth
            | Fault::PowerOff
            | Fault::FreezeKneard
            | Fault::CutConsul
            | Fault::CutAll => lease + long,
            // The lock's delay, and one beat until the holder knows.
            Fault::EndSession | Fault::DeleteEntry => 2 * beat + lease + SECOND,
            _ => 0,
        };
        let until = self.now + noticed + promotion + 10 * SECOND;
        match fault {
            Fault::LeaderChange if setup.shortest_lease() >= 7 * SECOND => {
                self.enter(Phase::Unnoticed, 15 * SECOND);
                self.stats.faults[fault as usize] += 1;
                let length = self.random.within(2_000, 4_400) * MS;
                self.say_world(|| format!("FAULT: no leader of Consul for {} ms", length / MS));
                self.gentle = true;
                self.director.may_suspend = Some(holder).filter(|_| self.setup.swaps());
                self.lose_leader(self.now + length);
            }
            Fault::AgentRefuses | Fault::AgentHangs if setup.addresses > 1 => {
                self.enter(Phase::Unnoticed, 45 * SECOND);
                let until = self.now + self.random.within(1, 40) * SECOND;
                self.befall(fault, holder, until);
            }
            Fault::Garbage | Fault::OldRecord | Fault::StaleReads | Fault::ChainHalts => {
                self.enter(Phase::Unnoticed, 30 * SECOND);
                let until = self.now + 10 * SECOND;
                let host = self.some_host();
                self.befall(fault, host, until);
            }
            Fault::LeaderChange | Fault::AgentRefuses | Fault::AgentHangs => self.recover(),
            Fault::Restore => {
                self.director.restored_in_storm = true;
                self.befall(fault, holder, until);
                self.recover();
            }
            _ if !self.has_standby(holder) => {
                self.befall(fault, holder, until);
                let length = until - self.now;
                self.enter(Phase::Storm, length);
            }
            _ => {
                let since = self.now;
                self.enter(Phase::Takeover { fault, since, done: false }, noticed + promotion);
                match fault {
                    Fault::EndSession => {
                        let id = self.cluster.lock_holder().cloned();
                        self.stats.faults[fault as usize] += 1;
                        self.say_world(|| "FAULT: the lock's session is ended".to_owned());
                        if let Some(id) = id {
                            self.apply(kneard::consul::model::Op::DestroySession(id));
                        }
                    }
                    _ => self.befall(fault, holder, until),
                }
            }
        }
    }

    /// Another node stands by, as well as one can.
    fn has_standby(&self, holder: usize) -> bool {
        (0..self.hosts.len()).any(|host| {
            let here = &self.hosts[host];
            host != holder
                && !self.head(host).1
                && here.machine.as_ref().is_some_and(|machine| machine.state() == State::Voting)
        })
    }

    /// The host whose neard signs, and that neard's number.
    pub(super) fn signer(&self) -> Option<(usize, u64)> {
        self.hosts.iter().enumerate().find_map(|(number, host)| {
            let active = host.machine.as_ref()?.step() == Some(&Step::Active);
            (active && host.has_key())
                .then(|| (number, host.neard.as_ref().map_or(0, |n| n.number)))
        })
    }

    pub(super) fn became_active(&mut self, host: usize) {
        let now = self.now;
        if let Phase::Takeover { since, done, fault } = &mut self.director.phase
            && !*done
        {
            *done = true;
            let (length, fault) = (now - *since, *fault);
            let swaps = self.setup.swaps();
            self.stats.took_over(fault, swaps, length);
        }
        if let Some(ended) = self.key_ended.take() {
            self.stats.gaps.add((now - ended) / MS);
        }
        self.say(host, || "neard has confirmed the key".to_owned());
    }
}

/// After these nobody hears of the holder any more.
const SILENT: [Fault; 5] =
    [Fault::KillBoth, Fault::PowerOff, Fault::FreezeKneard, Fault::CutConsul, Fault::CutAll];

/// Single faults, with how likely each is.
const SINGLE: [Fault; 26] = [
    Fault::KillNeard,
    Fault::KillNeard,
    Fault::KillKneard,
    Fault::KillKneard,
    Fault::KillGuard,
    Fault::KillBoth,
    Fault::PowerOff,
    Fault::PowerOff,
    Fault::FreezeKneard,
    Fault::FreezeGuard,
    Fault::FreezeNeard,
    Fault::CutConsul,
    Fault::CutAll,
    Fault::CutAll,
    Fault::Stop,
    Fault::OutOfSync,
    Fault::EndSession,
    Fault::DeleteEntry,
    Fault::LeaderChange,
    Fault::LeaderChange,
    Fault::AgentRefuses,
    Fault::AgentHangs,
    Fault::Garbage,
    Fault::Restore,
    Fault::Switchover,
    Fault::Switchover,
];

const STORM: [Fault; 52] = [
    Fault::KillKneard,
    Fault::KillKneard,
    Fault::KillKneard,
    Fault::KillGuard,
    Fault::KillGuard,
    Fault::KillBoth,
    Fault::KillNeard,
    Fault::KillNeard,
    Fault::FreezeKneard,
    Fault::FreezeKneard,
    Fault::FreezeKneard,
    Fault::FreezeGuard,
    Fault::FreezeGuard,
    Fault::FreezeNeard,
    Fault::PauseHost,
    Fault::PauseHost,
    Fault::PowerOff,
    Fault::PowerOff,
    Fault::Stop,
    Fault::Stop,
    Fault::CrashLoop,
    Fault::StatusFails,
    Fault::OutOfSync,
    Fault::SlowDisk,
    Fault::CutThere,
    Fault::CutBack,
    Fault::CutBack,
    Fault::CutConsul,
    Fault::CutConsul,
    Fault::CutChain,
    Fault::CutAll,
    Fault::AgentRefuses,
    Fault::AgentHangs,
    Fault::SlowNetwork,
    Fault::SlowNetwork,
    Fault::Losses,
    Fault::Losses,
    Fault::Doubles,
    Fault::Doubles,
    Fault::StaleReads,
    Fault::LeaderChange,
    Fault::LeaderChange,
    Fault::ConsulDown,
    Fault::EndSession,
    Fault::DeleteEntry,
    Fault::Garbage,
    Fault::OldRecord,
    Fault::Restore,
    Fault::ChainHalts,
    Fault::ConfigBroken,
    Fault::Switchover,
    Fault::Switchover,
];
