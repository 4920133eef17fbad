//! A running localnet: Consul, the chain, and two kneards.

use std::fs::{DirBuilder, File};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::homes::{self, NODES, Ports, VALIDATOR};
use super::programs::{self, Program};
use crate::consul::{self, stand_in::StandIn};
use crate::control::{Client, Status};
use crate::election::{RecordState, State};
use crate::neard::rpc::Rpc;

const LIMIT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
/// How long any one step may take; a real neard on a slow machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that runs, killed when dropped.
pub struct Localnet {
    pub data: PathBuf,
    neard: Program,
    kneard: PathBuf,
    lease: String,
    consul_url: String,
    boot_node: String,
    chain: Vec<Rpc>,
    // Dropped in this order: kneards before what they talk to.
    kneards: [Option<Running>; 2],
    network_ports: [(u16, u16, u16); 2],
    _nodes: Vec<Running>,
    _consul: Option<Running>,
    /// A directory of our own, removed last.
    _temporary: Option<TemporaryDir>,
}

impl Localnet {
    /// Starts Consul and the chain, and waits until they work. Says on standard output what they
    /// are.
    pub async fn start(args: &super::Args) -> Result<Self> {
        let (data, temporary) = data_dir(args.data.as_deref())?;
        let neard = programs::neard()?;
        let note = if neard.is_stand_in() { "the stand-in" } else { "the neard" };
        println!("neard:  {note} {}: {}", neard.path.display(), neard.version);
        // Rewritten as the homes are, so that a taken port is no matter.
        let ports = free_ports::<14>()?;
        let layout = Ports {
            nodes: [(ports[0], ports[1]), (ports[2], ports[3]), (ports[4], ports[5])],
            kneard_rpc: [ports[6], ports[7]],
        };
        homes::init(&neard, &data, &layout)?;
        let (consul_url, consul) = start_consul(&data).await?;

        let mut nodes = Vec::new();
        for number in 0..NODES {
            let mut command = homes::node_command(&neard, &data.join(format!("node{number}")));
            nodes.push(Running::start(&mut command, &data, &format!("node{number}"))?);
        }
        let chain = layout.nodes.iter().map(|(rpc, _)| Rpc::new(loopback(*rpc))).collect();
        let localnet = Localnet {
            boot_node: homes::boot_node(&data, &layout)?,
            kneard: programs::kneard()?,
            lease: args.lease.clone(),
            consul_url,
            chain,
            kneards: [None, None],
            network_ports: [(ports[8], ports[9], ports[10]), (ports[11], ports[12], ports[13])],
            neard,
            data,
            _nodes: nodes,
            _consul: consul,
            _temporary: temporary,
        };
        localnet
            .wait_for("the chain to make blocks", async || {
                localnet.height().await.is_some_and(|height| height > 2)
            })
            .await?;
        Ok(localnet)
    }

    /// Starts a kneard, as the tutorial does.
    pub fn start_kneard(&mut self, number: usize) -> Result<()> {
        let home = self.home(number);
        let keys = self.data.join(VALIDATOR);
        let (exporter, validator, voter) = self.network_ports[number];
        let mut command = Command::new(&self.kneard);
        command
            .arg("--node-id")
            .arg(name(number))
            .args(["--lease", &self.lease])
            .args(["--consul-url", &self.consul_url])
            .args(["--exporter-address", &format!("127.0.0.1:{exporter}")])
            .args(["--validator-network-addr", &format!("127.0.0.1:{validator}")])
            .args(["--voter-network-addr", &format!("127.0.0.1:{voter}")])
            .args(["--near-boot-nodes", &self.boot_node])
            .arg("--neard-binary")
            .arg(&self.neard.path)
            .arg("--voter-node-key")
            .arg(home.join("voter_node_key.json"))
            .arg("--validator-node-key")
            .arg(keys.join("node_key.json"))
            .arg("--validator-key")
            .arg(keys.join("validator_key.json"))
            .arg("--neard-home")
            .arg(home);
        self.kneards[number] = Some(Running::start(&mut command, &self.data, &name(number))?);
        Ok(())
    }

    pub fn home(&self, number: usize) -> PathBuf {
        self.data.join(name(number))
    }

