//! What is explored: how many hosts, for how long, and which faults how often.

use std::time::Duration;

use kneard::election::{InstanceId, Mutant, Promotion, Settings};

/// One step of the model's time by a slow host's clock. A fast host's clock shows 1 % more.
pub const TICK: Duration = Duration::from_millis(1_000);
/// By the fast clock; the ratio is 1 + ρ.
pub const FAST_TICK: Duration = Duration::from_millis(1_010);
/// Not a whole number of ticks, so that leaving out ρ makes a difference of one: a slow host's
/// lease ends between the third tick and the fourth, and so does a fast host's wait for it; its
/// wait without ρ ends at the third.
pub const LEASE: Duration = Duration::from_millis(3_030);
/// A whole tick: a kill that is a tick late must matter.
pub const KILL_MARGIN: Duration = Duration::from_millis(1_000);

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// One message is held up, doubled or stale.
    Net,
    /// A host loses Consul until that heals, in both directions or for the answers only.
    Cut,
    /// kneard is stopped (its guard is not) until it is continued.
    Freeze,
    /// kneard dies; its guard kills neard and may release the lock.
    Crash,
    /// A session ends.
    Session,
    /// An operator deletes the election key.
    Delete,
    /// Consul has no leader for a while.
    Leader,
    /// SIGTERM to kneard, or a switchover.
    Stop,
    /// neard dies by itself, or takes its time to reload the key.
    Neard,
    /// A host is one block behind.
    Lag,
    /// An operator writes the last record but one again.
    Damage,
    /// The wall clock is stepped back; only the mutant that runs by it notices.
    Clock,
}

impl Kind {
    /// All but the last, which needs a mutant.
    pub const ALL: [Kind; 11] = [
        Kind::Net,
        Kind::Cut,
        Kind::Freeze,
        Kind::Crash,
        Kind::Session,
        Kind::Delete,
        Kind::Leader,
        Kind::Stop,
        Kind::Neard,
        Kind::Lag,
        Kind::Damage,
    ];
}

/// What has happened when the exploration begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Every kneard has just been started; the election key does not exist.
    Cold,
    /// The first host holds the key, all others stand by.
    Held,
}

/// One exploration.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub nodes: usize,
    pub start: Start,
    /// Which hosts have the fast clock, once per initial state.
    pub clocks: Vec<Vec<bool>>,
    /// Ticks that are explored after the start.
    pub horizon: u32,
    /// Faults in one run, of any kinds together.
    pub faults: u8,
    /// Which kinds.
    pub kinds: Vec<Kind>,
    /// Each host's lease.
    pub leases: Vec<Duration>,
    pub promotion: Promotion,
    pub mutant: Option<Mutant>,
    /// Whether Consul has lock delays. Nothing may depend on them.
    pub lock_delay: bool,
    /// Whether at every run's end a standby must be able to take over in time.
    pub prompt: bool,
    /// Whether every run's end must recover to a signer once the faults stop.
    pub recovery: bool,
}

impl Config {
    pub fn new(name: &str, nodes: usize, start: Start, horizon: u32, faults: u8) -> Self {
        Config {
            name: name.to_owned(),
            nodes,
            start,
            clocks: vec![(0..nodes).map(|host| host != 0).collect()],
            horizon,
            faults,
            kinds: Kind::ALL.to_vec(),
            leases: vec![LEASE; nodes],
            promotion: Promotion::Restart,
            mutant: None,
            lock_delay: true,
            prompt: false,
            recovery: true,
        }
    }

    /// Only these kinds of faults.
    #[must_use]
    pub fn only(mut self, kinds: &[Kind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Sessions end without one, as if Consul had none.
    #[must_use]
    pub fn without_lock_delay(mut self) -> Self {
        self.lock_delay = false;
        self.prompt = true;
        self
    }

    /// neard is given the key while it runs.
    #[must_use]
    pub fn hot_swap(mut self) -> Self {
        self.promotion = Promotion::HotSwap;
        self
    }

    /// The settings of one run of kneard on a host.
    pub fn settings(&self, host: usize, life: u8) -> Settings {
        let name = host_name(host);
        let instance = InstanceId(format!("{name}{life}"));
        let mut settings = Settings::new(name, instance, name);
        settings.lease = self.leases[host];
        settings.kill_margin = KILL_MARGIN;
        settings.propagation_delay = Duration::from_millis(400);
        settings.promotion = self.promotion;
        settings.mutant = self.mutant;
        settings
    }

    /// For traces and reports.
    pub fn describe(&self) -> String {
        let kinds: Vec<String> =
            self.kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        format!(
            "{} nodes, {:?}, {:?} start, {} ticks of {} ms, lease {} ms, {} lock delay, up to {} faults of: {}",
            self.nodes,
            self.promotion,
            self.start,
            self.horizon,
            TICK.as_millis(),
            self.leases[0].as_millis(),
            if self.lock_delay { "a" } else { "no" },
            self.faults,
            kinds.join(", "),
        )
    }
}

/// A, B, C.
pub fn host_name(host: usize) -> &'static str {
    ["A", "B", "C", "D"].get(host).copied().unwrap_or("?")
}
