//! What goes wrong.

use kneard::consul::TxnOp;
use kneard::consul::model::Op;

use super::{Item, MS, SECOND, World};

/// The kinds of faults, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    KillKneard,
    KillGuard,
    KillBoth,
    KillNeard,
    FreezeKneard,
    FreezeGuard,
    FreezeNeard,
    PauseHost,
    PowerOff,
    Stop,
    CrashLoop,
    StatusFails,
    OutOfSync,
    SlowDisk,
    CutThere,
    CutBack,
    CutConsul,
    CutChain,
    CutAll,
    AgentRefuses,
    AgentHangs,
    SlowNetwork,
    Losses,
    Doubles,
    StaleReads,
    LeaderChange,
    ConsulDown,
    EndSession,
    DeleteEntry,
    Garbage,
    OldRecord,
    Restore,
    ChainHalts,
    ConfigBroken,
    Switchover,
}

impl Fault {
    pub const ALL: [Fault; 35] = [
        Fault::KillKneard,
        Fault::KillGuard,
        Fault::KillBoth,
        Fault::KillNeard,
        Fault::FreezeKneard,
        Fault::FreezeGuard,
        Fault::FreezeNeard,
        Fault::PauseHost,
        Fault::PowerOff,
        Fault::Stop,
        Fault::CrashLoop,
        Fault::StatusFails,
        Fault::OutOfSync,
        Fault::SlowDisk,
        Fault::CutThere,
        Fault::CutBack,
        Fault::CutConsul,
        Fault::CutChain,
        Fault::CutAll,
        Fault::AgentRefuses,
        Fault::AgentHangs,
        Fault::SlowNetwork,
        Fault::Losses,
        Fault::Doubles,
        Fault::StaleReads,
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
    ];

    pub fn words(self) -> &'static str {
        match self {
            Fault::KillKneard => "kneard is killed",
            Fault::KillGuard => "the guard is killed",
            Fault::KillBoth => "kneard and its guard are killed at once",
            Fault::KillNeard => "neard is killed",
            Fault::FreezeKneard => "kneard is stopped (SIGSTOP)",
            Fault::FreezeGuard => "the guard is stopped (SIGSTOP)",
            Fault::FreezeNeard => "neard is stopped (SIGSTOP)",
            Fault::PauseHost => "the whole host pauses",
            Fault::PowerOff => "the host is switched off",
            Fault::Stop => "kneard is asked to stop (SIGTERM)",
            Fault::CrashLoop => "neard crashes soon after each start",
            Fault::StatusFails => "/status fails",
            Fault::OutOfSync => "neard says that it is syncing",
            Fault::SlowDisk => "the disk is slow",
            Fault::CutThere => "requests to Consul are lost",
            Fault::CutBack => "answers from Consul are lost",
            Fault::CutConsul => "the host is cut off from Consul",
            Fault::CutChain => "the host is cut off from the chain",
            Fault::CutAll => "the host is cut off from everything",
            Fault::AgentRefuses => "the host's Consul agent is down",
            Fault::AgentHangs => "the host's Consul agent hangs",
            Fault::SlowNetwork => "messages take up to 3 s",
            Fault::Losses => "one message in five is lost",
            Fault::Doubles => "requests arrive twice, up to 5 s late",
            Fault::StaleReads => "watches are answered by a server that lags",
            Fault::LeaderChange => "Consul loses its leader",
            Fault::ConsulDown => "Consul is down",
            Fault::EndSession => "a session is ended",
            Fault::DeleteEntry => "the election's entry is deleted",
            Fault::Garbage => "the election's entry is overwritten with garbage",
            Fault::OldRecord => "the election's entry is overwritten with an older record",
            Fault::Restore => "Consul is restored from a backup",
            Fault::ChainHalts => "the chain halts",
            Fault::ConfigBroken => "neard's config is broken: it reloads nothing",
            Fault::Switchover => "an operator asks for a switchover",
        }
    }
}

