//! Hot swap: the key goes into the home of a neard that runs, or out of it, and SIGHUP has neard
//! read it. That takes its time, may get lost, and may be refused without a word.

use kneard::election::{Event, Time};

use super::{Item, MS, SECOND, World};

/// How long neard reads its files; another SIGHUP that comes meanwhile is lost.
const READING: u64 = 5 * MS;
/// A reload is applied at neard's next turn, about a second later at the most.
const SLOWEST: u64 = SECOND;

/// What is being done to the key in the home.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    number: u64,
    /// The guard has not confirmed the deadline yet.
    arming: bool,
}

impl World<'_> {
    fn next_swap(&mut self) -> u64 {
        self.swaps += 1;
        self.swaps
    }

    pub(super) fn load_key(&mut self, host: usize, deadline: Time) {
        let life = self.hosts[host].life;
        if self.hosts[host].cannot_swap || self.hosts[host].neard.is_none() {
            let event = Box::new(Event::KeyNotLoaded("it cannot be done here".to_owned()));
            return self.queue.push(self.now, Item::Tell { host, life, event });
        }
        self.arm(host, deadline);
        let number = self.next_swap();
        self.hosts[host].swap = Some(Swap { number, arming: true });
        let frozen = self.hosts[host].guard_frozen_until().max(self.now);
        let at = frozen + MS / 10 + self.random.below(2 * MS);
        self.queue.push(at, Item::SwapArmed { host, life, number });
    }

    /// The guard has confirmed the deadline.
    pub(super) fn swap_armed(&mut self, host: usize, life: u64, number: u64) {
        let (now, here) = (self.now, &mut self.hosts[host]);
        if here.life != life || here.swap != Some(Swap { number, arming: true }) {
            return;
        }
        if now < here.frozen_until {
            let at = here.frozen_until;
            return self.queue.push(at, Item::SwapArmed { host, life, number });
        }
        self.move_key(host, life, number, true);
    }

    pub(super) fn unload_key(&mut self, host: usize) {
        let (life, number) = (self.hosts[host].life, self.next_swap());
        self.move_key(host, life, number, false);
    }

    fn move_key(&mut self, host: usize, life: u64, number: u64, insert: bool) {
        let slow = self.now < self.hosts[host].slow_disk_until;
        let length = if slow { 3 * SECOND } else { self.setup.disk(20 * MS) };
        let at = self.now + MS / 2 + self.random.below(length);
        self.hosts[host].swap = Some(Swap { number, arming: false });
        self.queue.push(at, Item::KeyMoved { host, life, number, insert });
    }

    /// The link to the key is in neard's home, or out of it.
    pub(super) fn key_moved(&mut self, host: usize, life: u64, number: u64, insert: bool) {
        let (now, here) = (self.now, &mut self.hosts[host]);
        if here.life != life || here.swap != Some(Swap { number, arming: false }) {
            return;
        }
        if now < here.frozen_until {
            let at = here.frozen_until;
            return self.queue.push(at, Item::KeyMoved { host, life, number, insert });
        }
        here.swap = None;
        if now < here.slow_disk_until && self.random.one_in(4) {
            // Half done is not done: what went in is taken out again.
            let why = "the disk is full".to_owned();
            let event = if insert { Event::KeyNotLoaded(why) } else { Event::KeyNotUnloaded(why) };
            return self.tell(host, life, event);
        }
        here.key_in_home = insert;
        self.reload(host);
    }

    /// SIGHUP, by way of the guard. Not while the key is on its way.
    pub(super) fn reload(&mut self, host: usize) {
        let here = &self.hosts[host];
        let Some(neard) = here.neard.as_ref().filter(|_| here.swap.is_none()) else { return };
        let number = neard.number;
        let at = here.guard_frozen_until().max(self.now) + MS / 10;
        self.queue.push(at, Item::Hangup { host, number });
    }

    pub(super) fn hangup(&mut self, host: usize, number: u64) {
        let now = self.now;
        let Some(neard) = self.neard(host, number).filter(|neard| !neard.dead) else { return };
        if now < neard.frozen.1 {
            let at = neard.frozen.1;
            return self.queue.push(at, Item::Hangup { host, number });
        }
        if now < neard.handles_signals_at {
            self.say(host, || format!("neard {number} dies of an early SIGHUP"));
            return self.neard_ends(host, number);
        }
        if now >= neard.reads_until {
            neard.reads_until = now + READING;
            self.queue.push(now + READING, Item::ReloadRead { host, number });
        }
    }

    pub(super) fn reload_read(&mut self, host: usize, number: u64) {
        let now = self.now;
        let (key, broken) = {
            let here = &self.hosts[host];
            (here.key_in_home, now < here.config_broken_until)
        };
        let length = if self.random.one_in(4) { SLOWEST } else { self.setup.disk(25 * MS) };
        let length = self.random.below(length);
        let Some(neard) = self.neard(host, number).filter(|neard| !neard.dead && !broken) else {
            return;
        };
        // One after the other.
        neard.applies_at = neard.applies_at.max(now + length);
        let at = neard.applies_at;
        self.queue.push(at, Item::ReloadApplied { host, number, key });
    }

    pub(super) fn reload_applied(&mut self, host: usize, number: u64, key: bool) {
        let now = self.now;
        let head = self.head(host).0;
        let Some(neard) = self.neard(host, number).filter(|neard| !neard.dead) else { return };
        if now < neard.frozen.1 {
            let at = neard.frozen.1;
            neard.applies_at = neard.applies_at.max(at);
            return self.queue.push(at, Item::ReloadApplied { host, number, key });
        }
        if std::mem::replace(&mut neard.keyed, key) == key {
            return;
        }
        if key {
            self.say(host, || format!("neard {number} has loaded the key"));
            self.key_loaded(host);
            self.signs_first(host, number);
        } else {
            let signed = std::mem::take(&mut neard.signs);
            self.say(host, || format!("neard {number} has unloaded the key"));
            self.key_gone(host, number, signed.then_some(head));
        }
    }

    /// What neard says, once it has unloaded the key, of the highest block that it can have made:
    /// one that it made last may be above its head.
    pub(super) fn made_up_to(&mut self, head: u64) -> Option<u64> {
        match self.random.below(4) {
            0 => None,
            1 => Some(head + 1),
            _ => Some(head),
        }
    }
}
