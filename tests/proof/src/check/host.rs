//! One host: carries out what its machine asks for, and tells it what came of it.

use std::collections::VecDeque;

use kneard::consul::model::{Answer, Op};
use kneard::election::{
    Action, Event, Machine, NeardStatus, Role, Seen, SessionId, SignKey, Step, Write,
};
use kneard::supervisor::election_key::session_request;

use super::config::{Config, host_name};
use super::world::{Cut, Dying, Late, Neard, Request, World, happened};

impl World {
    /// kneard starts, with nothing remembered.
    pub fn boot(&mut self, config: &Config, host: usize) {
        let now = self.clock(host);
        let here = self.host(host);
        here.life += 1;
        here.left_behind = None;
        here.machine = Some(Machine::new(config.settings(host, here.life), now));
        self.tell(config, host, Event::Tick);
    }

    /// Lets the machine handle an event, and everything that is answered at once.
    pub fn tell(&mut self, config: &Config, host: usize, event: Event) {
        let now = self.clock(host);
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.note_sight(host, &event);
            let here = self.host(host);
            let Some(machine) = &mut here.machine else { return };
            let had_office = machine.step().is_some();
            let was_read = matches!(event, Event::Read { .. });
            let actions = machine.handle(now, event);
            let found = was_read && !had_office && machine.step().is_some();
            if found {
                self.happened |= happened::FOUND_OWN_CLAIM;
            }
            for action in actions {
                self.act(config, host, action, &mut events);
            }
        }
        // Numbers of requests have no meaning beyond the request.
        let here = self.host(host);
        if let Some(machine) = &mut here.machine
            && machine.renumber()
            && let Some(request) = &mut here.request
        {
            request.id = 1;
        }
    }

    /// Keeps since when the host has known the record that it knows.
    fn note_sight(&mut self, host: usize, event: &Event) {
        let (Event::Watched(seen) | Event::Read { result: Ok(seen), .. }) = event else { return };
        let index = match seen {
            Seen::Entry(entry) => Some(entry.index),
            Seen::Missing => None,
        };
        let tick = self.tick;
        let here = self.host(host);
        if here.first_sight.map(|(index, _)| index) != index {
            here.first_sight = index.map(|index| (index, tick));
        }
    }

    fn act(&mut self, config: &Config, host: usize, action: Action, events: &mut VecDeque<Event>) {
        self.tell_action(host, &action);
        match action {
            Action::StartNeard(role) => self.start_neard(host, role),
            Action::TerminateNeard => self.kill(host, Dying::Stopping),
            Action::KillNeard => self.kill(host, Dying::Killed(self.tick)),
            Action::AskStatus { id } => {
                events.push_back(Event::Status { id, result: self.status(host) });
            }
            Action::LoadKey { kill_at } => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.kill_at = Some(kill_at);
                    neard.key_at_home = true;
                    neard.reloads = true;
                }
            }
            Action::UnloadKey => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.key_at_home = false;
                    neard.reloads = true;
                }
            }
            Action::ReloadNeard => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.reloads = true;
                }
            }
            Action::DisarmGuard => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.kill_at = None;
                }
            }
            // A check of its own, which these settings leave out.
            Action::AskDuties => events.push_back(Event::Duties(Ok(None))),
            Action::ArmGuard(at) => {
                if let Some(neard) = &mut self.host(host).neard {
                    neard.kill_at = Some(at);
                }
            }
            Action::CreateSession => events.push_back(self.create_session(config, host)),
            Action::RenewSession(id) => events.push_back(self.renew_session(host, &id)),
            Action::DestroySession(id) => {
                if self.reaches_consul(host) {
                    self.end_session(id);
                }
            }
            Action::Commit { id, write } => self.send(host, id, Some(write)),
            Action::ReadKey { id } => self.send(host, id, None),
            Action::ReadLeases => {
                let longest = config.leases.iter().max().copied();
                let result =
                    if self.reaches_consul(host) { Ok(longest) } else { Err("no answer".into()) };
                events.push_back(Event::Leases(result));
            }
            Action::Watch(wanted) => {
                let here = self.host(host);
                here.watching = wanted;
                here.first_sight = None;
                here.shown = None;
                here.held_sight = None;
            }
            Action::Changed(_) | Action::Log(_) => {}
            Action::Exit(_) => {
                self.happened |= happened::EXITED;
                self.end_kneard(host);
            }
        }
    }

    fn send(&mut self, host: usize, id: u64, write: Option<Write>) {
        let sent = self.tick;
        self.host(host).request = Some(Request { id, write, sent, held: false, answer: None });
    }

    /// The process is gone, and with it what it knew.
    fn end_kneard(&mut self, host: usize) {
        let here = self.host(host);
        here.machine = None;
        here.request = None;
        here.watching = false;
        here.first_sight = None;
        here.shown = None;
        here.held_sight = None;
        here.frozen = false;
        here.exit_untold = false;
    }

    /// kneard dies in any way; its guard kills neard and knows what to release.
    pub fn crash(&mut self, host: usize) {
        let here = self.host(host);
        let Some(machine) = here.machine.take() else { return };
        let instance = machine.settings().instance.clone();
        here.left_behind = machine.session().map(|session| (instance, session.clone()));
        let cut = here.cut;
        let request = here.request.take();
        self.end_kneard(host);
        self.kill(host, Dying::Killed(self.tick));
        // What was sent may still arrive.
        if let Some(Request { write: Some(write), answer: None, .. }) = request
            && cut != Cut::Both
        {
            self.late.push(Late { host, write });
        }
    }

    fn start_neard(&mut self, host: usize, role: Role) {
        let (keyed, kill_at) = match role {
            Role::Standby => (false, None),
            Role::Validator { kill_at } => (true, Some(kill_at)),
        };
        let started = self.tick;
        let here = self.host(host);
        assert!(here.neard.is_none(), "a second neard on one host");
        here.neard = Some(Neard {
            keyed,
            key_at_home: keyed,
            reloads: false,
            reloads_slowly: false,
            kill_at,
            dying: Dying::No,
            started,
        });
    }

    pub fn kill(&mut self, host: usize, how: Dying) {
        if let Some(neard) = &mut self.host(host).neard
            && !matches!(neard.dying, Dying::Killed(_))
        {
            neard.dying = how;
        }
    }

    /// neard is dead and reaped.
    pub fn neard_ends(&mut self, config: &Config, host: usize) {
        let here = self.host(host);
        here.neard = None;
        if here.machine.is_none() {
            return;
        }
        if here.frozen {
            here.exit_untold = true;
        } else {
            self.tell(config, host, Event::NeardExited("it ended".to_owned()));
        }
    }

    fn status(&self, host: usize) -> Result<NeardStatus, String> {
        match &self.hosts[host].neard {
            Some(neard) if neard.dying == Dying::No => Ok(NeardStatus {
                // A standby that was just started looks for its peers first.
                syncing: !neard.keyed && neard.started == self.tick,
                head: self.head(host),
                key: if neard.keyed { SignKey::Ours } else { SignKey::None },
                made_up_to: Some(self.head(host)),
            }),
            _ => Err("no answer".to_owned()),
        }
    }

    /// What need not be told apart from an immediate answer is answered at once.
    pub fn reaches_consul(&self, host: usize) -> bool {
        self.hosts[host].cut == Cut::No && self.consul.has_leader
    }

    fn create_session(&mut self, config: &Config, host: usize) -> Event {
        if !self.reaches_consul(host) {
            return Event::SessionCreated(Err("no answer".to_owned()));
        }
        let life = self.hosts[host].life;
        let mut request = session_request("account", &config.settings(host, life));
        if !config.lock_delay {
            request.lock_delay = std::time::Duration::ZERO;
        }
        match self.consul_apply(Op::CreateSession(request)) {
            Answer::Created(id) => Event::SessionCreated(Ok(id)),
            other => Event::SessionCreated(Err(format!("{other:?}"))),
        }
    }

    fn renew_session(&mut self, host: usize, id: &SessionId) -> Event {
        if !self.reaches_consul(host) {
            return Event::SessionRenewed(Err("no answer".to_owned()));
        }
        // The timer that a renewal starts anew is not modelled: sessions end whenever they like.
        Event::SessionRenewed(Ok(self.consul.model.session(id).is_some()))
    }

    fn tell_action(&mut self, host: usize, action: &Action) {
        if self.story.is_none() {
            return;
        }
        let name = host_name(host);
        let start = super::world::clock_start();
        let text = match action {
            Action::StartNeard(Role::Standby) => format!("{name} starts neard without the key"),
            Action::StartNeard(Role::Validator { kill_at }) => {
                let at = kill_at.since(start).as_secs_f64();
                format!("{name} starts neard WITH THE KEY, the guard is to kill it at {at:.2} s")
            }
            Action::LoadKey { kill_at } => {
                let at = kill_at.since(start).as_secs_f64();
                format!("{name} GIVES NEARD THE KEY, the guard is to kill it at {at:.2} s")
            }
            Action::UnloadKey => format!("{name} tells neard to unload the key"),
            Action::DisarmGuard => format!("{name} disarms its guard"),
            Action::TerminateNeard => format!("{name} sends SIGTERM to neard"),
            Action::KillNeard => format!("{name} kills neard"),
            Action::ArmGuard(at) => {
                format!(
                    "{name} moves its guard's deadline to {:.2} s",
                    at.since(start).as_secs_f64()
                )
            }
            Action::CreateSession => format!("{name} creates a session"),
            Action::Commit { write, .. } => format!("{name} sends: {}", describe_write(write)),
            Action::ReadKey { .. } => format!("{name} asks what the key holds now"),
            Action::Changed(transition) => {
                format!("{name} is now {} (was {})", transition.to, transition.from)
            }
            Action::Log(notice) => format!("{name} says: {notice}"),
            Action::Exit(_) => format!("{name}'s kneard ends"),
            _ => return,
        };
        self.tell_story(|| format!("      {text}"));
    }

    /// Whether kneard on this host takes part, and how far it is.
    pub fn step(&self, host: usize) -> Option<&Step> {
        self.hosts[host].machine.as_ref().and_then(Machine::step)
    }
}

pub fn describe_write(write: &Write) -> String {
    let record = write.record();
    let what = match write {
        Write::Acquire { .. } => "take the free lock",
        Write::Steal { .. } => "take the lock from its holder",
        Write::Beat { .. } => "a beat",
        Write::Release { .. } => "give the lock back",
    };
    let state = format!("{:?}", record.state).to_lowercase();
    format!("{what} (term {}, beat {}, {state}, head {})", record.term, record.beat, record.head)
}
