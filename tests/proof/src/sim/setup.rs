//! What a seed sets up: how many hosts, their settings, and how fast everything is.

use std::time::Duration;

use kneard::election::{InstanceId, Promotion, Settings, with_drift};

use super::random::Random;
use super::{MS, Options, SECOND};

/// The same in all of a seed's run.
pub struct Setup {
    pub hosts: usize,
    settings: Vec<Settings>,
    /// Consul addresses that each kneard knows: its own agent's, and a server's.
    pub addresses: usize,
    /// The longest way of a message to Consul or back, as long as nothing is wrong.
    pub delay: u64,
    /// How far a follower of Consul's leader is behind, as long as nothing is wrong.
    pub follower_lag: u64,
    /// A neard's start until it answers: at least, at most.
    pub start: (u64, u64),
    /// From its first answer until it is in sync, at most.
    pub sync: u64,
    /// A neard's stop after SIGTERM, at most, unless it hangs.
    pub stop: u64,
    /// Until a block has reached every host that is connected, at most.
    pub block_delay: u64,
    /// From the guard's deadline until neard is dead, at most.
    pub kill_late: u64,
    /// Until a killed process is reaped, at most.
    pub reap: u64,
    /// Guards are as late as they may be and all else is as quick as it can be: then every wait of
    /// the protocol counts to the millisecond.
    pub sharp: bool,
    pub faster: Vec<u64>,
    pub intensity: Intensity,
}

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intensity {
    Quiet,
    Single,
    Mixed,
    Storms,
}

impl Setup {
    pub fn new(options: &Options, random: &mut Random) -> Self {
        let hosts = match options.hosts {
            Some(hosts) => hosts,
            None => random.pick(&[2, 2, 2, 3, 3, 3, 3, 4, 4, 5]),
        };
        let margin = random.pick(&[500, 500, 500, 500, 600, 1_000]) * MS;
        let lease = random.pick(&[3, 4, 5, 7, 7, 7, 7, 8, 10, 20]) * SECOND;
        let lease = lease.max(4 * margin + SECOND);
        let several_leases = random.one_in(8);
        let same_names = random.one_in(12);
        let promotion = if random.one_in(2) { Promotion::HotSwap } else { Promotion::Restart };
        let doppelganger_check = random.one_in(2);
        let status_interval = random.pick(&[1, 3, 5, 5]) * SECOND;
        let settings = (0..hosts).map(|host| {
            let name = if same_names { 0 } else { host };
            let mut settings =
                Settings::new(&format!("node{name}"), InstanceId(String::new()), "host");
            let other = several_leases && random.one_in(2);
            let lease = if other { lease + random.below(8) * SECOND } else { lease };
            settings.lease = Duration::from_nanos(lease);
            settings.kill_margin = Duration::from_nanos(margin);
            settings.status_interval = Duration::from_nanos(status_interval);
            settings.promotion = promotion;
            settings.doppelganger_check = doppelganger_check;
            settings.mutant = options.mutant;
            settings.check().expect("a seed's settings can work");
            settings
        });
        let settings: Vec<Settings> = settings.collect();
        let sharp = random.one_in(3);
        // The guard's lateness and a block's last way share the kill margin.
        let block_delay = if sharp { 2 } else { random.pick(&[5, 5, 50, 200, 400]) } * MS;
        let start = random.within(200, 5_000) * MS;
        Setup {
            addresses: random.pick(&[1, 2, 2]),
            delay: if sharp { MS / 2 } else { random.within(1, 30) * MS },
            follower_lag: if sharp { 0 } else { random.within(0, 20) * MS },
            start: (start, start + random.below(start / 2)),
            sync: random.below(2 * SECOND) + 1,
            stop: if sharp { MS } else { random.within(100, 4_000) * MS },
            sharp,
            block_delay,
            kill_late: margin - block_delay,
            reap: if sharp { MS } else { 50 * MS },
            faster: (0..hosts).map(|_| super::clock::Clock::any_rate(random)).collect(),
            intensity: match random.below(20) {
                _ if options.quiet => Intensity::Quiet,
                0 | 1 => Intensity::Quiet,
                2..=7 => Intensity::Single,
                8..=14 => Intensity::Mixed,
                _ => Intensity::Storms,
            },
            hosts,
            settings,
        }
    }

    /// How long something takes on the host's disk.
    pub fn disk(&self, most: u64) -> u64 {
        if self.sharp { MS } else { most }
    }

    /// Those of a kneard's `life`-th process.
    pub fn settings(&self, host: usize, life: u64) -> Settings {
        let mut settings = self.settings[host].clone();
        settings.instance = InstanceId(format!("{host}.{life}"));
        settings
    }

    pub fn of(&self, host: usize) -> &Settings {
        &self.settings[host]
    }

    /// The longest wait for a lease's end, by the slowest clock.
    pub fn lease_wait(&self) -> u64 {
        let longest = self.settings.iter().map(|settings| settings.lease).max();
        nanos(with_drift(longest.unwrap_or_default()))
    }

    pub fn shortest_lease(&self) -> u64 {
        nanos(self.settings.iter().map(|settings| settings.lease).min().unwrap_or_default())
    }

    pub fn status_interval(&self) -> u64 {
        nanos(self.settings[0].status_interval)
    }

    pub fn swaps(&self) -> bool {
        self.settings[0].promotion == Promotion::HotSwap
    }

    /// From seeing that the predecessor is done until neard has confirmed the key: the claim, the
    /// head, the stop of the standby's neard, its start, its answer; with a conflict of claims.
    pub fn promotion(&self) -> u64 {
        let settings = &self.settings[0];
        nanos(settings.propagation_delay)
            + nanos(settings.promotion_stop_timeout)
            + self.reap
            + self.start.1
            + 12 * self.delay
            + 4 * self.follower_lag
            + SECOND
            + if self.swaps() { 2 * SECOND } else { 0 }
    }
}

pub fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
