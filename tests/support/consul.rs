//! Real Consul servers for tests: one ([`Consul::start`]) or several ([`Consul::cluster`]).
//!
//! Each server has a loopback address of its own (so that a packet filter can tell them apart),
//! ports that the kernel gave, and its data in a temporary directory that goes with the cluster.
//! With [`Consul::cluster_in`] each is on a host of its own, in a directory that stays.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::netns::NetNs;
use super::wait::wait_until;

/// A cold start takes about 3 s on an idle machine; tests share theirs with compilers.
const READY_BOUND: Duration = Duration::from_secs(60);

/// A running cluster. Dropping it kills every server and removes their data.
pub struct Consul {
    servers: Vec<Server>,
    // Last: removed after the servers are dead.
    _data: Option<TempDir>,
}

/// One server of a cluster.
pub struct Server {
    name: String,
    /// Where it runs, when that is not here.
    namespace: Option<NetNs>,
    ip: Ipv4Addr,
    http_port: u16,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Consul {
    /// One server that is its own leader and has its node in the catalog.
    pub fn start() -> Self {
        Self::cluster(1)
    }

    /// One server, with `settings` merged into its configuration (such as `{"acl": …}`).
    pub fn start_with(settings: Value) -> Self {
        Self::build(1, settings, None)
    }

    /// `count` servers that elect a leader. All are up and in the catalog when this returns.
    pub fn cluster(count: usize) -> Self {
        Self::build(count, json!({}), None)
    }

    /// As [`Consul::start_with`], with the ACL token that the test's own questions carry.
    pub fn start_with_token(settings: Value, token: &str) -> Self {
        Self::build(1, settings, Some(token))
    }

    /// A server on each of these hosts, at its address there, with `settings` merged into its
    /// configuration. Their data and logs stay in `directory`.
    pub fn cluster_in(directory: &Path, hosts: Vec<(NetNs, Ipv4Addr)>, settings: Value) -> Self {
        let places = hosts.into_iter().map(|(host, ip)| (Some(host), ip)).collect();
        Self::build_in(directory, places, settings, None)
    }

    fn build(count: usize, settings: Value, token: Option<&str>) -> Self {
        let data = tempfile::Builder::new().prefix("kneard-consul-").tempdir().expect("tempdir");
        let net = own_network();
        let places = (0..count)
            .map(|i| Ipv4Addr::new(127, net[0], net[1], u8::try_from(i + 1).expect("few servers")))
            .map(|ip| (None, ip))
            .collect();
        let mut cluster = Self::build_in(data.path(), places, settings, token);
        cluster._data = Some(data);
        cluster
    }

    fn build_in(
        data: &Path,
        places: Vec<(Option<NetNs>, Ipv4Addr)>,
        settings: Value,
        token: Option<&str>,
    ) -> Self {
        let binary = binary();
        let count = places.len();
        // serf, server RPC and HTTP for each. Held open until all are chosen, so that they differ.
        let held: Vec<[TcpListener; 3]> = places
            .iter()
            .map(|(host, ip)| {
                let bind = || [0; 3].map(|port| TcpListener::bind((*ip, port)).expect("bind"));
                inside(host.as_ref(), bind)
            })
            .collect();
        let ports: Vec<[u16; 3]> = held
            .iter()
            .map(|three| [0, 1, 2].map(|i: usize| three[i].local_addr().expect("bound").port()))
            .collect();
        drop(held);

        let join: Vec<String> = places
            .iter()
            .zip(&ports)
            .map(|((_, ip), ports)| format!("{ip}:{}", ports[0]))
            .collect();
        let mut servers = Vec::new();
        for (i, ((namespace, ip), ports)) in places.into_iter().zip(&ports).enumerate() {
            let name = format!("consul{i}");
            let dir = data.join(&name);
            fs::create_dir(&dir).expect("create the server's directory");
            let mut config = json!({
                "server": true,
                "bootstrap_expect": count,
                "node_name": name,
                "data_dir": dir.join("data"),
                "bind_addr": ip.to_string(),
                "client_addr": ip.to_string(),
                "ports": {
                    "http": ports[2], "server": ports[1], "serf_lan": ports[0],
                    "serf_wan": -1, "dns": -1, "grpc": -1, "https": -1,
                },
                "performance": {"raft_multiplier": 1},
                // As docs/configuration.md asks; else a server that comes back after some ten
                // seconds has no vote for the next ten.
                "autopilot": {"cleanup_dead_servers": false},
                "retry_join": if count > 1 { json!(join) } else { json!([]) },
                "retry_interval": "1s",
                "leave_on_terminate": false,
                "skip_leave_on_interrupt": true,
                "disable_update_check": true,
            });
            merge(&mut config, &settings);
            let config_path = dir.join("config.json");
            fs::write(&config_path, config.to_string()).expect("write the configuration");
            servers.push(Server {
                name,
                namespace,
                ip,
                http_port: ports[2],
                config: config_path,
                log: dir.join("log"),
                child: None,
            });
        }
        let mut cluster = Self { servers, _data: None };
        for server in &mut cluster.servers {
            server.spawn(&binary);
        }
        cluster.wait_ready(token);
        cluster
    }

    /// An agent that is no server, joined to this cluster, as each host has one. Its data is in
    /// `directory`. It answers when this returns.
    pub fn start_agent(&self, name: &str, directory: &Path) -> Server {
        let net = own_network();
        self.start_agent_on(name, directory, (None, Ipv4Addr::new(127, net[0], net[1], 9)))
    }

    /// As [`Consul::start_agent`], on a host at its address there.
    pub fn start_agent_on(
        &self,
        name: &str,
        directory: &Path,
        (namespace, ip): (Option<NetNs>, Ipv4Addr),
    ) -> Server {
        let servers = fs::read(&self.servers[0].config).expect("the server's configuration");
        let mut config: Value = serde_json::from_slice(&servers).expect("JSON");
        let join = format!("{}:{}", self.servers[0].ip, config["ports"]["serf_lan"]);
        let bind = || [0; 3].map(|port| TcpListener::bind((ip, port)).expect("bind"));
        let held = inside(namespace.as_ref(), bind);
        let [serf, rpc, http_port] =
            [0, 1, 2].map(|i: usize| held[i].local_addr().expect("bound").port());
        drop(held);
        for field in ["server", "bootstrap_expect"] {
            config.as_object_mut().expect("an object").remove(field);
        }
        let over = json!({
            "node_name": name,
            "data_dir": directory.join(name),
            "bind_addr": ip.to_string(),
            "client_addr": ip.to_string(),
            "ports": {"http": http_port, "server": rpc, "serf_lan": serf},
            "retry_join": [join],
        });
        merge(&mut config, &over);
        let path = directory.join(format!("{name}.json"));
        fs::write(&path, config.to_string()).expect("write the configuration");
        let mut agent = Server {
            name: name.to_owned(),
            ip,
            http_port,
            namespace,
            config: path,
            log: directory.join(format!("{name}.log")),
            child: None,
        };
        agent.spawn(&binary());
        let end = Instant::now() + READY_BOUND;
        let own = format!("/v1/catalog/node/{name}?consistent");
        // "null" until its node is in the catalog.
        while !agent.get(&own, None).is_some_and(|(code, body)| code == 200 && body.contains(name))
        {
            agent.assert_alive();
            assert!(Instant::now() < end, "no agent: {}", agent.log_tail());
            thread::sleep(Duration::from_millis(50));
        }
        agent
    }

    /// The servers, in the order of their names.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// One server, to kill, stop or restart.
    pub fn server(&mut self, index: usize) -> &mut Server {
        &mut self.servers[index]
    }

    /// `http://…` of the first server.
    pub fn url(&self) -> String {
        self.servers[0].url()
    }

    /// `http://…` of every server.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Server::url).collect()
    }

