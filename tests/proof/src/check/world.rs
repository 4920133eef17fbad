//! The state of a small world: hosts, Consul, what is on its way between them, and the time.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use kneard::consul::KvEntry;
use kneard::consul::model::Model;
use kneard::election::{Event, InstanceId, Machine, SessionId, State, Step, Time, Write};

use super::config::{Config, FAST_TICK, Kind, TICK, host_name};

/// Where every host's clock starts; only differences matter.
const CLOCK_START: Duration = Duration::from_secs(1_000);

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Broken {
    /// Both hosts have a neard that may sign.
    TwoSigners(usize, usize),
    /// This host signs for a height at or below the head that a release told.
    BelowReleasedHead { host: usize, height: u64, head: u64 },
    /// This host signs for a height that another one has signed for.
    SignedTwice { host: usize, height: u64 },
}

/// A request on the election key, under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    pub id: u64,
    /// `None`: a read.
    pub write: Option<Write>,
    pub sent: u32,
    /// It or its answer takes longer than usual.
    pub held: bool,
    /// The answer, once Consul has given one.
    pub answer: Option<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dying {
    No,
    /// SIGTERM: it takes its time.
    Stopping,
    /// SIGKILL, at this tick.
    Killed(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Neard {
    /// It has the key in its memory: it may sign.
    pub keyed: bool,
    /// The key is in its home, for the next reload.
    pub key_at_home: bool,
    /// It was told to reload and has not done so yet.
    pub reloads: bool,
    /// It takes its time over that, perhaps for ever.
    pub reloads_slowly: bool,
    /// The guard's deadline, by the host's clock.
    pub kill_at: Option<Time>,
    pub dying: Dying,
    pub started: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    No,
    Both,
    /// Requests arrive, answers do not.
    Answers,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    pub fast: bool,
    pub machine: Option<Machine>,
    /// Counts kneard's runs.
    pub life: u8,
    pub neard: Option<Neard>,
    /// neard's death that a frozen kneard has not been told of.
    pub exit_untold: bool,
    pub frozen: bool,
    pub cut: Cut,
    /// One block behind until it catches up, which it does within the tick.
    pub behind: bool,
    /// It will be behind when the next block comes.
    pub lags: bool,
    pub request: Option<Request>,
    pub watching: bool,
    /// The index that the watch has shown last.
    pub shown: Option<u64>,
    /// The ModifyIndex that it has seen last, and since when.
    pub first_sight: Option<(u64, u32)>,
    /// A sight that is held up on its way.
    pub held_sight: Option<(u64, Option<KvEntry>)>,
    /// What the guard of a dead kneard may release.
    pub left_behind: Option<(InstanceId, SessionId)>,
    /// Ticks by which the wall clock was stepped back.
    pub stepped_back: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Consul {
    pub model: Model,
    pub has_leader: bool,
    /// The key before its last change, as a server that lags still shows it.
    pub older: Option<(u64, Option<KvEntry>)>,
}

/// A copy of a request that is still on its way, whose sender awaits no answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Late {
    pub host: usize,
    pub write: Write,
}

#[derive(Debug, Clone)]
pub struct World {
    pub tick: u32,
    /// Faults so far.
    pub used: u8,
    pub consul: Arc<Consul>,
    pub hosts: Vec<Arc<Host>>,
    pub late: Vec<Late>,
    /// The highest head that a release has told exactly, and by whom.
    pub released: Option<(u64, usize)>,
    /// The highest height signed for, and by whom.
    pub signed: Option<(u64, usize)>,
    pub broken: Option<Broken>,
    /// What the last move did, for the properties of the kind "sometimes". Not part of the state.
    pub happened: u32,
    /// Filled when a trace is told. Not part of the state.
    pub story: Option<Vec<String>>,
}

/// What every clock shows at the beginning.
pub fn clock_start() -> Time {
    Time::default() + CLOCK_START
}

/// Bits of [`World::happened`].
pub mod happened {
    pub const STOLEN: u32 = 1;
    pub const ACQUIRED: u32 = 1 << 1;
    pub const RELEASED: u32 = 1 << 2;
    pub const CRASH_RELEASED: u32 = 1 << 3;
    pub const GUARD_KILLED: u32 = 1 << 4;
    pub const CONFLICT: u32 = 1 << 5;
    pub const LOCK_LOST: u32 = 1 << 6;
    pub const LOCK_DELAY: u32 = 1 << 7;
    pub const LATE_COMMITTED: u32 = 1 << 8;
    pub const CREATED: u32 = 1 << 9;
    pub const GAVE_UP: u32 = 1 << 10;
    pub const EXITED: u32 = 1 << 11;
    pub const FOUND_OWN_CLAIM: u32 = 1 << 12;
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.tick == other.tick
            && self.used == other.used
            && self.consul == other.consul
            && self.hosts == other.hosts
            && self.late == other.late
            && self.released == other.released
            && self.signed == other.signed
            && self.broken == other.broken
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tick.hash(state);
        self.used.hash(state);
        self.consul.hash(state);
        self.hosts.hash(state);
        self.late.hash(state);
        self.released.hash(state);
        self.signed.hash(state);
        self.broken.hash(state);
    }
}

impl World {
    /// Nothing has run yet.
    pub fn new(config: &Config, clocks: &[bool]) -> Self {
        let consul = Consul { model: Model::new("consul", 0), has_leader: true, older: None };
        let hosts = clocks.iter().map(|fast| Arc::new(Host::new(*fast))).collect();
        let mut world = World {
            tick: 0,
            used: 0,
            consul: Arc::new(consul),
            hosts,
            late: Vec::new(),
            released: None,
            signed: None,
            broken: None,
            happened: 0,
            story: None,
        };
        for host in 0..world.hosts.len() {
            world.boot(config, host);
        }
        world
    }

    pub fn host(&mut self, host: usize) -> &mut Host {
        Arc::make_mut(&mut self.hosts[host])
    }

    pub fn clock(&self, host: usize) -> Time {
        let here = &self.hosts[host];
        let tick = if here.fast { FAST_TICK } else { TICK };
        Time::default() + CLOCK_START + tick * self.tick.saturating_sub(here.stepped_back)
    }

    /// Consul's own time.
    pub fn consul_time(&self) -> Duration {
        TICK * self.tick
    }

    pub fn may(&self, config: &Config, kind: Kind) -> bool {
        config.kinds.contains(&kind) && self.used < config.faults
    }

    /// The chain's height: one block a tick.
    pub fn height(&self) -> u64 {
        100 + u64::from(self.tick)
    }

    pub fn head(&self, host: usize) -> u64 {
        self.height() - u64::from(self.hosts[host].behind)
    }

    /// A host whose machine is active, with a neard that has the key.
    pub fn active(&self) -> Option<usize> {
        (0..self.hosts.len()).find(|host| {
            let host = &self.hosts[*host];
            let keyed = host.neard.as_ref().is_some_and(|neard| neard.keyed);
            let step = host.machine.as_ref().and_then(Machine::step);
            keyed && step == Some(&Step::Active) && !host.frozen && host.cut == Cut::No
        })
    }

    pub fn any_in(&self, state: State) -> bool {
        self.hosts
            .iter()
            .filter_map(|host| host.machine.as_ref())
            .any(|machine| machine.state() == state)
    }

    /// Looks for two signers.
    pub fn look(&mut self) {
        let mut keyed = self.hosts.iter().enumerate().filter_map(|(number, host)| {
            host.neard.as_ref().is_some_and(|neard| neard.keyed).then_some(number)
        });
        if let (Some(one), Some(other)) = (keyed.next(), keyed.next()) {
            self.broken.get_or_insert(Broken::TwoSigners(one, other));
        }
    }

    /// This host's neard has processed its head: with the key it signs for that height.
    pub fn sign(&mut self, host: usize) {
        if !self.hosts[host].neard.as_ref().is_some_and(|neard| neard.keyed) {
            return;
        }
        let height = self.head(host);
        if let Some((head, by)) = self.released
            && by != host
            && height <= head
        {
            self.broken.get_or_insert(Broken::BelowReleasedHead { host, height, head });
        }
        if let Some((highest, by)) = self.signed
            && by != host
            && height <= highest
        {
            self.broken.get_or_insert(Broken::SignedTwice { host, height });
        }
        if self.signed.is_none_or(|(highest, _)| highest < height) {
            self.signed = Some((height, host));
        }
    }

    pub fn tell_story(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(text());
        }
    }
}

impl Host {
    fn new(fast: bool) -> Self {
        Host {
            fast,
            machine: None,
            life: 0,
            neard: None,
            exit_untold: false,
            frozen: false,
            cut: Cut::No,
            behind: false,
            lags: false,
            request: None,
            watching: false,
            shown: None,
            first_sight: None,
            held_sight: None,
            left_behind: None,
            stepped_back: 0,
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::TwoSigners(one, other) => {
                write!(f, "two signers: {} and {}", host_name(*one), host_name(*other))
            }
            Broken::BelowReleasedHead { host, height, head } => write!(
                f,
                "{} signs at {height}, at or below the head {head} that its predecessor released",
                host_name(*host)
            ),
            Broken::SignedTwice { host, height } => {
                write!(f, "{} signs at {height}, where another has signed", host_name(*host))
            }
        }
    }
}
