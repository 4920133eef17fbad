//! One host: its clock, kneard with its machine, what it publishes. Its guard and its neard are in
//! `neard.rs`.

use kneard::control::NodeReport;
use kneard::election::{Action, Event, Machine, SessionId, State, Step};
use kneard::supervisor::election_key;

use super::clock::Clock;
use super::neard::{Neard, Preparing};
use super::network::{Asker, Link, Request};
use super::release::Releasing;
use super::swap::Swap;
use super::watch::Watch;
use super::{Item, MS, SECOND, World};

/// How often a node publishes itself anew.
const REFRESH: u64 = 60 * SECOND;

#[derive(Default)]
pub struct Host {
    pub clock: Option<Clock>,
    pub machine: Option<Machine>,
    /// Counts kneard's processes: what was meant for an earlier one reaches nobody.
    pub life: u64,
    /// SIGSTOP of kneard.
    pub frozen_until: u64,
    /// Switched off, or kneard is not started.
    pub off_until: u64,
    pub down_after_stop: u64,
    /// The next tick: when it is due and which of those that are planned it is.
    tick: Option<(u64, u64)>,
    ticks: u64,
    pub neard: Option<Neard>,
    pub preparing: Option<Preparing>,
    pub releasing: Option<Releasing>,
    pub watch: Watch,
    pub link: Link,
    /// The Consul address to ask first.
    pub preferred: usize,
    published: Option<(State, SessionId)>,
    publishing: bool,
    /// Another node has this one's name: it publishes itself under another.
    name_is_taken: bool,
    refresh_at: u64,
    /// The machine is in `Step::Active`, and neard has the key.
    pub active: bool,
    /// The last term of this host, and the process that it was of.
    pub term: (u64, u64),
    /// The validator key is in neard's home.
    pub key_in_home: bool,
    pub swap: Option<Swap>,
    // What is wrong with neard here.
    pub cannot_swap: bool,
    pub config_broken_until: u64,
    pub status_fails_until: u64,
    pub out_of_sync_until: u64,
    pub crash_loop_until: u64,
    pub slow_disk_until: u64,
    /// Blocks stop coming, and until when.
    pub chain_cut: Option<(u64, u64)>,
    /// What neard has on its disk.
    pub disk_head: u64,
}