    /// Position of the server that leads now, as a majority of the running ones say; none while
    /// they elect one.
    pub fn leader(&self) -> Option<usize> {
        let mut votes = vec![0usize; self.servers.len()];
        for server in self.servers.iter().filter(|server| server.is_running()) {
            let Some((200, body)) = server.get("/v1/status/leader", None) else { continue };
            let address: String = serde_json::from_str(&body).unwrap_or_default();
            let ip = address.rsplit_once(':').map_or("", |(ip, _)| ip);
            if let Some(i) = self.servers.iter().position(|s| s.ip.to_string() == ip) {
                votes[i] += 1;
            }
        }
        votes.iter().position(|n| *n * 2 > self.servers.len())
    }

    /// Whether any one server may be lost now: all have a vote and hear from the leader, which looks
    /// every 2 s (<https://developer.hashicorp.com/consul/api-docs/operator/autopilot#read-health>).
    ///
    /// One that was away answers well before that. Its leader has meanwhile let up to ten seconds
    /// pass between two tries to reach it (hashicorp/raft `backoff`), in which it calls for elections.
    pub fn can_lose_one(&self) -> bool {
        let Some(asked) = self.servers.iter().find(|server| server.is_running()) else {
            return false;
        };
        // 429 while not all are healthy.
        let Some((_, health)) = asked.get("/v1/operator/autopilot/health", None) else {
            return false;
        };
        let health: Value = serde_json::from_str(&health).unwrap_or_default();
        health["Healthy"] == true && health["FailureTolerance"].as_u64() >= Some(1)
    }

