//! A localnet chain: three `neard` stand-ins run as node0 to node2, node3's keys are the kneards'.

use std::{
    fs::{self, File},
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use super::{
    binaries, http,
    ports::free_port,
    wait::{secs, wait_until},
};

const RUNNING: usize = 3;
/// Homes beside those of the validators: their node keys become those of voters.
const SPARE: usize = 3;

pub struct Chain {
    directory: PathBuf,
    address: IpAddr,
    nodes: Vec<Node>,
}

struct Node {
    child: Child,
    rpc: SocketAddr,
    network: SocketAddr,
}

/// The account whose key the kneards share.
pub const ACCOUNT: &str = "node3";

impl Chain {
    pub fn start(directory: &Path) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), directory)
    }

    /// A chain whose nodes listen on `address`; it makes blocks when this returns.
    pub fn start_on(address: IpAddr, directory: &Path) -> Self {
        Self::build(address, None, directory)
    }

    /// A chain that passes for another than a localnet.
    pub fn start_as(chain_id: &str, directory: &Path) -> Self {
        Self::build(Ipv4Addr::LOCALHOST.into(), Some(chain_id), directory)
    }

    fn build(address: IpAddr, chain_id: Option<&str>, directory: &Path) -> Self {
        let directory = directory.join("chain");
        let [validators, others] = [RUNNING + 1, SPARE].map(|count| count.to_string());
        let arguments = ["localnet", "--shards", "1", "--v", &validators, "--n", &others];
        let output = binaries::clean(binaries::neard())
            .arg("--home")
            .arg(&directory)
            .args(arguments)
            .output()
            .expect("neard runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "neard {}: {error}", arguments.join(" "));
        let mut chain = Self { directory, address, nodes: Vec::new() };
        for index in 0..RUNNING + 3 {
            chain.adapt_home(index);
            if let Some(chain_id) = chain_id {
                chain.rename(index, chain_id);
            }
        }
        for index in 0..RUNNING {
            let node = chain.start_node(index);
            chain.nodes.push(node);
        }
        chain.wait_for_height(3);
        chain
    }

    /// What neard's own localnet has is made for all its nodes to run: epochs of 60 blocks after
    /// which whoever was silent is out, and three peers for everyone.
    fn adapt_home(&self, index: usize) {
        let home = self.node_home(index);
        change_json(&home.join("genesis.json"), |genesis| {
            genesis["epoch_length"] = json!(10_000);
            for who in ["block_producer", "chunk_producer", "chunk_validator_only"] {
                genesis[format!("{who}_kickout_threshold")] = json!(0);
            }
        });
        change_json(&home.join("config.json"), |config| {
            config["consensus"]["min_num_peers"] = json!(1);
            config["network"]["trusted_stun_servers"] = json!([]);
            config["network"]["public_addrs"] = json!([]);
        });
    }

    /// On the public networks a validator must not track all shards.
    fn rename(&self, index: usize, chain_id: &str) {
        let home = self.node_home(index);
        change_json(&home.join("genesis.json"), |genesis| genesis["chain_id"] = json!(chain_id));
        change_json(&home.join("config.json"), |config| {
            config["tracked_shards_config"] = json!({"ShadowValidator": format!("node{index}")});
            config["store"]["load_mem_tries_for_tracked_shards"] = json!(true);
        });
    }

    fn start_node(&self, index: usize) -> Node {
        let home = self.node_home(index);
        let rpc = (self.address, free_port()).into();
        let network = (self.address, free_port()).into();
        set_addresses(&home, rpc, network);
        let log = File::create(home.join("neard.log")).unwrap();
        let mut command = binaries::clean(binaries::neard());
        command.arg("--home").arg(&home).arg("run");
        if index > 0 {
            command.arg("--boot-nodes").arg(self.boot_nodes());
        }
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("neard starts");
        Node { child, rpc, network }
    }

    /// Starts node3, whose key the kneards share, where no kneard manages it.
    pub fn start_another(&mut self) -> usize {
        let node = self.start_node(self.nodes.len());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn stop(&mut self, index: usize) {
        let node = &mut self.nodes[index].child;
        node.kill().unwrap();
        node.wait().unwrap();
    }

    pub fn node_home(&self, index: usize) -> PathBuf {
        self.directory.join(format!("node{index}"))
    }

    pub fn validator_key(&self) -> PathBuf {
        self.node_home(RUNNING).join("validator_key.json")
    }

    pub fn validator_node_key(&self) -> PathBuf {
        self.node_home(RUNNING).join("node_key.json")
    }

    /// `key@address` of node0, as `--boot-nodes` takes it.
    pub fn boot_nodes(&self) -> String {
        let key = read_json(&self.node_home(0).join("node_key.json"));
        format!("{}@{}", key["public_key"].as_str().unwrap(), self.nodes[0].network)
    }

    pub fn rpc(&self, index: usize) -> SocketAddr {
        self.nodes[index].rpc
    }

    /// The height of node0's head.
    pub fn height(&self) -> Option<u64> {
        let status = http::get(self.nodes[0].rpc, "/status").ok()?;
        let status: Value = serde_json::from_str(&status).ok()?;
        status["sync_info"]["latest_block_height"].as_u64()
    }

    pub fn wait_for_height(&self, height: u64) {
        wait_until(secs(60), &format!("the chain reaches height {height}"), || {
            self.height().filter(|now| *now >= height)
        });
    }

    /// A home as the operator prepares it: configuration, genesis and the voter's node key.
    /// `index` 0 to 2 chooses the node key. Says where neard will answer, too.
    pub fn kneard_home(&self, name: &str, index: usize) -> (PathBuf, SocketAddr) {
        let home = self.directory.join(name);
        fs::create_dir(&home).unwrap();
        let template = self.node_home(RUNNING);
        for file in ["config.json", "genesis.json"] {
            fs::copy(template.join(file), home.join(file)).unwrap();
        }
        let node_key = fs::read(self.node_home(RUNNING + 1 + index).join("node_key.json")).unwrap();
        write_secret(&home.join("voter_node_key.json"), &node_key);
        let rpc = (Ipv4Addr::LOCALHOST, free_port()).into();
        set_addresses(&home, rpc, (Ipv4Addr::UNSPECIFIED, free_port()).into());
        (home, rpc)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
    }
}

pub fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn write_secret(path: &Path, content: &[u8]) {
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(content).unwrap();
}

fn set_addresses(home: &Path, rpc: SocketAddr, network: SocketAddr) {
    change_json(&home.join("config.json"), |config| {
        config["rpc"]["addr"] = json!(rpc.to_string());
        config["network"]["addr"] = json!(network.to_string());
    });
}

pub fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = read_json(path);
    change(&mut json);
    fs::write(path, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
}
