//! Real Consul servers.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Child,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    binaries, http,
    ports::free_port,
    wait::{secs, wait_until},
};

pub struct Consul {
    servers: Vec<Server>,
    _directory: tempfile::TempDir,
}

struct Server {
    name: String,
    directory: PathBuf,
    arguments: Vec<String>,
    http: SocketAddr,
    rpc: SocketAddr,
    child: Option<Child>,
}

impl Consul {
    /// One server on loopback, with a leader.
    pub fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), 1)
    }

    /// Servers that form one cluster, with a leader.
    pub fn cluster(count: usize) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), count)
    }

    pub fn start_on(address: IpAddr, count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports: Vec<[u16; 3]> =
            (0..count).map(|_| [free_port(), free_port(), free_port()]).collect();
        let mut servers = Vec::new();
        for (index, [http, rpc, serf]) in ports.iter().copied().enumerate() {
            let name = format!("server{index}");
            let home = directory.path().join(&name);
            fs::create_dir(&home).unwrap();
            let mut arguments: Vec<String> = [
                "agent -server -log-level warn -dns-port -1 -grpc-port -1 -serf-wan-port -1",
                &format!(
                    "-node {name} -bootstrap-expect {count} -bind {address} -client {address}"
                ),
                &format!("-http-port {http} -server-port {rpc} -serf-lan-port {serf}"),
                &format!("-data-dir {}", home.display()),
            ]
            .iter()
            .flat_map(|line| line.split(' ').map(str::to_owned))
            .collect();
            // The fastest elections that Consul has, as its documentation advises for production.
            arguments.extend(["-hcl".into(), "performance { raft_multiplier = 1 }".into()]);
            arguments.extend(["-hcl".into(), "disable_update_check = true".into()]);
            for other in &ports {
                arguments.extend(["-retry-join".into(), format!("{address}:{}", other[2])]);
            }
            arguments.extend(["-retry-interval".into(), "1s".into()]);
            let mut server = Server {
                name,
                directory: home,
                arguments,
                http: (address, http).into(),
                rpc: (address, rpc).into(),
                child: None,
            };
            server.start();
            servers.push(server);
        }
        let consul = Self { servers, _directory: directory };
        consul.wait_ready();
        consul
    }

    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("http://{}", server.http)).collect()
    }

    /// The HTTP address of one server.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.servers[index].http
    }

    /// The HTTP address of some server that runs.
    pub fn any_address(&self) -> SocketAddr {
        let running = self.servers.iter().find(|server| server.child.is_some());
        running.expect("a Consul server runs").http
    }

    /// The server that all running servers call their leader.
    pub fn leader(&self) -> Option<usize> {
        let mut leaders =
            self.servers.iter().filter(|server| server.child.is_some()).map(|server| {
                let answer = http::get(server.http, "/v1/status/leader").ok()?;
                let leader = answer.trim().trim_matches('"').parse::<SocketAddr>().ok()?;
                self.servers.iter().position(|server| server.rpc == leader)
            });
        let first = leaders.next()??;
        leaders.all(|leader| leader == Some(first)).then_some(first)
    }

    /// Waits until all servers that run agree on a leader which runs, and serve its catalog.
    pub fn wait_ready(&self) {
        wait_until(secs(30), "the Consul servers agree on a leader", || {
            let leader = self.leader()?;
            self.servers[leader].child.as_ref()?;
            let running = self.servers.iter().filter(|server| server.child.is_some());
            let ready = |server: &Server| {
                http::get(server.http, "/v1/catalog/nodes?consistent")
                    .is_ok_and(|nodes| nodes.contains(&server.name))
            };
            running.into_iter().all(ready).then_some(())
        });
    }

    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.servers[index].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn restart(&mut self, index: usize) {
        self.kill(index);
        self.servers[index].start();
    }

    pub fn signal(&self, index: usize, signal: Signal) {
        let child = self.servers[index].child.as_ref().expect("the server runs");
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    }

    /// Runs `consul snapshot save|restore FILE` against the first server.
    pub fn snapshot(&self, verb: &str, file: &Path) {
        let output = binaries::clean("consul")
            .args(["snapshot", verb, "-http-addr", &self.servers[0].http.to_string()])
            .arg(file)
            .output()
            .expect("consul runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "consul snapshot {verb}: {error}");
    }
}

impl Server {
    fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("consul.log"))
            .unwrap();
        let child = binaries::clean("consul")
            .args(&self.arguments)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("consul: {e}; tests/run installs what the tests need"));
        self.child = Some(child);
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        for index in 0..self.servers.len() {
            self.kill(index);
        }
    }
}
