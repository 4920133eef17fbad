//! The stage: three Consul servers, a chain and the kneards, each on a host of its own.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    disk::Disk,
    host::Host,
    options::Options,
    support::{
        chain::Chain,
        consul::Consul,
        freezer::Freezer,
        kneard::LEASE,
        netns::{Hosts, Wire},
        pair::setup,
        wait::{boot_time, secs},
    },
    timeline::Timeline,
    verdict::Pause,
    wall_clock::{self, WallClock},
    watch::Watch,
};

pub const SERVERS: usize = 3;
/// Enough for hours of the stand-in's blocks, twice where it mends its file, and quickly filled.
const DISK_MIB: usize = 64;

// The order of the fields is the order of their end: the kneards first.
pub struct Stage {
    pub hosts: Vec<Host>,
    pub consul: Consul,
    /// How many faults keep each server down.
    pub servers_down: [usize; SERVERS],
    pub watch: Watch,
    pub timeline: Arc<Timeline>,
    pub pauses: Vec<Pause>,
    /// kneards that ended though no fault wanted it: when, whose, and why.
    pub ends: Vec<String>,
    holder: usize,
    chain: Chain,
    pub net: Hosts,
}

impl Stage {
    /// All is well when it returns: one validates, the others stand by.
    pub fn set(options: &Options, run: &str, directory: &Path, timeline: Arc<Timeline>) -> Self {
        let count = options.kneards();
        let net = Hosts::new(SERVERS + count + 1);
        let chain_host = SERVERS + count;
        let servers = (0..SERVERS)
            .map(|server| (net.host(server).clone(), net.address(server, Wire::Consul)))
            .collect();
        let consul_directory = directory.join("consul");
        fs::create_dir(&consul_directory).unwrap();
        // Consul's own default, not what we ask for: sessions end early, votes are withdrawn.
        let settings = json!({"autopilot": {"cleanup_dead_servers": true}});
        let consul = Consul::cluster_in(&consul_directory, servers, settings);
        let chain_address = net.address(chain_host, Wire::Chain);
        let chain = net.host(chain_host).run(|| Chain::start_on(chain_address.into(), directory));
        let watch = Watch::new(Arc::clone(&timeline));
        for (index, server) in consul.servers().iter().enumerate() {
            watch.server(index, net.host(index).clone(), server.http_addr());
        }
        let library = wall_clock::library(directory);
        let hosts: Vec<_> = (0..count)
            .map(|index| {
                let name = format!("host{index}");
                let mut setup = setup(&chain, &name, index);
                setup.consul_urls = consul.urls();
                // Each asks another server first.
                setup.consul_urls.rotate_left(index % SERVERS);
                setup.more = options.kneard_flags(index);
                let clock = WallClock::new(&library, directory.join(format!("{name}.clock")));
                setup.environment = clock.environment();
                let disk = Disk::new(&setup.home, DISK_MIB);
                let namespace = net.host(SERVERS + index).clone();
                watch.kneard(index, &name, namespace.clone(), setup.exporter);
                Host::new(setup, namespace, disk, clock, Freezer::new(run, &name))
            })
            .collect();
        let mut stage = Self {
            hosts,
            consul,
            servers_down: [0; SERVERS],
            watch,
            timeline,
            pauses: Vec::new(),
            ends: Vec::new(),
            holder: 0,
            chain,
            net,
        };
        let end = Instant::now() + secs(90);
        while !stage.is_well() {
            assert!(Instant::now() < end, "the kneards do not get ready: see their logs");
            stage.tick();
            thread::sleep(Duration::from_millis(50));
        }
        stage
    }

    /// What goes on beside the faults; often.
    pub fn tick(&mut self) {
        for (index, host) in self.hosts.iter_mut().enumerate() {
            if let Some(end) = host.keep() {
                let name = &host.name;
                // A signal is a fault, seen to have worked once it was healed.
                if end.wanted || end.status.code().is_none() {
                    self.timeline.note(format_args!("    {name}: kneard ended, {}", end.status));
                } else {
                    let why = end.error.as_deref().unwrap_or("no error in its log");
                    let line = format!("{name}: kneard ended by itself, {}: {why}", end.status);
                    self.timeline.note(format_args!("    {line}"));
                    self.ends.push(line);
                }
            }
            if self.watch.seen().is(index, "Validating") {
                self.holder = index;
            }
        }
    }

    /// The host that validates, or did last.
    pub fn holder(&self) -> usize {
        self.holder
    }

    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.consul.servers().iter().map(|server| server.ip()).collect()
    }

    pub fn homes(&self) -> Vec<PathBuf> {
        self.hosts.iter().map(|host| host.setup.home.clone()).collect()
    }

    /// The newest signature of any host, in boot time.
    pub fn newest_signature(&mut self) -> Option<Duration> {
        self.hosts.iter_mut().filter_map(|host| host.tail.newest()).max()
    }

    /// One validates, all others stand by, and all of Consul agrees on a leader.
    pub fn is_well(&self) -> bool {
        let seen = self.watch.seen();
        let in_state = |state| (0..self.hosts.len()).filter(|host| seen.is(*host, state)).count();
        let addresses = self.addresses();
        let leader = seen.leader(&addresses).map(|leader| addresses[leader]);
        in_state("Validating") == 1
            && in_state("Voting") == self.hosts.len() - 1
            && leader.is_some()
            && seen.leaders.len() == SERVERS
            && seen.leaders.values().all(|one| *one == leader)
    }

    /// What is not as [`Stage::is_well`] wants it, in words.
    pub fn complaint(&self) -> String {
        let seen = self.watch.seen();
        let state = |host: usize| seen.states.get(&host).cloned().flatten();
        let states: Vec<_> = (0..self.hosts.len())
            .map(|i| format!("{} {}", self.hosts[i].name, state(i).as_deref().unwrap_or("silent")))
            .collect();
        format!("{}; Consul's leaders {:?}", states.join(", "), seen.leaders)
    }

    pub fn pause_ended(&mut self, host: usize, from: Duration, to: Duration) {
        let host = &self.hosts[host];
        let last_beat = self.watch.seen().beats.get(&host.name).copied();
        // By the guard's clock its deadline has passed for certain.
        let deadline = last_beat.map(|beat| beat + LEASE - crate::verdict::KILL_MARGIN);
        self.pauses.push(Pause {
            home: host.setup.home.clone(),
            from,
            to,
            beyond_lease: deadline.is_some_and(|deadline| to >= deadline),
        });
    }

    /// Asks all kneards to stop, and waits: whether all did, each with exit code 0.
    pub fn end(&mut self, bound: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        let end = boot_time() + bound;
        for host in &mut self.hosts {
            host.take_down();
            if let Some(process) = host.process(crate::plan::Part::Kneard) {
                crate::host::signal(&process, nix::sys::signal::Signal::SIGTERM);
            }
        }
        while self.hosts.iter().any(Host::is_running) && boot_time() < end {
            for host in &mut self.hosts {
                if let Some(end) = host.keep().filter(|end| end.status.code() != Some(0)) {
                    complaints.push(format!("{}: the last stop gave {}", host.name, end.status));
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        let still = self.hosts.iter().filter(|host| host.is_running());
        complaints.extend(still.map(|host| format!("{}: kneard does not stop", host.name)));
        complaints
    }

    pub fn chain_height(&self) -> Option<u64> {
        let host = self.net.host(SERVERS + self.hosts.len());
        host.run(|| self.chain.height())
    }
}
