//! neard under its guard: start, stop, the guard's deadline, `/status`, its head.

use kneard::election::{
    Duties, Event, InstanceId, Mutant, NeardStatus, Role, SessionId, SignKey, Time,
};

use super::host::Host;
use super::{Item, MS, SECOND, World};

/// How often kneard pings the guard; it owes two answers before it counts as silent.
const PING_INTERVAL: u64 = SECOND;
/// How long one `/status` may take.
const STATUS_LIMIT: u64 = SECOND;
/// How long the guard may take to report a neard that was killed on request.
const REPORT_GRACE: u64 = 50 * MS;
/// A neard that was cut off from the chain fetches so fast what it missed.
const CATCH_UP: u64 = 20 * MS;
/// Blocks.
const EPOCH: u64 = 10_000;
/// How often a neard that is to sign looks whether it has caught up.
const LOOKS_AGAIN: u64 = 100 * MS;

/// The home is made ready for a start.
pub struct Preparing {
    pub number: u64,
    role: Role,
    deadline: Option<Time>,
    cancelled: bool,
}

/// A neard and its guard.
pub struct Neard {
    pub number: u64,
    /// It has the validator key in its memory, and lives.
    pub keyed: bool,
    /// It has been killed or has ended; its guard has not said so yet.
    pub dead: bool,
    /// When it answers, and when it is in sync.
    up_at: u64,
    synced_at: u64,
    deadline: Option<Time>,
    /// When the guard looks at the deadline.
    looks_at: u64,
    guard_frozen_until: u64,
    /// SIGSTOP of neard: since, until.
    pub frozen: (u64, u64),
    /// Until then SIGHUP kills it.
    pub handles_signals_at: u64,
    /// It reads its files because of a SIGHUP.
    pub reads_until: u64,
    /// When it does what it has read last.
    pub applies_at: u64,
    /// kneard is dead: what is to be released then.
    orphan: Option<(InstanceId, Option<SessionId>)>,
    kneard_gone: bool,
    asked_to_kill: bool,
    /// The head that it started from, and whether it has signed from there on.
    first_head: u64,
    pub signs: bool,
    pub signs_from: u64,
}

impl Host {
    pub fn guard_frozen_until(&self) -> u64 {
        self.neard.as_ref().map_or(0, |neard| neard.guard_frozen_until)
    }

    /// A neard with the key is alive.
    pub fn has_key(&self) -> bool {
        self.neard.as_ref().is_some_and(|neard| neard.keyed && !neard.dead)
    }

    pub fn guard_is_frozen(&self, now: u64) -> bool {
        self.neard.as_ref().is_some_and(|neard| now < neard.guard_frozen_until)
    }

    /// When the guard will kill a neard that has the key or may load it, in the world's time.
    pub fn kill_at(&self) -> Option<u64> {
        let neard = self.neard.as_ref()?;
        Some(self.clock?.instant(neard.deadline?))
    }

    pub fn start_deadline(&self) -> Option<u64> {
        Some(self.clock?.instant(self.preparing.as_ref()?.deadline?))
    }
}

impl Neard {
    pub fn pause_guard(&mut self, until: u64) {
        self.guard_frozen_until = until;
    }
}