impl World<'_> {
    /// Someone starts kneard: systemd, an operator, a machine that is switched on.
    pub(super) fn boot(&mut self, host: usize) {
        let now = self.now;
        let here = &mut self.hosts[host];
        if here.machine.is_some() || now < here.off_until {
            return;
        }
        if here.neard.is_some() || here.preparing.is_some() || here.releasing.is_some() {
            // The guard of the process before, or what it became, still holds the home.
            return self.queue.push(now + 100 * MS, Item::Boot { host });
        }
        here.life += 1;
        let life = here.life;
        let clock = match here.clock {
            Some(clock) => clock,
            None => Clock::new(now, self.setup.faster[host], &mut self.random),
        };
        here.clock = Some(clock);
        here.tick = None;
        here.published = None;
        here.publishing = false;
        here.frozen_until = 0;
        here.machine = Some(Machine::new(self.setup.settings(host, life), clock.read(now)));
        self.say(host, || "kneard starts".to_owned());
        self.tell(host, life, Event::Tick);
    }

    /// The host's kneard is told something, as soon as it runs.
    pub(super) fn tell(&mut self, host: usize, life: u64, event: Event) {
        let (now, here) = (self.now, &mut self.hosts[host]);
        if here.life != life {
            return;
        }
        if now < here.frozen_until {
            let until = here.frozen_until;
            return self.queue.push(until, Item::Tell { host, life, event: Box::new(event) });
        }
        let Some(clock) = here.clock.filter(|_| here.machine.is_some()) else { return };
        self.events += 1;
        if self.trace.is_some() {
            self.say_event(host, &event);
        }
        let Some(machine) = &mut self.hosts[host].machine else { return };
        let actions = machine.handle(clock.read(now), event);
        self.hash(actions.len() as u64);
        for action in actions {
            self.act(host, life, action);
        }
        self.after_handling(host, life);
    }

    fn after_handling(&mut self, host: usize, life: u64) {
        let here = &mut self.hosts[host];
        let (Some(machine), Some(clock)) = (&here.machine, here.clock) else { return };
        if let Some(timeout) = machine.next_timeout() {
            let at = clock.instant(timeout);
            // One that comes too early looks again; one that comes too late does not do.
            if here.tick.is_none_or(|(planned, _)| planned > at) {
                here.ticks += 1;
                let number = here.ticks;
                here.tick = Some((at, number));
                let late = self.random.below(MS);
                self.queue.push(at + late, Item::Tick { host, life, number });
            }
        }
        let here = &self.hosts[host];
        let Some(machine) = &here.machine else { return };
        let term = machine.step().and(machine.record()).map(|record| record.term);
        let active = machine.step() == Some(&Step::Active) && here.has_key();
        let publish = !here.publishing
            && machine.session().is_some_and(|session| {
                let now = (machine.state(), session);
                self.now >= here.refresh_at
                    || here.published.as_ref().map(|(state, session)| (*state, session))
                        != Some(now)
            });
        if let Some(term) = term {
            self.hosts[host].term = (term, life);
        }
        let here = &self.hosts[host];
        if active != here.active {
            self.hosts[host].active = active;
            if active {
                self.became_active(host);
            }
        }
        if publish {
            self.publish(host, life);
        }
    }

    pub(super) fn tick(&mut self, host: usize, life: u64, number: u64) {
        let (now, here) = (self.now, &mut self.hosts[host]);
        if here.life != life || here.tick.is_none_or(|(_, planned)| planned != number) {
            return;
        }
        if now < here.frozen_until {
            let at = here.frozen_until;
            return self.queue.push(at, Item::Tick { host, life, number });
        }
        here.tick = None;
        let (Some(machine), Some(clock)) = (&here.machine, here.clock) else { return };
        let due = machine.next_timeout().is_some_and(|at| clock.read(now) >= at);
        if due {
            self.tell(host, life, Event::Tick);
        } else {
            self.after_handling(host, life);
        }
    }

    fn act(&mut self, host: usize, life: u64, action: Action) {
        let asker = |id| Asker::Kneard { life, id };
        match action {
            Action::StartNeard(role) => self.prepare(host, role),
            Action::TerminateNeard => self.terminate(host),
            Action::KillNeard => self.kill_asked(host),
            Action::AskStatus { id } => self.ask_status(host, id),
            Action::ArmGuard(kill_at) => self.arm(host, kill_at),
            Action::DisarmGuard => self.disarm(host),
            Action::LoadKey { kill_at } => self.load_key(host, kill_at),
            Action::UnloadKey => self.unload_key(host),
            Action::ReloadNeard => self.reload(host),
            Action::AskDuties => {
                let at = self.now + 5 * MS + self.random.below(100 * MS);
                self.queue.push(at, Item::Duties { host, life });
            }
            Action::CreateSession => self.ask(host, asker(0), Request::CreateSession),
            Action::RenewSession(id) => self.ask(host, asker(0), Request::RenewSession(id)),
            Action::DestroySession(id) => self.ask(host, asker(0), Request::DestroySession(id)),
            Action::Commit { id, write } => {
                let key = &self.cluster.election;
                let operations = match self.options.mutant {
                    None => election_key::operations(key, write),
                    Some(_) => election_key::broken_operations(key, write, self.setup.of(host)),
                };
                self.ask(host, asker(id), Request::Commit(operations));
            }
            Action::ReadKey { id } => self.ask(host, asker(id), Request::Read),
            Action::ReadLeases => self.ask(host, asker(0), Request::ReadLeases),
            Action::Watch(wanted) => self.watch(host, wanted),
            Action::Changed(transition) => {
                self.say(host, || format!("{} -> {}", transition.from, transition.to));
            }
            Action::Log(notice) => self.say(host, || notice.to_string()),
            Action::Exit(reason) => {
                self.say(host, || format!("kneard ends: {reason:?}"));
                let here = &mut self.hosts[host];
                here.machine = None;
                here.life += 1;
                here.active = false;
                let down = here.down_after_stop;
                self.forget_query(host);
                self.queue.push(self.now + down, Item::Boot { host });
            }
        }
    }

    pub(super) fn tell_duties(&mut self, host: usize, life: u64) {
        let failing = self.now < self.hosts[host].status_fails_until;
        let result = match &self.hosts[host].neard {
            Some(neard) if !neard.dead && !failing => Ok(Some(self.duties())),
            _ => Err("no answer".to_owned()),
        };
        self.tell(host, life, Event::Duties(result));
    }

    /// kneard's process dies. Its guard notices by the end of file.
    pub(super) fn kneard_dies(&mut self, host: usize) {
        let here = &mut self.hosts[host];
        let Some(machine) = here.machine.take() else { return };
        here.life += 1;
        here.active = false;
        here.frozen_until = 0;
        let session = machine.session().cloned();
        let instance = machine.settings().instance.clone();
        // It was not spawned, and now nobody will.
        here.preparing = None;
        self.forget_query(host);
        self.orphan(host, instance, session);
    }

    fn publish(&mut self, host: usize, life: u64) {
        let keys = &self.cluster.keys;
        let here = &mut self.hosts[host];
        let Some(machine) = &here.machine else { return };
        let Some(session) = machine.session().cloned() else { return };
        let settings = machine.settings();
        let report = NodeReport {
            node_id: settings.node_id.clone(),
            instance: settings.instance.0.clone(),
            hostname: settings.hostname.clone(),
            state: machine.state().to_string(),
            lease_ms: u64::try_from(settings.lease.as_millis()).unwrap_or(u64::MAX),
            head: machine.head(),
            ..NodeReport::default()
        };
        // Of two with one name the second takes another.
        let key = match here.name_is_taken {
            true => keys.node(&format!("{}.{}", report.node_id, report.instance)),
            false => keys.node(&report.node_id),
        };
        let value = serde_json::to_vec(&report).unwrap_or_default();
        here.published = Some((machine.state(), session.clone()));
        here.publishing = true;
        here.refresh_at = self.now + REFRESH;
        let asker = Asker::Kneard { life, id: 0 };
        self.ask(host, asker, Request::Publish { key, value, session });
    }

    pub(super) fn published(&mut self, host: usize, done: bool, answered: bool) {
        let now = self.now;
        let here = &mut self.hosts[host];
        here.publishing = false;
        if !done {
            here.published = None;
            here.name_is_taken |= answered;
            // Not before some later event, and a second at the earliest.
            here.publishing = true;
            let life = here.life;
            self.queue.push(now + SECOND, Item::PublishAgain { host, life });
        }
    }

    pub(super) fn publish_again(&mut self, host: usize, life: u64) {
        if self.hosts[host].life == life {
            self.hosts[host].publishing = false;
        }
    }
}
