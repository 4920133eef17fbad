//! The usual stage: Consul, a chain, and two kneards that share node3's key.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    chain::{ACCOUNT, Chain},
    consul::Consul,
    election::{self, Entry},
    kneard::{Kneard, Setup},
    signatures::{self, Verdict},
    turn::{Turn, turn},
    wait::secs,
};

/// From a free key to `Validating`: neard is restarted once and must be in sync before and after.
pub const TAKEOVER: Duration = Duration::from_secs(20);

// The order of the fields is the order of their end: the kneards first, the turn last.
pub struct Pair {
    pub holder: Kneard,
    pub standby: Kneard,
    pub chain: Chain,
    pub consul: Consul,
    homes: Vec<PathBuf>,
    _directory: tempfile::TempDir,
    _turn: Turn,
}

impl Pair {
    /// On one Consul server.
    pub fn start() -> Self {
        Self::start_with(1, |_| ())
    }

    /// On one Consul server, with hot swap.
    pub fn hot() -> Self {
        Self::start_with(1, Setup::swap_hot)
    }

    /// On so many Consul servers, with each kneard's set-up changed before its start.
    pub fn start_with(consul_servers: usize, adjust: impl Fn(&mut Setup)) -> Self {
        Self::start_on(|| Consul::cluster(consul_servers), adjust)
    }

    /// On this Consul.
    pub fn start_on(consul: impl FnOnce() -> Consul, adjust: impl Fn(&mut Setup)) -> Self {
        Self::build(consul, Chain::start, adjust)
    }

    /// On a chain that passes for this one.
    pub fn start_as(chain_id: &str, adjust: impl Fn(&mut Setup)) -> Self {
        Self::build(Consul::start, |directory| Chain::start_as(chain_id, directory), adjust)
    }

    fn build(
        consul: impl FnOnce() -> Consul,
        chain: impl FnOnce(&Path) -> Chain,
        adjust: impl Fn(&mut Setup),
    ) -> Self {
        let turn = turn();
        let directory = tempfile::tempdir().unwrap();
        let consul = consul();
        let chain = chain(directory.path());
        let [holder, standby] = [0, 1].map(|index| {
            let mut setup = setup(&chain, &format!("kneard{index}"), index);
            setup.consul_urls = consul.urls();
            adjust(&mut setup);
            setup
        });
        let homes = vec![holder.home.clone(), standby.home.clone()];
        let mut holder = holder.start();
        holder.wait_for("Validating", secs(40));
        let mut standby = standby.start();
        standby.wait_for("Voting", secs(40));
        Self { holder, standby, chain, consul, homes, _directory: directory, _turn: turn }
    }

    /// After a takeover: the names follow the roles.
    pub fn exchange(&mut self) {
        std::mem::swap(&mut self.holder, &mut self.standby);
    }

    /// Starts the standby again after its end, and waits until it is one.
    pub fn revive_standby(&mut self) {
        let setup = self.standby.setup.clone();
        self.standby = setup.start();
        self.standby.wait_for("Voting", secs(40));
    }

    /// The HTTP address of some server that runs.
    pub fn consul_address(&self) -> SocketAddr {
        let running = self.consul.servers().iter().find(|server| server.is_running());
        running.expect("a Consul server runs").http_addr()
    }

    pub fn entry(&self) -> Option<Entry> {
        election::entry(self.consul_address(), ACCOUNT)
    }

    /// Nobody signed twice and no two could sign together, over the whole run.
    pub fn assert_one_signer(&self) -> Verdict {
        signatures::assert_one_signer(&self.homes)
    }
}

/// A kneard's set-up on this chain, without Consul.
pub fn setup(chain: &Chain, name: &str, index: usize) -> Setup {
    let (home, rpc) = chain.kneard_home(name, index);
    let mut setup = Setup::new(name, home, rpc);
    setup.validator_key = chain.validator_key();
    setup.validator_node_key = chain.validator_node_key();
    setup.boot_nodes = chain.boot_nodes();
    setup
}