impl World<'_> {
    pub(super) fn prepare(&mut self, host: usize, role: Role) {
        self.neards += 1;
        let number = self.neards;
        let deadline = match role {
            Role::Standby => None,
            Role::Validator { kill_at } => Some(kill_at),
        };
        let here = &mut self.hosts[host];
        here.swap = None;
        here.key_in_home = role != Role::Standby;
        assert!(here.neard.is_none() && here.preparing.is_none(), "two starts of neard at once");
        here.preparing = Some(Preparing { number, role, deadline, cancelled: false });
        let slow = self.now < here.slow_disk_until;
        let most = if slow { 3 * SECOND } else { self.setup.disk(50 * MS) };
        let at = self.now + MS + self.random.below(most);
        let life = here.life;
        self.queue.push(at, Item::Prepared { host, life, number });
    }

    /// The home is ready: guard and neard are spawned.
    pub(super) fn prepared(&mut self, host: usize, life: u64, number: u64) {
        let now = self.now;
        let here = &mut self.hosts[host];
        if here.life != life || here.preparing.as_ref().is_none_or(|start| start.number != number) {
            return;
        }
        if now < here.frozen_until {
            let at = here.frozen_until;
            return self.queue.push(at, Item::Prepared { host, life, number });
        }
        let (Some(start), Some(clock)) = (here.preparing.take(), here.clock) else { return };
        if start.cancelled {
            let why = "neard was to stop before it was started";
            return self.tell(host, life, Event::NeardExited(why.to_owned()));
        }
        if start.deadline.is_some_and(|deadline| clock.read(now) >= deadline) {
            self.say(host, || "the guard starts no neard: its deadline has passed".to_owned());
            return self.tell(host, life, Event::NeardExited("never started".to_owned()));
        }
        let keyed = start.role != Role::Standby;
        let (least, most) = self.setup.start;
        let up_at = now + self.random.within(least, most);
        let synced_at = up_at + self.random.below(self.setup.sync);
        let handles_signals_at = up_at + self.random.below(900 * MS);
        let here = &mut self.hosts[host];
        here.neard = Some(Neard {
            number,
            keyed,
            dead: false,
            up_at,
            synced_at,
            deadline: start.deadline,
            looks_at: u64::MAX,
            guard_frozen_until: 0,
            frozen: (0, 0),
            handles_signals_at,
            reads_until: 0,
            applies_at: 0,
            orphan: None,
            kneard_gone: false,
            asked_to_kill: false,
            first_head: here.disk_head,
            signs: false,
            signs_from: 0,
        });
        let crashes = now < here.crash_loop_until;
        if crashes {
            let at = now + self.random.below(2 * SECOND);
            self.queue.push(at, Item::NeardEnds { host, number });
        }
        if keyed {
            self.say(host, || format!("neard {number} starts with the validator key"));
            self.key_loaded(host);
            self.queue.push(synced_at, Item::SignsFirst { host, number });
        } else {
            self.say(host, || format!("neard {number} starts"));
        }
        self.guard_waits(host);
        self.tell(host, life, Event::NeardStarted);
    }

    pub(super) fn arm(&mut self, host: usize, deadline: Time) {
        let here = &mut self.hosts[host];
        if let Some(start) = &mut here.preparing {
            start.deadline = Some(deadline);
        }
        if let Some(neard) = &mut here.neard {
            neard.deadline = Some(deadline);
            self.guard_waits(host);
        }
    }

    pub(super) fn disarm(&mut self, host: usize) {
        if let Some(neard) = &mut self.hosts[host].neard {
            neard.deadline = None;
        }
    }

    /// Plans the guard's next look at its deadline, unless an earlier one is planned.
    fn guard_waits(&mut self, host: usize) {
        let here = &mut self.hosts[host];
        let (Some(clock), Some(neard)) = (here.clock, &mut here.neard) else { return };
        let Some(deadline) = neard.deadline else { return };
        let at = clock.instant(deadline).max(self.now);
        if at < neard.looks_at {
            neard.looks_at = at;
            let number = neard.number;
            self.queue.push(at, Item::GuardLooks { host, number });
        }
    }

    pub(super) fn neard(&mut self, host: usize, number: u64) -> Option<&mut Neard> {
        self.hosts[host].neard.as_mut().filter(|neard| neard.number == number)
    }

    pub(super) fn guard_looks(&mut self, host: usize, number: u64) {
        let (now, clock) = (self.now, self.hosts[host].clock);
        let (Some(neard), Some(clock)) = (self.neard(host, number), clock) else { return };
        neard.looks_at = u64::MAX;
        if neard.dead {
            return;
        }
        if now < neard.guard_frozen_until {
            let at = neard.guard_frozen_until;
            neard.looks_at = at;
            return self.queue.push(at, Item::GuardLooks { host, number });
        }
        if neard.deadline.is_none_or(|deadline| clock.read(now) < deadline) {
            return self.guard_waits(host);
        }
        // The kernel wakes it late; then it reads first what kneard has sent meanwhile.
        let most = self.setup.kill_late - self.setup.reap;
        let late = if self.setup.sharp { most } else { self.random.below(most) };
        self.queue.push(now + late, Item::GuardKills { host, number });
    }

    pub(super) fn guard_kills(&mut self, host: usize, number: u64) {
        let (now, clock) = (self.now, self.hosts[host].clock);
        let (Some(neard), Some(clock)) = (self.neard(host, number), clock) else { return };
        if neard.dead {
            return;
        }
        if now < neard.guard_frozen_until {
            let at = neard.guard_frozen_until;
            return self.queue.push(at, Item::GuardKills { host, number });
        }
        if neard.deadline.is_some_and(|deadline| clock.read(now) < deadline) {
            return self.guard_waits(host);
        }
        self.say(host, || format!("the guard kills neard {number} at its deadline"));
        self.sigkill(host);
    }

    /// SIGKILL, which takes a moment.
    fn sigkill(&mut self, host: usize) {
        let at = self.now + self.random.below(self.setup.reap);
        if let Some(neard) = &self.hosts[host].neard {
            let number = neard.number;
            self.queue.push(at, Item::NeardEnds { host, number });
        }
    }

    /// The process is no more.
    pub(super) fn neard_ends(&mut self, host: usize, number: u64) {
        let now = self.now;
        let head = self.head(host).0;
        let Some(neard) = self.neard(host, number).filter(|neard| !neard.dead) else { return };
        neard.dead = true;
        let (keyed, signed) = (neard.keyed, neard.signs);
        let frozen = neard.guard_frozen_until;
        let asked = neard.asked_to_kill;
        self.hosts[host].disk_head = head;
        if keyed {
            self.say(host, || format!("neard {number} is dead, and the key with it"));
            self.key_gone(host, number, signed.then_some(head));
        } else {
            self.say(host, || format!("neard {number} is dead"));
        }
        let at = match (now < frozen, asked) {
            (false, _) => now + self.random.below(2 * MS),
            // kneard ends the guard and looks for itself.
            (true, true) => now + REPORT_GRACE,
            (true, false) => frozen,
        };
        self.queue.push(at, Item::Reaped { host, number });
    }

    /// The guard has seen the end, or kneard has after the guard's.
    pub(super) fn reaped(&mut self, host: usize, number: u64) {
        let now = self.now;
        let Some(neard) = self.neard(host, number) else { return };
        if now < neard.guard_frozen_until && !neard.asked_to_kill {
            let at = neard.guard_frozen_until;
            return self.queue.push(at, Item::Reaped { host, number });
        }
        let Some(neard) = self.hosts[host].neard.take() else { return };
        if let Some((instance, session)) = neard.orphan {
            self.release_starts(host, instance, session);
        }
        if !neard.kneard_gone {
            let life = self.hosts[host].life;
            self.tell(host, life, Event::NeardExited("it ended".to_owned()));
        }
    }

    /// kneard is dead: the guard kills neard and will then release the lock.
    pub(super) fn orphan(&mut self, host: usize, instance: InstanceId, session: Option<SessionId>) {
        let now = self.now;
        if self.hosts[host].neard.is_some() && self.has(Mutant::CrashReleaseWithoutProof) {
            self.release_starts(host, instance.clone(), session.clone());
        }
        let Some(neard) = &mut self.hosts[host].neard else { return };
        neard.orphan = Some((instance, session));
        neard.kneard_gone = true;
        let at = neard.guard_frozen_until.max(now) + 20 * MS;
        let number = neard.number;
        let at = at + self.random.below(self.setup.reap);
        self.queue.push(at, Item::NeardEnds { host, number });
    }

    /// The guard dies, and by the kernel's hand neard with it. kneard sees to it.
    pub(super) fn guard_dies(&mut self, host: usize) {
        if let Some(neard) = &mut self.hosts[host].neard {
            neard.guard_frozen_until = 0;
            neard.orphan = None;
            let number = neard.number;
            self.neard_ends(host, number);
        }
    }

    pub(super) fn terminate(&mut self, host: usize) {
        let here = &mut self.hosts[host];
        if let Some(start) = &mut here.preparing {
            start.cancelled = true;
        }
        // The guard is what hands SIGTERM on.
        let Some(neard) = &here.neard else { return };
        let hangs = self.random.one_in(20) && !self.setup.sharp;
        let length = if hangs { 60 * SECOND } else { self.random.below(self.setup.stop) };
        let number = neard.number;
        let at = self.now.max(neard.guard_frozen_until).max(neard.frozen.1) + length;
        self.queue.push(at, Item::NeardEnds { host, number });
    }

    /// kneard kills neard, through the guard and without it.
    pub(super) fn kill_asked(&mut self, host: usize) {
        let here = &mut self.hosts[host];
        if let Some(start) = &mut here.preparing {
            start.cancelled = true;
        }
        let Some(neard) = &mut here.neard else { return };
        neard.asked_to_kill = true;
        let (number, dead) = (neard.number, neard.dead);
        if dead {
            let at = self.now + REPORT_GRACE;
            self.queue.push(at, Item::Reaped { host, number });
        } else {
            self.sigkill(host);
        }
    }

    pub(super) fn freeze_guard(&mut self, host: usize, until: u64) {
        let life = self.hosts[host].life;
        let first_ping = self.random.below(PING_INTERVAL);
        let Some(neard) = &mut self.hosts[host].neard else { return };
        neard.guard_frozen_until = until;
        let number = neard.number;
        // An answer to the armed deadline may be open already, which the first ping counts.
        let owed = if neard.keyed { 1 } else { 2 };
        let at = self.now + first_ping + owed * PING_INTERVAL;
        self.queue.push(at, Item::MissesGuard { host, life, number });
    }

    pub(super) fn misses_guard(&mut self, host: usize, life: u64, number: u64) {
        let (now, frozen) = (self.now, self.hosts[host].frozen_until);
        if now < frozen {
            return self.queue.push(frozen, Item::MissesGuard { host, life, number });
        }
        let Some(neard) = self.neard(host, number) else { return };
        if now < neard.guard_frozen_until {
            self.tell(host, life, Event::GuardSilent);
        }
    }

    pub(super) fn freeze_neard(&mut self, host: usize, until: u64) {
        let now = self.now;
        if let Some(neard) = &mut self.hosts[host].neard
            && neard.frozen.1 <= now
        {
            neard.frozen = (now, until);
        }
    }

    pub(super) fn ask_status(&mut self, host: usize, id: u64) {
        let here = &self.hosts[host];
        let life = here.life;
        let (number, wait) = match &here.neard {
            None => (0, 0),
            Some(neard) if self.now < neard.frozen.1 => (neard.number, STATUS_LIMIT),
            Some(neard) => (neard.number, MS + self.random.below(20 * MS)),
        };
        self.queue.push(self.now + wait, Item::Status { host, life, number, id });
    }

    pub(super) fn status(&mut self, host: usize, life: u64, number: u64, id: u64) {
        let (now, here) = (self.now, &self.hosts[host]);
        let neard = here.neard.as_ref().filter(|neard| {
            neard.number == number
                && !neard.dead
                && now >= neard.up_at
                && now >= neard.frozen.1
                && now >= here.status_fails_until
        });
        let key = neard.map(|neard| if neard.keyed { SignKey::Ours } else { SignKey::None });
        let result = match key {
            None => Err("no answer".to_owned()),
            Some(key) => {
                let (head, syncing) = self.head(host);
                Ok(NeardStatus { syncing, head, key, made_up_to: self.made_up_to(head) })
            }
        };
        self.tell(host, life, Event::Status { id, result });
    }

    /// The head of a host's neard, and whether it says that it is syncing.
    pub(super) fn head(&self, host: usize) -> (u64, bool) {
        let (now, here) = (self.now, &self.hosts[host]);
        let Some(neard) = &here.neard else { return (here.disk_head, true) };
        if now < neard.synced_at {
            return (neard.first_head, true);
        }
        // A stopped process takes no block in.
        let now = if now < neard.frozen.1 { neard.frozen.0 } else { now };
        let lag = self.block_delays[host];
        let height = |at: u64| self.chain.height(at.saturating_sub(lag));
        let newest = height(now);
        let head = match here.chain_cut {
            Some((from, until)) if now > from => {
                let missed_from = height(from);
                let caught_up = now.saturating_sub(until) / CATCH_UP;
                newest.min(missed_from + caught_up)
            }
            _ => newest,
        };
        let head = head.max(neard.first_head);
        let syncing = newest > head || now < here.out_of_sync_until;
        (head, syncing)
    }

    /// What the account has signed, as the chain counts it.
    pub(super) fn duties(&self) -> Duties {
        let now: u64 = (0..self.hosts.len())
            .filter_map(|host| {
                let neard = self.hosts[host].neard.as_ref().filter(|neard| neard.signs)?;
                Some(self.head(host).0.saturating_sub(neard.signs_from))
            })
            .sum();
        Duties { epoch: self.chain.height(self.now) / EPOCH, signed: self.signed_blocks + now }
    }

    pub(super) fn signs_first(&mut self, host: usize, number: u64) {
        let (head, syncing) = self.head(host);
        let Some(neard) = self.neard(host, number).filter(|neard| neard.keyed && !neard.dead)
        else {
            return;
        };
        if syncing {
            return self.queue.push(self.now + LOOKS_AGAIN, Item::SignsFirst { host, number });
        }
        neard.signs = true;
        neard.signs_from = head;
        self.signs_from(host, number, head);
    }
}