impl World<'_> {
    /// Something befalls `host`, until `until` if it is of a kind that lasts. What would break the
    /// protocol's assumptions is left out or shortened.
    pub(super) fn befall(&mut self, fault: Fault, host: usize, until: u64) {
        let now = self.now;
        if !self.is_covered(fault, host) {
            return;
        }
        self.stats.faults[fault as usize] += 1;
        let lasting = until.saturating_sub(now) / MS;
        self.say(host, || format!("FAULT: {}, {lasting} ms", fault.words()));
        let link = &mut self.hosts[host].link;
        match fault {
            Fault::KillKneard => {
                self.kneard_dies(host);
                self.comes_back(host, until);
            }
            Fault::KillGuard => self.guard_dies(host),
            Fault::KillBoth => {
                self.kneard_dies(host);
                self.guard_dies(host);
                self.comes_back(host, until);
            }
            Fault::KillNeard => {
                if let Some(neard) = &self.hosts[host].neard {
                    let number = neard.number;
                    self.neard_ends(host, number);
                }
            }
            Fault::FreezeKneard => self.freeze_kneard(host, until),
            Fault::FreezeGuard => self.freeze_guard(host, until),
            Fault::FreezeNeard => self.freeze_neard(host, until),
            Fault::PauseHost => self.pause_host(host, until),
            Fault::PowerOff => self.power_off(host, until),
            Fault::Stop => {
                self.hosts[host].down_after_stop = until.saturating_sub(now) / 2;
                let life = self.hosts[host].life;
                self.tell(host, life, kneard::election::Event::Stop);
            }
            Fault::CrashLoop => {
                self.hosts[host].crash_loop_until = until;
                if let Some(neard) = &self.hosts[host].neard {
                    let number = neard.number;
                    self.neard_ends(host, number);
                }
            }
            Fault::StatusFails => self.hosts[host].status_fails_until = until,
            Fault::OutOfSync => self.hosts[host].out_of_sync_until = until,
            Fault::SlowDisk => self.hosts[host].slow_disk_until = until,
            Fault::CutThere => link.there_cut_until = until,
            Fault::CutBack => link.back_cut_until = until,
            Fault::CutConsul => {
                link.there_cut_until = until;
                link.back_cut_until = until;
                self.drop_query(host);
            }
            Fault::CutChain => self.hosts[host].chain_cut = Some((now, until)),
            Fault::CutAll => {
                link.there_cut_until = until;
                link.back_cut_until = until;
                self.hosts[host].chain_cut = Some((now, until));
                self.drop_query(host);
            }
            Fault::AgentRefuses => link.agent_refuses_until = until,
            Fault::AgentHangs => link.agent_hangs_until = until,
            Fault::SlowNetwork => self.on_some(host, |link| link.slow_until = until),
            Fault::Losses => self.on_some(host, |link| link.loss_until = until),
            Fault::Doubles => self.on_some(host, |link| link.double_until = until),
            Fault::StaleReads => {
                let lag = self.random.below(8 * SECOND);
                let watch = &mut self.hosts[host].watch;
                watch.stale_until = until;
                watch.lag = lag;
            }
            Fault::LeaderChange => {
                let length = self.random.within(2_000, 5_000) * MS;
                self.lose_leader(until.min(now + length));
            }
            Fault::ConsulDown => {
                self.cluster.down_until = until;
                self.lose_leader(until);
            }
            Fault::EndSession => self.end_some_session(),
            Fault::DeleteEntry => {
                let key = self.cluster.election.clone();
                self.apply(Op::Delete { key, index: None });
            }
            Fault::Garbage => {
                let length = self.random.below(40) as usize;
                self.overwrite(vec![b'{'; length]);
            }
            Fault::OldRecord => {
                let Some((_, old)) = self.old_records.first() else { return };
                let old = old.clone();
                self.overwrite(old);
            }
            Fault::Restore => {
                let now = self.now;
                if self.cluster.restore(now) {
                    self.restored_until = now + self.setup.lease_wait() + 5 * SECOND;
                    self.wake_waiters(true);
                }
            }
            Fault::ChainHalts => self.chain.halt(now, until),
            Fault::ConfigBroken => self.hosts[host].config_broken_until = until,
            Fault::Switchover => {
                let target = self.random.below(2 * self.hosts.len() as u64) as usize;
                let to = (target < self.hosts.len()).then(|| self.setup.of(target).node_id.clone());
                let life = self.hosts[host].life;
                self.tell(host, life, kneard::election::Event::Switchover { to });
            }
        }
    }

    /// What the protocol does not promise anything for is not done.
    fn is_covered(&self, fault: Fault, host: usize) -> bool {
        let (now, here) = (self.now, &self.hosts[host]);
        if now < self.restored_until {
            return matches!(
                fault,
                Fault::KillNeard
                    | Fault::KillGuard
                    | Fault::EndSession
                    | Fault::DeleteEntry
                    | Fault::Garbage
            );
        }
        match fault {
            // Of kneard and its guard one at least has to be able to act.
            Fault::KillKneard | Fault::FreezeKneard => !here.guard_is_frozen(now),
            Fault::FreezeGuard => {
                now >= here.frozen_until && here.machine.is_some() && !here.guard_is_frozen(now)
            }
            Fault::PauseHost => now >= here.frozen_until && !here.guard_is_frozen(now),
            Fault::Restore => self.may_restore(),
            _ => true,
        }
    }

    /// A restored backup may say "released", or show an entry that somebody knows for long: it is
    /// covered only while every node runs and sees what is there (docs/failover-algorithm.md,
    /// "Assumptions and limits").
    fn may_restore(&self) -> bool {
        let now = self.now;
        now >= self.cluster.leaderless_until.max(self.cluster.down_until)
            && self.cluster.newest().at + SECOND / 10 < now
            && self.signer().is_some()
            && self.hosts.iter().all(|host| {
                let link = &host.link;
                let settled = host.machine.as_ref().is_some_and(|machine| {
                    machine.state() != kneard::election::State::Shutdown
                        && (machine.step().is_some() || machine.record().is_some())
                });
                let disturbed = [
                    host.frozen_until,
                    host.watch.stale_until,
                    link.there_cut_until,
                    link.back_cut_until,
                    link.slow_until,
                    link.loss_until,
                    link.double_until,
                    link.agent_refuses_until,
                    link.agent_hangs_until,
                ];
                settled && disturbed.iter().all(|until| *until + 10 * SECOND < now)
            })
    }

    fn comes_back(&mut self, host: usize, at: u64) {
        self.hosts[host].off_until = at;
        self.queue.push(at, Item::Boot { host });
    }

    fn freeze_kneard(&mut self, host: usize, until: u64) {
        let here = &mut self.hosts[host];
        if here.machine.is_some() {
            here.frozen_until = here.frozen_until.max(until);
        }
    }

    /// Everything on the host stands still, the boot-time clock does not. Not beyond the lease: its
    /// guard could not kill in time.
    fn pause_host(&mut self, host: usize, until: u64) {
        let late = self.setup.kill_late;
        let here = &self.hosts[host];
        let least = here.kill_at().into_iter().chain(here.start_deadline()).min();
        let until = least.map_or(until, |kill_at| until.min(kill_at.saturating_sub(late)));
        if until <= self.now {
            return;
        }
        self.freeze_kneard(host, until);
        self.freeze_neard(host, until);
        let here = &mut self.hosts[host];
        if let Some(neard) = &mut here.neard {
            neard.pause_guard(until);
        }
    }

    /// All is gone at once, and nobody releases anything. The clock starts anew.
    fn power_off(&mut self, host: usize, until: u64) {
        self.kneard_dies(host);
        let here = &mut self.hosts[host];
        here.releasing = None;
        here.clock = None;
        if let Some(number) = here.neard.as_ref().map(|neard| neard.number) {
            self.guard_dies(host);
            self.reaped(host, number);
            self.hosts[host].releasing = None;
        }
        self.comes_back(host, until);
    }

    /// The connection that a blocking query waits on is dead.
    fn drop_query(&mut self, host: usize) {
        let waiting = self.cluster.waiters.iter().position(|waiter| waiter.host == host);
        if let Some(position) = waiting {
            let query = self.cluster.waiters.swap_remove(position).query;
            let at = self.now + self.random.below(8 * SECOND);
            self.queue.push(at, Item::QueryFails { host, query });
        }
    }

    /// One host's way to Consul, or everyone's.
    fn on_some(&mut self, host: usize, change: impl Fn(&mut super::network::Link)) {
        let all = self.random.one_in(2);
        for (number, here) in self.hosts.iter_mut().enumerate() {
            if all || number == host {
                change(&mut here.link);
            }
        }
    }

    pub(super) fn lose_leader(&mut self, until: u64) {
        self.cluster.leaderless_until = self.cluster.leaderless_until.max(until);
        let until = self.cluster.leaderless_until;
        self.queue.push(until, Item::LeaderElected);
    }

    pub(super) fn leader_elected(&mut self) {
        if self.now >= self.cluster.leaderless_until {
            self.say_consul(|| "a leader is elected, all sessions' timers start anew".to_owned());
            self.apply(Op::LeaderChanged);
        }
    }

    /// By an operator, by an agent that leaves, by Consul's own upkeep; mostly the lock's.
    pub(super) fn end_some_session(&mut self) {
        let holder = self.cluster.lock_holder().cloned();
        let any = self.random.one_in(4);
        let id = match holder.filter(|_| !any) {
            Some(id) => Some(id),
            None => {
                let count = self.cluster.model.sessions().count() as u64;
                let which = self.random.below(count) as usize;
                self.cluster.model.sessions().nth(which).map(|(info, _)| info.id.clone())
            }
        };
        if let Some(id) = id {
            self.apply(Op::DestroySession(id));
        }
    }

    /// A plain write by a stranger: the lock stays with whoever has it.
    fn overwrite(&mut self, value: Vec<u8>) {
        let key = self.cluster.election.clone();
        self.apply(Op::Txn(vec![TxnOp::Set { key, value, flags: 0 }]));
    }

    /// Consul's timer ends a session some time between once and twice its TTL.
    pub(super) fn start_session_timer(&mut self, id: kneard::consul::SessionId) {
        if let Some((may, must)) = self.cluster.expiration(&id) {
            let at = may + self.random.below(must - may);
            self.queue.push(at, Item::SessionTimer { id });
        }
    }

    pub(super) fn session_timer(&mut self, id: kneard::consul::SessionId) {
        let Some((may, _)) = self.cluster.expiration(&id) else { return };
        if self.now < may || self.now < self.cluster.leaderless_until {
            return self.start_session_timer_late(id);
        }
        self.say_consul(|| format!("session {id} expires"));
        self.apply(Op::Expire(id));
    }

    fn start_session_timer_late(&mut self, id: kneard::consul::SessionId) {
        let Some((may, must)) = self.cluster.expiration(&id) else { return };
        let at = may.max(self.cluster.leaderless_until) + self.random.below(must - may);
        self.queue.push(at, Item::SessionTimer { id });
    }
}
