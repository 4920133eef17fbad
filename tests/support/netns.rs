//! Network namespaces: hosts with addresses of their own that can be cut off.
//!
//! A namespace lives as long as its file is open or a process runs in it; nothing is named, so
//! nothing is left behind when a test is killed. Needs root.

use std::{fs::File, net::Ipv4Addr, os::fd::AsRawFd, process::Command, sync::Arc, thread};

use nix::sched::{CloneFlags, setns, unshare};

/// Copies stand for the same namespace.
#[derive(Clone)]
pub struct NetNs(Arc<File>);

impl NetNs {
    /// A namespace with nothing but loopback.
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|e| panic!("no network namespace: {e}; run the tests as root"));
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(Arc::new(made.join().expect("a new network namespace")));
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `f` inside, on a thread of its own; what it spawns stays inside.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves this thread inside, for good. What must stay outside stays on other threads.
    pub fn enter(&self) {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
    }

    fn ip(&self, arguments: &str) {
        self.run(|| {
            let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip runs");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {arguments}: {}", error.trim());
        });
    }

    /// A path by which iproute2 finds the namespace.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// The two wires that each host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// To the other hosts' chain nodes.
    Chain,
    /// To Consul.
    Consul,
}

impl Wire {
    pub const ALL: [Self; 2] = [Self::Chain, Self::Consul];

    /// Of the bridge, and of the device on each host.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Consul => "consul",
        }
    }

    fn subnet(self) -> u8 {
        match self {
            Self::Chain => 1,
            Self::Consul => 2,
        }
    }
}

/// Hosts on two bridges, one for each [`Wire`].
pub struct Hosts {
    switch: NetNs,
    hosts: Vec<NetNs>,
}

impl Hosts {
    pub fn new(count: usize) -> Self {
        let switch = NetNs::new();
        for wire in Wire::ALL {
            switch.ip(&format!("link add {} type bridge", wire.name()));
            switch.ip(&format!("link set {} up", wire.name()));
        }
        let hosts: Vec<_> = (0..count).map(|_| NetNs::new()).collect();
        let hosts = Self { switch, hosts };
        for index in 0..count {
            for wire in Wire::ALL {
                hosts.plug_in(index, wire);
            }
        }
        hosts
    }

    fn plug_in(&self, index: usize, wire: Wire) {
        let (host, wire_name) = (&self.hosts[index], wire.name());
        let port = port_name(index, wire);
        let path = host.path();
        self.switch.ip(&format!("link add {port} type veth peer name {wire_name} netns {path}"));
        self.switch.ip(&format!("link set {port} master {wire_name} up"));
        host.ip(&format!("addr add {}/24 dev {wire_name}", self.address(index, wire)));
        host.ip(&format!("link set {wire_name} up"));
    }

    pub fn host(&self, index: usize) -> &NetNs {
        &self.hosts[index]
    }

    pub fn address(&self, index: usize, wire: Wire) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, wire.subnet(), index as u8 + 1)
    }

    /// Pulls the wire at the switch: packets vanish in both directions, and the host sees no
    /// change of its link.
    pub fn cut(&self, index: usize, wire: Wire) {
        self.switch.ip(&format!("link set {} nomaster", port_name(index, wire)));
    }

    pub fn heal(&self, index: usize, wire: Wire) {
        self.switch.ip(&format!("link set {} master {}", port_name(index, wire), wire.name()));
    }
}

fn port_name(index: usize, wire: Wire) -> String {
    format!("{}{index}", wire.name())
}