    /// Wait until [`Consul::can_lose_one`].
    pub fn wait_until_it_can_lose_one(&self) {
        let ready = || self.can_lose_one().then_some(());
        wait_until(READY_BOUND, "Consul can lose a server", ready);
    }

    /// Wait until every server answers, knows a leader and is in the catalog.
    pub fn wait_ready(&mut self, token: Option<&str>) {
        let deadline = Instant::now() + READY_BOUND;
        let count = self.servers.len();
        loop {
            let ready = self.servers.iter().all(|server| server.knows_nodes(count, token));
            if ready {
                return;
            }
            for server in &mut self.servers {
                server.assert_alive();
            }
            assert!(
                Instant::now() < deadline,
                "Consul was not ready within {READY_BOUND:?}; the end of its log:\n{}",
                self.servers[0].log_tail()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Server {
    /// Consul's name of the node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that all of its listeners are bound to.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Where its HTTP API listens.
    pub fn http_addr(&self) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(self.ip, self.http_port))
    }

    /// `http://ip:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.http_addr())
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it was started and not killed.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL, and see it reaped.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Start it again on its old data and addresses; returns before it has joined.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn(&binary());
    }

    /// A bare GET, for checks that must not go through the client under test: status and body, or
    /// none when it does not answer within 2 s.
    pub fn get(&self, path: &str, token: Option<&str>) -> Option<(u16, String)> {
        self.ask("GET", path, token, "")
    }

    /// A bare PUT with a body.
    pub fn put(&self, path: &str, token: Option<&str>, body: &str) -> Option<(u16, String)> {
        self.ask("PUT", path, token, body)
    }

    /// A bare request of any method.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Option<(u16, String)> {
        inside(self.namespace.as_ref(), || http(self.http_addr(), method, path, token, body))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().expect("the server runs");
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("signal consul");
    }

    fn spawn(&mut self, binary: &Path) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("log");
        let mut command = Command::new(binary);
        command
            .args(["agent", "-config-file"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        let child = inside(self.namespace.as_ref(), || command.spawn())
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        self.child = Some(child);
    }

    fn knows_nodes(&self, count: usize, token: Option<&str>) -> bool {
        let Some((200, leader)) = self.get("/v1/status/leader", None) else { return false };
        if leader.trim() == "\"\"" {
            return false;
        }
        // A session needs its node's serfHealth check or at least its node in the catalog.
        let Some((200, nodes)) = self.get("/v1/catalog/nodes?consistent", token) else {
            return false;
        };
        let nodes: Value = serde_json::from_str(&nodes).unwrap_or_default();
        nodes.as_array().is_some_and(|nodes| nodes.len() == count)
    }

    fn assert_alive(&mut self) {
        let Some(child) = self.child.as_mut() else { return };
        if let Some(status) = child.try_wait().expect("wait for consul") {
            panic!("{} ended with {status}; the end of its log:\n{}", self.name, self.log_tail());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The `consul` in the PATH. Missing, it fails the test: these tests are never skipped.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join("consul")).find(|file| file.is_file()).expect(
        "no `consul` in the PATH: run the tests with the README's test command, which installs it",
    )
}

/// Lay `over` on top of `base`, object by object.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn inside<T: Send>(namespace: Option<&NetNs>, f: impl FnOnce() -> T + Send) -> T {
    match namespace {
        Some(namespace) => namespace.run(f),
        None => f(),
    }
}

/// Two middle bytes of 127.x.y.0/24, different in every test process and cluster.
fn own_network() -> [u8; 2] {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let pid = std::process::id();
    let high = 64 + u8::try_from(pid % 128).expect("below 128");
    let low = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add((pid / 128 % 8) as u8 * 32);
    [high, low]
}

/// One bare request: status and body, or none when there is no whole answer within 2 s.
pub fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Option<(u16, String)> {
    let (status, _, body) = exchange(address, method, path, token, body)?;
    Some((status, body))
}

/// As [`http`], with the head of the answer between status and body.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Option<(u16, String, String)> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let token = token.map(|token| format!("X-Consul-Token: {token}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}
