//! Three hosts with Consul servers, two with a kneard and a Consul agent each, and one with the
//! rest of the chain.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    options::Job,
    support::{
        blocks,
        chain::{ACCOUNT, Chain},
        consul::{Consul, Server},
        election,
        freezer::Freezer,
        http,
        kneard::Kneard,
        netns::{Hosts, NetNs, Wire},
        operator::kneard_ctl,
        pair::setup,
        wait::{millis, secs, wait_until},
    },
};

const SERVERS: usize = 3;
const KNEARDS: usize = 2;
const CHAIN: usize = SERVERS + KNEARDS;
/// For all to be ready, at the start and after each round: a restart of everything on a host, and
/// what is left of a lease.
const READY: Duration = secs(120);

// The order of the fields is the order of their end: the kneards first.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub consul: Consul,
    chain: Chain,
    pub net: Hosts,
    pub holder: usize,
}

pub struct Node {
    pub kneard: Kneard,
    pub agent: Server,
    pub freezer: Freezer,
    namespace: NetNs,
}

impl Node {
    pub fn home(&self) -> PathBuf {
        self.kneard.setup.home.clone()
    }

    /// After the end of its kneard.
    pub fn start_again(&mut self) {
        let setup = self.kneard.setup.clone();
        self.kneard = setup.start_in(Some(&self.namespace));
    }

    /// neard's `/status`, asked from its own host.
    fn neard_status(&self) -> Option<Value> {
        let rpc = self.kneard.setup.rpc;
        let text = self.namespace.run(|| http::get(rpc, "/status")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// It is in sync, and SIGHUP does not end it.
    fn is_settled(&self) -> bool {
        self.neard_status().is_some_and(|status| {
            status["uptime_sec"].as_u64() >= Some(2)
                && status["sync_info"]["syncing"] == Value::Bool(false)
        })
    }
}

impl Cluster {
    /// All is ready when it returns. `run` names the freezers.
    pub fn start(job: &Job, run: &str, directory: &Path) -> Self {
        let net = Hosts::new(SERVERS + KNEARDS + 1);
        let servers = (0..SERVERS)
            .map(|server| (net.host(server).clone(), net.address(server, Wire::Consul)))
            .collect();
        let consul_directory = directory.join("consul");
        fs::create_dir(&consul_directory).unwrap();
        let consul = Consul::cluster_in(&consul_directory, servers, json!({}));
        let address = net.address(CHAIN, Wire::Chain);
        let chain = net.host(CHAIN).run(|| Chain::start_on(address.into(), directory));
        let nodes = (0..KNEARDS)
            .map(|index| {
                let (name, host) = (format!("host{index}"), SERVERS + index);
                let namespace = net.host(host).clone();
                let place = (Some(namespace.clone()), net.address(host, Wire::Consul));
                let agent = consul.start_agent_on(&name, &consul_directory, place);
                let mut setup = setup(&chain, &name, index);
                setup.consul_urls = vec![agent.url()];
                setup.consul_urls.extend(consul.urls());
                // The next best server differs from host to host.
                setup.consul_urls[1..].rotate_left(index);
                setup.lease = secs(job.lease_s);
                setup.more = ["--promotion", job.promotion.name()].map(Into::into).into();
                let kneard = setup.start_in(Some(&namespace));
                Node { kneard, agent, freezer: Freezer::new(run, &name), namespace }
            })
            .collect();
        let mut cluster = Self { nodes, consul, chain, net, holder: 0 };
        cluster.get_ready();
        cluster
    }

    pub fn net_host(&self, node: usize) -> usize {
        SERVERS + node
    }

    pub fn standby(&self) -> usize {
        KNEARDS - 1 - self.holder
    }

    pub fn homes(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(Node::home).collect()
    }

    /// Waits until one node validates and the other could do so at once.
    pub fn get_ready(&mut self) {
        let count = self.consul.servers().len() + KNEARDS;
        wait_until(READY, "one validates and the other is ready", || {
            // Others measure meanwhile.
            thread::sleep(millis(200));
            let states: Vec<_> = self.nodes.iter().map(|node| node.kneard.state()).collect();
            self.holder = states.iter().position(|s| s.as_deref() == Some("Validating"))?;
            let standby = &self.nodes[self.standby()];
            let name = &standby.kneard.setup.node_id;
            (states[self.standby()].as_deref() == Some("Voting")).then_some(())?;
            self.nodes.iter().all(Node::is_settled).then_some(())?;
            // All of Consul is back, and can lose a server again.
            self.consul.can_lose_one().then_some(())?;
            let agents = self.nodes.iter().map(|node| &node.agent);
            let mut all = self.consul.servers().iter().chain(agents);
            all.all(|one| members(one) == Some(count)).then_some(())?;
            let holder = &self.nodes[self.holder].kneard;
            let status = kneard_ctl(holder, &["--json", "status"]).stdout;
            let status: Value = serde_json::from_str(&status).ok()?;
            let nodes = status["nodes"].as_array()?;
            let is_ready = |node: &Value| {
                node["node_id"] == *name && node["state"] == "Voting" && node["lag"].is_u64()
            };
            nodes.iter().any(is_ready).then_some(())
        });
    }

    pub fn chain_height(&self) -> Option<u64> {
        self.net.host(CHAIN).run(|| self.chain.height())
    }

    /// What the chain lacks from one height to another.
    pub fn missed(&self, from: u64, to: u64) -> Vec<String> {
        self.net.host(CHAIN).run(|| blocks::missed(self.chain.rpc(0), from, to))
    }

    /// Host and address of every Consul server that runs.
    pub fn servers(&self) -> Vec<(NetNs, SocketAddr)> {
        let servers = self.consul.servers().iter().enumerate();
        servers
            .filter(|(_, server)| server.is_running())
            .map(|(index, server)| (self.net.host(index).clone(), server.http_addr()))
            .collect()
    }
}

/// How many live ones this server or agent knows by gossip, itself included.
fn members(agent: &Server) -> Option<usize> {
    let (_, members) = agent.get("/v1/agent/members", None)?;
    let members: Value = serde_json::from_str(&members).ok()?;
    Some(members.as_array()?.iter().filter(|member| member["Status"] == 1).count())
}

/// Term and number of a beat.
pub type Beat = (u64, u64);

/// The last beat that this server has; asked from its own host.
pub fn beat(server: SocketAddr) -> Option<Beat> {
    let record = election::entry(server, ACCOUNT)?.record()?;
    Some((record["term"].as_u64()?, record["beat"].as_u64()?))
}
