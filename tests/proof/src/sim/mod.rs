//! Hours of a few hosts over one Consul, in virtual time: drifting clocks, a bad network, crashes,
//! guards that kill late, operators' mistakes. Everything follows from a seed.
//!
//! Each host runs the production election ([`kneard::election::Machine`]), speaks to the production
//! model of Consul ([`kneard::consul::model`]) in the production translation
//! ([`kneard::supervisor::election_key`]). The rest (network, client, guard, neard, chain) is
//! modelled here.

mod chain;
mod check;
mod clock;
mod cluster;
mod director;
mod faults;
mod host;
mod neard;
mod network;
mod queue;
mod random;
mod release;
mod setup;
mod stats;
mod swap;
mod trace;
mod watch;

use std::rc::Rc;

use kneard::consul::SessionId;
use kneard::consul::model::{Answer, Op};
use kneard::election::{Event, Mutant, Seen};

use chain::Chain;
use check::Signed;
use cluster::Cluster;
use director::{Director, Phase};
use host::Host;
use network::{Call, Reply, Request};
use queue::Queue;
use random::{Random, mix};
use setup::Setup;

pub use faults::Fault;
pub use stats::{Stats, Times};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
pub const HOUR: u64 = 3_600 * SECOND;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// As many as the seed says, if not given.
    pub hosts: Option<usize>,
    pub hours: f64,
    /// Nothing goes wrong.
    pub quiet: bool,
    /// A rule of the protocol that is broken on purpose.
    pub mutant: Option<Mutant>,
}

impl Default for Options {
    fn default() -> Self {
        Options { hosts: None, hours: 1.0, quiet: false, mutant: None }
    }
}

/// Something that must hold did not.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    pub options: Options,
    pub at_ms: u64,
    pub what: String,
    /// What happened, in words, the newest last.
    pub timeline: Vec<String>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 150;
        let left_out = self.timeline.len().saturating_sub(SHOWN);
        for line in &self.timeline[left_out..] {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}, {} ms: {}", self.seed, self.at_ms, self.what)?;
        let hosts = self.options.hosts.map(|hosts| format!(" --hosts {hosts}")).unwrap_or_default();
        let quiet = if self.options.quiet { " --quiet" } else { "" };
        let mutant = self.options.mutant;
        let mutant = mutant.map(|mutant| format!(" --mutant {mutant}")).unwrap_or_default();
        write!(
            f,
            "replay: cargo run --release -p kneard-proof --bin simulate -- --from {} --seeds 1 \
             --hours {}{hosts}{quiet}{mutant} --trace",
            self.seed, self.options.hours
        )
    }
}

/// Simulates one seed.
///
/// # Errors
/// What does not hold, with the whole timeline.
pub fn run(seed: u64, options: &Options) -> Result<Stats, Box<Violation>> {
    let mut world = World::new(seed, options, false);
    world.run();
    if world.violation.is_none() {
        return Ok(world.stats);
    }
    // The same again, this time telling.
    let (violation, timeline) = trace(seed, options);
    let (at, what) = violation.unwrap_or((0, "it did not happen again: a bug here".to_owned()));
    Err(Box::new(Violation { seed, options: options.clone(), at_ms: at / MS, what, timeline }))
}

/// What happens in a seed, in words; and what did not hold, since when.
pub fn trace(seed: u64, options: &Options) -> (Option<(u64, String)>, Vec<String>) {
    let mut world = World::new(seed, options, true);
    world.run();
    (world.violation, world.trace.unwrap_or_default())
}

enum Item {
    Boot { host: usize },
    Tick { host: usize, life: u64, number: u64 },
    Tell { host: usize, life: u64, event: Box<Event> },
    PublishAgain { host: usize, life: u64 },
    Arrive { host: usize, request: Rc<Request>, answer_to: Option<(usize, u64)> },
    Reply { slot: usize, number: u64, reply: Reply },
    NotSent { slot: usize, number: u64 },
    GiveUp { slot: usize, number: u64 },
    QueryArrives { host: usize, query: u64 },
    QueryAnswered { host: usize, query: u64, index: u64, seen: Rc<Seen> },
    QueryFails { host: usize, query: u64 },
    QueryEnds { host: usize },
    SessionTimer { id: SessionId },
    LeaderElected,
    Prepared { host: usize, life: u64, number: u64 },
    GuardLooks { host: usize, number: u64 },
    GuardKills { host: usize, number: u64 },
    MissesGuard { host: usize, life: u64, number: u64 },
    NeardEnds { host: usize, number: u64 },
    Reaped { host: usize, number: u64 },
    Status { host: usize, life: u64, number: u64, id: u64 },
    Duties { host: usize, life: u64 },
    SwapArmed { host: usize, life: u64, number: u64 },
    KeyMoved { host: usize, life: u64, number: u64, insert: bool },
    Hangup { host: usize, number: u64 },
    ReloadRead { host: usize, number: u64 },
    ReloadApplied { host: usize, number: u64, key: bool },
    SignsFirst { host: usize, number: u64 },
    Release { host: usize, number: u64 },
    PhaseEnds { number: u64 },
    Squall { number: u64, pace: u64 },
}

