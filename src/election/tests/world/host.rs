//! One host: a clock, kneard with its machine, a guard, neard.

use std::collections::BTreeSet;

use super::network::Request;
use super::random::Random;
use super::{Item, MS, SECOND, World};
use crate::election::{
    Action, Content, Entry, Event, InstanceId, Machine, NeardStatus, Role, Seen, SessionId,
    Settings, SignKey, Time, Write,
};

/// By `Settings::lock_delay` of the lease in [`settings`].
pub const LOCK_DELAY: u64 = 3_030 * MS;
/// The guard's worst lateness and a killed process's end, together less than the kill margin.
const GUARD_LATENCY: u64 = 400 * MS;
const BLOCK_TIME: u64 = 600 * MS;

fn settings(number: usize, life: u64) -> Settings {
    let instance = InstanceId(format!("instance {life} of host {number}"));
    let mut settings = Settings::new(&format!("node{number}"), instance, "host");
    settings.lease = std::time::Duration::from_secs(3);
    settings.check().expect("the world's settings can work");
    settings
}

struct Neard {
    number: u64,
    keyed: bool,
    up_at: u64,
    /// The guard's, by the host's clock.
    kill_at: Option<Time>,
    dying: bool,
}

pub struct Host {
    number: usize,
    /// This host's clock starts anywhere and runs by up to ρ faster than the slowest one's.
    clock_start: u64,
    clock_per_mille: u64,
    pub machine: Option<Machine>,
    /// Counts kneard's processes.
    pub life: u64,
    neard: Option<Neard>,
    pub tick: u64,
    /// Counts watches; `None` while none is wanted.
    pub watch: Option<u64>,
    pub awaited: BTreeSet<u64>,
    pub frozen_until: u64,
    pub cut_until: u64,
    pub status_fails_until: u64,
    pub out_of_sync_until: u64,
    pub down_after_stop: u64,
    /// What the guard releases once neard is dead.
    left_behind: Option<(InstanceId, SessionId)>,
}

impl Host {
    pub fn new(number: usize, random: &mut Random) -> Self {
        Host {
            number,
            clock_start: random.below(1_000 * SECOND),
            clock_per_mille: 1_000 + random.below(11),
            machine: None,
            life: 0,
            neard: None,
            tick: 0,
            watch: None,
            awaited: BTreeSet::new(),
            frozen_until: 0,
            cut_until: 0,
            status_fails_until: 0,
            out_of_sync_until: 0,
            down_after_stop: SECOND,
            left_behind: None,
        }
    }

    /// A neard with the key is alive.
    pub fn has_key(&self) -> bool {
        self.neard.as_ref().is_some_and(|neard| neard.keyed)
    }

    fn clock(&self, now: u64) -> Time {
        Time::from_nanos(self.clock_start + now * self.clock_per_mille / 1_000)
    }

    /// When this host's clock shows `time`.
    fn instant(&self, time: Time) -> u64 {
        let elapsed = u128::from(time.as_nanos().saturating_sub(self.clock_start)) * 1_000;
        u64::try_from(elapsed.div_ceil(u128::from(self.clock_per_mille))).unwrap_or(u64::MAX)
    }

    pub fn status(&self, neard: u64, now: u64) -> Result<NeardStatus, String> {
        let process = self.neard.as_ref().filter(|process| process.number == neard);
        match process {
            Some(process) if now >= process.up_at && now >= self.status_fails_until => {
                Ok(NeardStatus {
                    syncing: now < self.out_of_sync_until,
                    head: now / BLOCK_TIME,
                    key: if process.keyed { SignKey::Ours } else { SignKey::None },
                    made_up_to: None,
                })
            }
            _ => Err("no answer".to_owned()),
        }
    }
}

impl World {
    pub(super) fn boot(&mut self, host: usize) {
        let here = &mut self.hosts[host];
        if here.machine.is_some() {
            return;
        }
        if here.neard.is_some() {
            // The guard of the process before still holds the home.
            self.after(100 * MS, Item::Boot { host });
            return;
        }
        here.life += 1;
        let life = here.life;
        here.machine = Some(Machine::new(settings(here.number, life), here.clock(self.now)));
        here.watch = None;
        here.awaited.clear();
        self.tell(host, life, Event::Tick);
    }

    pub(super) fn tell(&mut self, host: usize, life: u64, event: Event) {
        let (now, here) = (self.now, &mut self.hosts[host]);
        if here.life != life {
            return;
        }
        if now < here.frozen_until {
            let until = here.frozen_until;
            self.at(until, Item::Tell { host, life, event });
            return;
        }
        let clock = here.clock(now);
        let Some(machine) = &mut here.machine else { return };
        let text = self.trace.is_some().then(|| format!("host {host}: {event:?}"));
        let actions = machine.handle(clock, event);
        let timeout = machine.next_timeout();
        if let Some(text) = text {
            self.note(|| format!("{text} -> {actions:?}"));
        }
        for action in actions {
            self.act(host, action);
        }
        if let Some(timeout) = timeout {
            let here = &mut self.hosts[host];
            here.tick += 1;
            let (at, number) = (here.instant(timeout), here.tick);
            self.at(at, Item::Tick { host, life, number });
        }
    }

