//! Stand-ins as real processes: homes, starts and stops, questions, bounded waits.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a test waits for what must happen; long, because the machine may be busy.
pub const BOUND: Duration = Duration::from_secs(30);

/// Waits until `done` gives a value.
pub fn wait_for<T>(what: &str, bound: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + bound;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "waited {bound:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The homes of a chain.
pub struct Localnet {
    pub dir: TempDir,
}

impl Localnet {
    /// Lets `neard localnet` make a chain of `validators` and `others`.
    pub fn new(validators: u32, others: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (v, n) = (validators.to_string(), others.to_string());
        let done = Command::new(env!("CARGO_BIN_EXE_neard"))
            .arg("--home")
            .arg(dir.path())
            .args(["localnet", "--shards", "1", "--v", &v, "--n", &n])
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(done.success());
        let net = Self { dir };
        // As kneard's localnet: three nodes have two peers each, and neard waits for three.
        for i in 0..validators + others {
            net.set_config(&format!("node{i}"), |config| {
                let peers = &mut config["consensus"]["min_num_peers"];
                *peers = json!(peers.as_u64().unwrap().min(1));
            });
        }
        net
    }

    pub fn set_config(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.home(name).join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.home(name).join("validator_key.json")
    }

    /// Starts a node with blocks every 150 ms.
    pub fn start(&self, name: &str) -> Neard {
        self.start_with(name, &[])
    }

    pub fn start_with(&self, name: &str, env: &[(&str, &str)]) -> Neard {
        let home = self.home(name);
        let log = home.join("neard.log");
        // Whoever runs the tests may ignore SIGHUP, as nohup does.
        let child = Command::new("env")
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_neard")])
            .arg("--home")
            .arg(&home)
            .arg("run")
            .env("NEARD_SIM_BLOCK_MS", "150")
            .env("NEARD_SIM_START_MS", "10")
            .env("NEARD_SIM_STOP_MS", "100")
            .envs(env.iter().copied())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        // Some tests start a node whose configuration cannot be read.
        let config: Option<Value> = fs::read_to_string(home.join("config.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        let rpc = config
            .and_then(|config| config["rpc"]["addr"].as_str()?.parse().ok())
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9)));
        Neard { child, home, rpc }
    }

    /// Starts the nodes named and waits until all answer.
    pub fn start_all(&self, names: &[&str]) -> Vec<Neard> {
        let nodes: Vec<Neard> = names.iter().map(|name| self.start(name)).collect();
        for node in &nodes {
            node.wait_status();
        }
        nodes
    }
}

/// A running stand-in; killed when dropped.
pub struct Neard {
    pub child: Child,
    pub home: PathBuf,
    pub rpc: SocketAddr,
}

impl Drop for Neard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Neard {
    /// HTTP: the status code and the body.
    pub fn http(&self, request: &str, limit: Duration) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.rpc, limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n");
        self.http(&request, Duration::from_secs(5))
    }

    pub fn rpc(&self, method: &str, params: &Value) -> (u16, Value) {
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
        let body = body.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = self.http(&request, Duration::from_secs(5)).expect("an answer");
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    pub fn status(&self) -> Option<Value> {
        let (status, body) = self.get("/status")?;
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    pub fn wait_status(&self) -> Value {
        wait_for("/status", BOUND, || self.status())
    }

    /// Waits until signals do not kill it any more, which is a moment after its first answer.
    pub fn wait_until_it_hears(&self) {
        let path = format!("/proc/{}/status", self.child.id());
        wait_for("a handler of SIGHUP", BOUND, || {
            let status = fs::read_to_string(&path).ok()?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught & 1 != 0).then_some(())
        });
    }

    pub fn height(&self) -> u64 {
        self.wait_status()["sync_info"]["latest_block_height"].as_u64().unwrap()
    }

    pub fn syncing(&self) -> bool {
        self.wait_status()["sync_info"]["syncing"].as_bool().unwrap()
    }

    pub fn wait_height(&self, height: u64) {
        wait_for(&format!("height {height}"), BOUND, || (self.height() >= height).then_some(()));
    }

    /// A metric without labels; `None` while it has not been counted.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = self.get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    pub fn blocks_produced(&self) -> u64 {
        self.metric("near_block_produced_total").unwrap_or(0)
    }

    /// Whether a validator key is loaded, as `/status` says.
    pub fn has_key(&self) -> bool {
        !self.wait_status()["validator_public_key"].is_null()
    }

    pub fn signal(&self, signal: Signal) {
        self.wait_until_it_hears();
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_for("exit", BOUND, || self.child.try_wait().unwrap())
    }

    pub fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.home.clone()
    }

    pub fn stop(mut self) -> PathBuf {
        self.signal(Signal::SIGTERM);
        assert!(self.wait_exit().success());
        self.home.clone()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("neard.log")).unwrap()
    }
}

/// Runs `signature-check` and gives its exit code and its last line.
pub fn signature_check(homes: &[&Path]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_signature-check")).args(homes).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    (out.status.code().unwrap(), text.lines().last().unwrap_or_default().to_owned())
}
