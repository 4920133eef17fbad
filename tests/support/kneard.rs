//! kneard under test: started with its flags, watched through its exporter, its log and /proc.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::SocketAddr,
    os::unix::{
        fs::OpenOptionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    binaries, http,
    netns::NetNs,
    ports::free_port,
    process::{Process, kill_group},
    wait::{secs, wait_until},
};

/// How to start a kneard; started again after an end, it is the same node.
#[derive(Clone)]
pub struct Setup {
    pub program: PathBuf,
    pub node_id: String,
    pub home: PathBuf,
    /// Where its neard answers.
    pub rpc: SocketAddr,
    pub exporter: SocketAddr,
    pub consul_urls: Vec<String>,
    pub validator_key: PathBuf,
    pub validator_node_key: PathBuf,
    /// `voter_node_key.json` in the home when unset.
    pub voter_node_key: Option<PathBuf>,
    pub boot_nodes: String,
    pub validator_port: u16,
    pub voter_port: u16,
    pub lease: Duration,
    pub neard: PathBuf,
    /// Flags beside those that follow from the fields.
    pub more: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
}

/// The lease that kneard has by default, and the tests with it.
pub const LEASE: Duration = Duration::from_secs(7);

impl Setup {
    pub fn new(node_id: &str, home: PathBuf, rpc: SocketAddr) -> Self {
        Self {
            program: binaries::kneard(),
            node_id: node_id.to_owned(),
            home,
            rpc,
            exporter: ([127, 0, 0, 1], free_port()).into(),
            consul_urls: Vec::new(),
            validator_key: PathBuf::new(),
            validator_node_key: PathBuf::new(),
            voter_node_key: None,
            boot_nodes: String::new(),
            validator_port: free_port(),
            voter_port: free_port(),
            lease: LEASE,
            neard: binaries::neard(),
            more: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With `--promotion hot-swap`.
    pub fn swap_hot(&mut self) {
        self.more.extend(["--promotion", "hot-swap"].map(Into::into));
    }

    pub fn log(&self) -> PathBuf {
        self.home.with_extension("log")
    }

    pub fn runtime_directory(&self) -> PathBuf {
        self.home.with_extension("run")
    }

    pub fn command(&self) -> Command {
        let in_home = self.home.join("voter_node_key.json");
        let voter_node_key = self.voter_node_key.as_ref().unwrap_or(&in_home);
        let mut command = binaries::clean(&self.program);
        command
            .args(["--node-id", &self.node_id])
            .args(["--consul-url", &self.consul_urls.join(",")])
            .args(["--exporter-address", &self.exporter.to_string()])
            .arg("--validator-key")
            .arg(&self.validator_key)
            .arg("--validator-node-key")
            .arg(&self.validator_node_key)
            .arg("--voter-node-key")
            .arg(voter_node_key)
            .arg("--neard-home")
            .arg(&self.home)
            .args(["--near-boot-nodes", &self.boot_nodes])
            .arg(format!("--validator-network-addr=0.0.0.0:{}", self.validator_port))
            .arg(format!("--voter-network-addr=0.0.0.0:{}", self.voter_port))
            .arg(format!("--lease={}s", self.lease.as_secs()))
            .arg("--neard-binary")
            .arg(&self.neard)
            .arg("--runtime-dir")
            .arg(self.runtime_directory())
            .args(&self.more)
            .envs(self.environment.iter().cloned())
            // A group of its own, so that nothing of it outlives the test.
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    pub fn start(self) -> Kneard {
        self.start_in(None)
    }

    /// Starts inside a network namespace; its exporter is then asked from inside, too.
    pub fn start_in(self, namespace: Option<&NetNs>) -> Kneard {
        let mut options = File::options();
        let log = options.create(true).append(true).mode(0o600).open(self.log()).unwrap();
        fs::create_dir_all(self.runtime_directory()).unwrap();
        let mut command = self.command();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut spawn = move || command.spawn().expect("kneard starts");
        let child = match namespace {
            Some(namespace) => namespace.run(spawn),
            None => spawn(),
        };
        let process = Process::find(child.id() as i32).expect("a fresh child is in /proc");
        Kneard { setup: self, child, process, status: None }
    }
}

pub struct Kneard {
    pub setup: Setup,
    pub process: Process,
    child: Child,
    status: Option<ExitStatus>,
}

impl Kneard {
    /// What the exporter says, from the daemon's own network namespace.
    pub fn metrics(&self) -> Option<String> {
        let address = self.setup.exporter;
        let namespace = format!("/proc/{}/ns/net", self.process.pid);
        if fs::read_link(&namespace).ok()? == fs::read_link("/proc/thread-self/ns/net").ok()? {
            return http::get(address, "/metrics").ok();
        }
        let namespace = File::open(namespace).ok()?;
        let ask = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).ok()?;
            http::get(address, "/metrics").ok()
        };
        thread::spawn(ask).join().ok()?
    }

    /// The value of a metric's line, its labels included in the name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        metric(&self.metrics()?, name)
    }

    /// The one state whose gauge is 1.
    pub fn state(&self) -> Option<String> {
        state(&self.metrics()?)
    }

    /// Waits for a state; says what the log said last when it does not come.
    pub fn wait_for(&mut self, state: &str, bound: Duration) {
        let what = format!("{} is {state}", self.setup.node_id);
        wait_until(bound, &what, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended ({status}) instead of being {state}", self.setup.node_id);
            }
            (self.state()? == state).then_some(())
        });
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The process between kneard and neard.
    pub fn guard(&self) -> Process {
        wait_until(secs(10), "kneard has a guard", || {
            let is_guard = |p: &Process| p.arguments().get(1).is_some_and(|a| a == "guard");
            self.process.children().into_iter().find(is_guard)
        })
    }

    pub fn neard(&self) -> Process {
        wait_until(secs(10), "the guard runs neard", || {
            let is_neard = |p: &Process| p.program().as_deref() == Some("neard");
            self.guard().children().into_iter().find(is_neard)
        })
    }

    pub fn wait_exit(&mut self, bound: Duration) -> ExitStatus {
        let what = format!("{} ends", self.setup.node_id);
        let status = wait_until(bound, &what, || self.child.try_wait().unwrap());
        self.status = Some(status);
        status
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }

    /// Reaps a kneard that was killed; how it can be started again.
    pub fn buried(mut self, bound: Duration) -> Setup {
        let status = self.wait_exit(bound);
        assert!(status.signal().is_some(), "kneard was to be killed, and ended with {status}");
        self.setup.clone()
    }

    /// All that kneard and its neard have written, over all starts of the node.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.setup.log()).unwrap_or_default()).into_owned()
    }

    /// kneard's own lines of level error.
    pub fn errors(&self) -> Vec<String> {
        errors(&self.log())
    }
}

impl Drop for Kneard {
    fn drop(&mut self) {
        kill_group(self.process.pid);
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- {}, last lines:\n{}", self.setup.log().display(), last.join("\n"));
        }
    }
}

pub fn metric(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

pub fn state(metrics: &str) -> Option<String> {
    let states: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(r#"kuutamod_state{type=""#)?.strip_suffix(r#""} 1"#))
        .collect();
    match states[..] {
        [state] => Some(state.to_owned()),
        _ => None,
    }
}

/// Error lines of a log: a running daemon's, and those that say why it did not start.
pub fn errors(log: &str) -> Vec<String> {
    let is_error = |line: &&str| line.starts_with("level=error") || line.starts_with("kneard: ");
    log.lines().filter(is_error).map(str::to_owned).collect()
}