struct World<'a> {
    options: &'a Options,
    now: u64,
    queue: Queue<Item>,
    random: Random,
    setup: Setup,
    cluster: Cluster,
    hosts: Vec<Host>,
    chain: Chain,
    /// How long a block takes to each host.
    block_delays: Vec<u64>,
    calls: Vec<Option<Call>>,
    director: Director,
    /// The leader that is missing fails no more than the promise about it allows for.
    gentle: bool,
    calls_made: u64,
    neards: u64,
    releases: u64,
    swaps: u64,
    /// What the account has signed, but for the neard that signs now.
    signed_blocks: u64,
    events: u64,
    /// Who signed last, and when the last neard with the key ended.
    signed: Option<Signed>,
    key_ended: Option<u64>,
    last_term: u64,
    old_records: Vec<(u64, Vec<u8>)>,
    restored_until: u64,
    hash: u64,
    stats: Stats,
    violation: Option<(u64, String)>,
    trace: Option<Vec<String>>,
    /// What the timeline said of the entry last.
    last_entry: String,
}

impl<'a> World<'a> {
    fn new(seed: u64, options: &'a Options, traced: bool) -> Self {
        let mut random = Random::new(mix(seed ^ 0x6b6e_6561_7264));
        let setup = Setup::new(options, &mut random);
        let mut world = World {
            options,
            now: 0,
            queue: Queue::new(),
            cluster: Cluster::new(seed),
            hosts: (0..setup.hosts).map(|_| Host::default()).collect(),
            chain: Chain::default(),
            block_delays: Vec::new(),
            calls: Vec::new(),
            director: Director::new(),
            gentle: false,
            calls_made: 0,
            neards: 0,
            releases: 0,
            swaps: 0,
            signed_blocks: 0,
            events: 0,
            signed: None,
            key_ended: None,
            last_term: 0,
            old_records: Vec::new(),
            restored_until: 0,
            hash: seed,
            stats: Stats::default(),
            violation: None,
            trace: traced.then(Vec::new),
            last_entry: String::new(),
            setup,
            random,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        for host in 0..self.hosts.len() {
            let delay = self.random.below(self.setup.block_delay) + 1;
            self.block_delays.push(delay);
            // Some time has passed since the machine was made.
            self.hosts[host].disk_head = self.chain.height(0);
            self.hosts[host].down_after_stop = 2 * SECOND;
            self.hosts[host].cannot_swap = self.random.one_in(12);
            let at = self.random.below(5 * SECOND);
            self.queue.push(at, Item::Boot { host });
        }
        self.describe();
        let length = self.recovery() + 5 * SECOND;
        self.enter(Phase::Recovery, length);
    }

    fn run(&mut self) {
        let end = (self.options.hours * HOUR as f64) as u64;
        while let Some((at, item)) = self.queue.pop() {
            if at > end || self.violation.is_some() {
                break;
            }
            debug_assert!(at >= self.now, "time runs forward");
            self.now = at;
            self.hash(at);
            self.handle(item);
        }
        self.stats.seeds = 1;
        self.stats.nanos = self.now;
        self.stats.events = self.events;
        self.stats.hash = mix(self.hash ^ self.random.next());
    }

    fn has(&self, mutant: Mutant) -> bool {
        self.options.mutant == Some(mutant)
    }

    fn hash(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// The leader does something; who watches is told.
    fn apply(&mut self, op: Op) -> Answer {
        let (answer, changed) = self.cluster.apply(self.now, op);
        if changed {
            self.say_entry();
            self.wake_waiters(false);
        }
        answer
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Boot { host } => self.boot(host),
            Item::Tick { host, life, number } => self.tick(host, life, number),
            Item::Tell { host, life, event } => self.tell(host, life, *event),
            Item::PublishAgain { host, life } => self.publish_again(host, life),
            Item::Arrive { host, request, answer_to } => self.arrive(host, request, answer_to),
            Item::Reply { slot, number, reply } => self.replied(slot, number, reply),
            Item::NotSent { slot, number } => self.not_sent(slot, number),
            Item::GiveUp { slot, number } => self.given_up(slot, number),
            Item::QueryArrives { host, query } => self.query_arrives(host, query),
            Item::QueryAnswered { host, query, index, seen } => {
                self.query_answered(host, query, index, seen);
            }
            Item::QueryFails { host, query } => self.query_fails(host, query),
            Item::QueryEnds { host } => self.query_ends(host),
            Item::SessionTimer { id } => self.session_timer(id),
            Item::LeaderElected => self.leader_elected(),
            Item::Prepared { host, life, number } => self.prepared(host, life, number),
            Item::GuardLooks { host, number } => self.guard_looks(host, number),
            Item::GuardKills { host, number } => self.guard_kills(host, number),
            Item::MissesGuard { host, life, number } => self.misses_guard(host, life, number),
            Item::NeardEnds { host, number } => self.neard_ends(host, number),
            Item::Reaped { host, number } => self.reaped(host, number),
            Item::Status { host, life, number, id } => self.status(host, life, number, id),
            Item::Duties { host, life } => self.tell_duties(host, life),
            Item::SwapArmed { host, life, number } => self.swap_armed(host, life, number),
            Item::KeyMoved { host, life, number, insert } => {
                self.key_moved(host, life, number, insert);
            }
            Item::Hangup { host, number } => self.hangup(host, number),
            Item::ReloadRead { host, number } => self.reload_read(host, number),
            Item::ReloadApplied { host, number, key } => self.reload_applied(host, number, key),
            Item::SignsFirst { host, number } => self.signs_first(host, number),
            Item::Release { host, number } => self.release(host, number),
            Item::PhaseEnds { number } => self.phase_ends(number),
            Item::Squall { number, pace } => self.squall(number, pace),
        }
    }
}