    fn act(&mut self, host: usize, action: Action) {
        let life = self.hosts[host].life;
        match action {
            Action::StartNeard(role) => self.start(host, role),
            Action::TerminateNeard => {
                let length = self.random.below(2 * SECOND);
                self.kill(host, length);
            }
            Action::KillNeard => {
                let length = self.random.below(50 * MS);
                self.kill(host, length);
            }
            Action::AskStatus { id } => {
                let neard = self.hosts[host].neard.as_ref().map_or(0, |neard| neard.number);
                let delay = MS + self.random.below(20 * MS);
                self.after(delay, Item::AnswerStatus { host, life, neard, id });
            }
            Action::ArmGuard(kill_at) => self.arm(host, kill_at),
            Action::AskDuties
            | Action::LoadKey { .. }
            | Action::UnloadKey
            | Action::ReloadNeard
            | Action::DisarmGuard => {
                unreachable!("neither asked for by these settings")
            }
            Action::CreateSession => self.send(host, Request::CreateSession),
            Action::RenewSession(id) => self.send(host, Request::RenewSession(id)),
            Action::DestroySession(id) => self.send(host, Request::DestroySession(id)),
            Action::Commit { id, write } => self.send(host, Request::Commit { id, write }),
            Action::ReadKey { id } => self.send(host, Request::Read { id }),
            Action::ReadLeases => self.send(host, Request::ReadLeases),
            Action::Watch(wanted) => {
                self.requests += 1;
                let watch = self.requests;
                self.hosts[host].watch = wanted.then_some(watch);
                self.after(MS, Item::Poll { host, life, watch });
            }
            Action::Changed(_) | Action::Log(_) => {}
            Action::Exit(_) => {
                self.hosts[host].machine = None;
                let down = self.hosts[host].down_after_stop;
                self.after(down, Item::Boot { host });
            }
        }
    }

    fn start(&mut self, host: usize, role: Role) {
        self.neards += 1;
        let (number, up_at) = (self.neards, self.now + 200 * MS + self.random.below(SECOND));
        let here = &mut self.hosts[host];
        assert!(here.neard.is_none(), "a second neard on host {host}");
        let keyed = role != Role::Standby;
        here.neard = Some(Neard { number, keyed, up_at, kill_at: None, dying: false });
        if let Role::Validator { kill_at } = role {
            self.arm(host, kill_at);
        }
    }

    fn arm(&mut self, host: usize, kill_at: Time) {
        let here = &mut self.hosts[host];
        let at = here.instant(kill_at);
        let Some(neard) = &mut here.neard else { return };
        neard.kill_at = Some(kill_at);
        let neard = neard.number;
        self.at(at, Item::Guard { host, neard });
    }

    pub(super) fn guard(&mut self, host: usize, neard: u64) {
        let (here, now) = (&self.hosts[host], self.now);
        let due = here.neard.as_ref().is_some_and(|process| {
            process.number == neard
                && !process.dying
                && process.kill_at.is_some_and(|at| here.clock(now) >= at)
        });
        if due {
            self.note(|| format!("host {host}: the guard kills neard"));
            let latency = self.random.below(GUARD_LATENCY);
            self.kill(host, latency);
        }
    }

    /// neard ends after `length`, unless something ends it before.
    pub(super) fn kill(&mut self, host: usize, length: u64) {
        if let Some(neard) = &mut self.hosts[host].neard {
            // A slow stop is no fence: the guard still watches it.
            neard.dying |= length < GUARD_LATENCY;
            let neard = neard.number;
            self.after(length, Item::Exit { host, neard });
        }
    }

    pub(super) fn exit(&mut self, host: usize, neard: u64) {
        let here = &mut self.hosts[host];
        if here.neard.take_if(|process| process.number == neard).is_none() {
            return;
        }
        let life = here.life;
        if let Some((instance, session)) = here.left_behind.take() {
            self.release_for(&instance, session);
        }
        self.tell(host, life, Event::NeardExited("it ended".to_owned()));
    }

    pub(super) fn crash(&mut self, host: usize, down: u64, releases: bool) {
        let here = &mut self.hosts[host];
        let Some(machine) = here.machine.take() else { return };
        here.life += 1;
        here.watch = None;
        here.frozen_until = 0;
        let instance = machine.settings().instance.clone();
        here.left_behind =
            machine.session().filter(|_| releases).map(|session| (instance, session.clone()));
        self.kill(host, 50 * MS);
        self.after(down * MS, Item::Boot { host });
    }

    /// What `kneard release` does after a crash: only for a record of that very process.
    fn release_for(&mut self, instance: &InstanceId, session: SessionId) {
        let Seen::Entry(Entry { index, session: Some(holder), content }) = self.store.read() else {
            return;
        };
        if let Content::Record(record) = content
            && record.instance == *instance
            && holder == session
        {
            let record = record.after_crash("kneard died");
            self.commit(&Write::Release { index, session, record });
        }
    }
}