    /// Sends a signal to a kneard.
    pub fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        match &self.kneards[number] {
            Some(running) => Ok(kill(running.pid(), signal)?),
            None => bail!("{} does not run", name(number)),
        }
    }

    /// A kneard that has ended by itself; `None` while both run that were started.
    pub fn ended(&mut self) -> Option<String> {
        self.kneards.iter_mut().enumerate().find_map(|(number, kneard)| {
            let status = kneard.as_mut()?.child.try_wait().ok()??;
            *kneard = None;
            Some(format!("{} ended: {status}", name(number)))
        })
    }

    pub async fn wait_for_end(&mut self, number: usize) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let Some(running) = &mut self.kneards[number] else { return Ok(()) };
            if running.child.try_wait()?.is_some() {
                self.kneards[number] = None;
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("{} did not end within {PATIENCE:?}", name(number))
    }

    /// The control socket's answer, if there is one.
    pub async fn status(&self, number: usize) -> Option<Status> {
        self.kneards[number].as_ref()?;
        Client::new(&self.home(number).join("kuutamod.sock")).status().await.ok()
    }

    /// The chain's height.
    pub async fn height(&self) -> Option<u64> {
        let mut highest = None;
        for rpc in &self.chain {
            if let Ok(status) = rpc.status(LIMIT).await {
                highest = highest.max(Some(status.head));
            }
        }
        highest
    }

    /// Waits until a kneard's neard has confirmed the validator key.
    pub async fn wait_until_validating(&self, number: usize) -> Result<()> {
        self.wait_for(&format!("{} to validate", name(number)), async || {
            self.status(number).await.is_some_and(|status| {
                status.node.state == State::Validating.to_string()
                    && status.record.is_some_and(|record| record.state == RecordState::Active)
            })
        })
        .await
    }

    pub async fn wait_until_standing_by(&self, number: usize) -> Result<()> {
        self.wait_for(&format!("{} to stand by", name(number)), async || {
            let status = self.status(number).await;
            status.is_some_and(|status| status.node.state == State::Voting.to_string())
        })
        .await
    }

    async fn wait_for(&self, what: &str, done: impl AsyncFn() -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !done().await {
            if Instant::now() > until {
                bail!("waited {PATIENCE:?} for {what}; see the logs in {}", self.data.display());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Keeps the logs: somebody will want to read them.
    pub fn keep_data(&mut self) {
        if let Some(temporary) = &mut self._temporary {
            temporary.keep = true;
        }
    }

    pub fn uses_stand_in(&self) -> bool {
        self.neard.is_stand_in()
    }
}

pub fn name(number: usize) -> String {
    format!("kneard{number}")
}

/// The Consul of the PATH on free ports, or the stand-in in this process.
async fn start_consul(data: &Path) -> Result<(String, Option<Running>)> {
    let Some(program) = programs::consul() else {
        let stand_in = StandIn::bind(loopback(0)).await?;
        let url = format!("http://{}", stand_in.local_addr());
        println!("consul: the stand-in in this process (there is no consul in the PATH)");
        tokio::spawn(stand_in.serve());
        return Ok((url, None));
    };
    println!("consul: {}: {}", program.path.display(), program.version);
    let [http, server, serf_lan, serf_wan] = free_ports::<4>()?;
    // Servers since 1.14 listen for gRPC over TLS too, older ones do not know the setting
    // (https://developer.hashicorp.com/consul/docs/agent/config/config-files#grpc_tls_port).
    let grpc_tls = if is_at_least_1_14(&program.version) { "grpc_tls = -1" } else { "" };
    let settings = format!(
        "ports {{ dns = -1 grpc = -1 {grpc_tls} http = {http} server = {server} \
         serf_lan = {serf_lan} serf_wan = {serf_wan} }} \
         performance {{ raft_multiplier = 1 }} disable_update_check = true"
    );
    let mut command = Command::new(&program.path);
    command
        .args(["agent", "-server", "-bootstrap-expect", "1", "-node", "localnet"])
        .args(["-bind", "127.0.0.1", "-data-dir"])
        .arg(data.join("consul"))
        .args(["-hcl", &settings]);
    let running = Running::start(&mut command, data, "consul")?;
    let url = format!("http://127.0.0.1:{http}");
    let client = consul::Client::new(consul::ClientConfig {
        addresses: vec![url.clone()],
        ..consul::ClientConfig::default()
    })?;
    let until = Instant::now() + PATIENCE;
    while !matches!(client.leader(LIMIT).await, Ok(Some(_))) {
        if Instant::now() > until {
            bail!("consul has no leader; see {}", data.join("consul.log").display());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok((url, Some(running)))
}

/// Whether `consul --version` says so.
fn is_at_least_1_14(version: &str) -> bool {
    let numbers = version.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.');
    let mut numbers = numbers.map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(1), Some(14))
}

struct Running {
    child: Child,
}

impl Running {
    /// Output goes to `<data>/<name>.log`. Its own process group, so that ctrl-c reaches only us
    /// and everything stops in order.
    fn start(command: &mut Command, data: &Path, name: &str) -> Result<Self> {
        let path = data.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Running { child })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The guard of a killed kneard sees to its neard.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct TemporaryDir {
    path: PathBuf,
    keep: bool,
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if self.keep {
            println!("data and logs are kept in {}", self.path.display());
        } else {
            // What is left of it is the system's to clean.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn data_dir(wanted: Option<&Path>) -> Result<(PathBuf, Option<TemporaryDir>)> {
    match wanted {
        Some(path) => {
            if path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
                bail!("--data {}: is not empty; name another directory", path.display());
            }
            std::fs::create_dir_all(path)
                .with_context(|| format!("--data {}: cannot be created", path.display()))?;
            Ok((path.canonicalize()?, None))
        }
        None => {
            let number = getrandom::u64().context("no random numbers")?;
            let path = std::env::temp_dir().join(format!("kneard-localnet-{number:016x}"));
            // Ours from the start: there are keys in it.
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
            Ok((path.clone(), Some(TemporaryDir { path, keep: false })))
        }
    }
}

/// Ports that nobody uses now, below those that Linux gives to outgoing connections
/// (`net.ipv4.ip_local_port_range`, ip(7)): such a one could be gone before it is used.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut listeners = Vec::new();
    let first = 10_240 + getrandom::u32().context("no random numbers")? % 20_000;
    let mut candidates = (first..32_768).chain(10_240..first);
    for port in &mut ports {
        let listener = candidates
            .by_ref()
            .filter_map(|port| u16::try_from(port).ok())
            .find_map(|port| TcpListener::bind(loopback(port)).ok());
        let listener = listener.context("all ports from 10240 to 32767 are in use")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn loopback(port: u16) -> std::net::SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::is_at_least_1_14;

    #[test]
    fn consuls_version_is_understood() {
        assert!(!is_at_least_1_14("Consul v1.8.7"));
        assert!(is_at_least_1_14("Consul v1.14.0"));
        assert!(is_at_least_1_14("Consul v1.21.5"));
        assert!(is_at_least_1_14("Consul v2.0.0"));
        assert!(!is_at_least_1_14("unknown version"));
    }
}
