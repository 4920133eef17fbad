//! Consul: every address, its servers, how fast it is, and what the token may do.

use std::time::{Duration, Instant};

use super::report::Report;
use crate::consul::{
    AgentSelf, Client, ClientConfig, Consistency, Error, Health, Kind, Refusal, SessionId,
    SessionRequest, TxnOp,
};
use crate::settings::Settings;
use crate::supervisor::Keys;
use crate::supervisor::election_key::session_request;

const LIMIT: Duration = Duration::from_secs(3);
/// So many reads and writes are timed.
const SAMPLES: usize = 5;
/// An entry is never at this index, so a transaction that asks for it changes nothing.
const NEVER: u64 = i64::MAX as u64;

/// What one address told.
struct Told {
    client: Client,
    leader: Option<String>,
    servers: Vec<String>,
    is_server: bool,
}

pub async fn check(report: &mut Report, settings: &Settings, account: Option<&str>) {
    let mut answering = Vec::new();
    for address in &settings.consul.addresses {
        plain_text(report, settings, address);
        answering.extend(ask(report, &settings.consul, address).await);
    }
    if settings.consul.addresses.len() == 1 {
        report.warning(
            "consul-addresses",
            "only one address is given: without its agent this node loses the key",
            "name a second agent or server in --consul-url",
        );
    }
    servers(report, &answering).await;
    let (Some(told), Some(account)) = (answering.first(), account) else { return };
    if told.leader.is_some() {
        let probe = Probe {
            client: &told.client,
            keys: Keys::new(account),
            scratch: format!("{}.doctor", settings.election.node_id),
        };
        probe.run(report, settings).await;
    }
}

async fn ask(report: &mut Report, config: &ClientConfig, address: &str) -> Option<Told> {
    let config = ClientConfig { addresses: vec![address.to_owned()], ..config.clone() };
    let told = async {
        let client = Client::new(config)?;
        let leader = client.leader(LIMIT).await?;
        let servers = client.peers(LIMIT).await?;
        Ok::<_, Error>(Told { client, leader, servers, is_server: false })
    };
    let mut told = match told.await {
        Ok(told) => told,
        Err(error) => {
            report.result("consul", Err(error));
            return None;
        }
    };
    match told.client.agent_self(LIMIT).await {
        Ok(agent) => {
            let AgentSelf { node_name, version, datacenter, .. } = &agent;
            let message =
                format!("{address}: node {node_name}, Consul {version}, datacenter {datacenter}");
            report.ok("consul", message);
            agent_settings(report, &agent);
            told.is_server = agent.is_server;
        }
        // It answers; the missing right has a check of its own.
        Err(error) if error.kind == Kind::Denied => report.ok("consul", address),
        Err(error) => report.result("consul", Err(error)),
    }
    Some(told)
}

/// Settings of an agent that cost the lock without need.
fn agent_settings(report: &mut Report, agent: &AgentSelf) {
    if agent.leaves_on_terminate {
        report.warning(
            "consul-agent",
            format!(
                "{} leaves the cluster when it is stopped, and a holder of the key loses its \
                 session with it",
                agent.node_name
            ),
            "set leave_on_terminate = false in its configuration",
        );
    }
    let slow = |timeout: &&String| {
        humantime::parse_duration(timeout).is_ok_and(|timeout| timeout > Duration::from_secs(1))
    };
    if let Some(timeout) = agent.election_timeout.as_ref().filter(slow) {
        report.warning(
            "consul-agent",
            format!(
                "{} waits {timeout} before it elects a new leader, which the default lease does \
                 not sit out",
                agent.node_name
            ),
            "set performance { raft_multiplier = 1 } on every server",
        );
    }
    if agent.version.contains("standin") {
        report.warning(
            "consul-agent",
            format!("{} is the stand-in of a localnet, no Consul", agent.node_name),
            "run Consul",
        );
    }
}

/// A token that travels unencrypted over a network can be read there.
fn plain_text(report: &mut Report, settings: &Settings, address: &str) {
    let host = address.trim().strip_prefix("http://").map(|rest| {
        rest.split('/').next().unwrap_or("").rsplit_once(':').map_or(rest, |(host, _)| host)
    });
    let Some(host) = host else { return };
    let is_here = host == "localhost" || host.starts_with("127.") || host.contains("::1");
    if !is_here && settings.consul.token_file.is_some() {
        report.warning(
            "consul-tls",
            format!("{address}: the ACL token travels unencrypted"),
            "use https and --consul-ca-file",
        );
    }
}

/// Whether the addresses lead to one cluster, and how many servers it can lose.
async fn servers(report: &mut Report, answering: &[Told]) {
    let Some(first) = answering.first() else { return };
    let set = |told: &Told| {
        let mut servers = told.servers.clone();
        servers.sort();
        servers
    };
    if answering.iter().any(|told| set(told) != set(first)) {
        report.problem(
            "consul-servers",
            "the addresses of --consul-url lead to different Consul clusters, and each would have \
             a holder of the key of its own",
            "name agents of one cluster",
        );
        return;
    }
    let led = answering.iter().find_map(|told| Some((told, told.leader.as_ref()?)));
    let Some((told, leader)) = led else {
        report.problem(
            "consul-servers",
            format!("none of the {} servers is the leader", first.servers.len()),
            "start enough of them: more than half have to be up",
        );
        return;
    };
    let message = format!("{} with a vote, leader {leader}", first.servers.len());
    match first.servers.len() {
        0..=2 => report.warning(
            "consul-servers",
            format!("{message}: none of them may fail"),
            "run three or five",
        ),
        count if count.is_multiple_of(2) => report.warning(
            "consul-servers",
            format!("{message}: an even number bears no more losses than one less"),
            "run three or five",
        ),
        // Most tokens may not ask this.
        _ => match told.client.health(LIMIT).await {
            Ok(health) => servers_health(report, &message, &health),
            Err(_) => report.ok("consul-servers", message),
        },
    }
    if first.servers.len() > 2
        && answering.iter().any(|told| told.is_server)
        && told.client.forgets_lost_servers(LIMIT).await.is_ok_and(|forgets| forgets)
    {
        report.warning(
            "consul-servers",
            "they forget one of them that is lost for ten seconds, and end the sessions made with \
             it, perhaps that of the key's holder",
            "consul operator autopilot set-config -cleanup-dead-servers=false",
        );
    }
}

fn servers_health(report: &mut Report, message: &str, health: &Health) {
    let may_fail = match health.failure_tolerance {
        0 => "none of them may fail now".to_owned(),
        count => format!("{count} may fail"),
    };
    let message = format!("{message}: {may_fail}");
    let sick = health.servers.iter().filter(|server| !server.healthy);
    let sick: Vec<&str> = sick.map(|server| server.name.as_str()).collect();
    if health.failure_tolerance > 0 && sick.is_empty() {
        report.ok("consul-servers", message);
        return;
    }
    let names = if sick.is_empty() { "one".to_owned() } else { sick.join(", ") };
    report.warning(
        "consul-servers",
        format!("{message}; lost, or not yet in step with the leader: {names}"),
        "start what is down, and take no other server down before this is gone",
    );
}

/// Tries what kneard does. Writes nothing but one scratch entry, and a session to write it with.
struct Probe<'a> {
    client: &'a Client,
    keys: Keys,
    scratch: String,
}

impl Probe<'_> {
    async fn run(&self, report: &mut Report, settings: &Settings) {
        match self.client.agent_self(LIMIT).await {
            Err(error) if error.kind == Kind::Denied => {
                report.warning("acl-agent", error, "kneard works without, but names no node");
            }
            Err(error) => report.result("acl-agent", Err(error)),
            Ok(_) => report.ok("acl-agent", "the token may ask for the agent's name"),
        }
        let election = self.keys.election();
        self.may_write(report, "acl-election", &election).await;
        self.may_write(report, "acl-history", &format!("{}doctor", self.keys.history())).await;
        self.may_write(report, "acl-pause", &self.keys.pause()).await;

        let session = self.client.create_session(&self.session(settings), LIMIT).await;
        let session = match session {
            Ok(session) => {
                report.ok("acl-session", "the token may create sessions");
                Some(session)
            }
            Err(error) => {
                report.result("acl-session", Err(error));
                None
            }
        };
        self.scratch(report, settings, session.as_ref()).await;
        if let Some(session) = session
            && let Err(error) = self.client.destroy_session(&session, LIMIT).await
        {
            report.warning("acl-session", error, "the session ends by itself within 20 s");
        }
    }

    fn session(&self, settings: &Settings) -> SessionRequest {
        SessionRequest {
            name: format!("kneard-ctl doctor on {}", settings.election.node_id),
            ttl: Duration::from_secs(10),
            lock_delay: Duration::ZERO,
            ..session_request(self.keys.account(), &settings.election)
        }
    }

    /// Consul judges the rights before the conditions: a transaction whose condition never holds
    /// tells whether the token could write, and writes nothing.
    async fn may_write(&self, report: &mut Report, name: &'static str, key: &str) {
        let ops = [
            TxnOp::CheckIndex { key: key.to_owned(), index: NEVER },
            TxnOp::Set { key: key.to_owned(), value: Vec::new(), flags: 0 },
        ];
        let allowed = match self.client.txn(&ops, LIMIT).await {
            Err(error)
                if error.refused_for(&Refusal::Index) || error.refused_for(&Refusal::Missing) =>
            {
                Ok(format!("the token may write {key}"))
            }
            Err(error) => Err(error.to_string()),
            Ok(_) => Err(format!("Consul ignored a transaction's condition on {key}")),
        };
        report.result(name, allowed);
    }

    /// Writes, times and removes the scratch entry.
    async fn scratch(&self, report: &mut Report, settings: &Settings, session: Option<&SessionId>) {
        let key = self.keys.node(&self.scratch);
        let mut writes = Vec::new();
        for _ in 0..SAMPLES {
            let started = Instant::now();
            match self.client.put(&key, b"doctor", session, LIMIT).await {
                Ok(_) => writes.push(started.elapsed()),
                Err(error) => {
                    report.result("acl-nodes", Err(error));
                    break;
                }
            }
        }
        if let Some(write) = median(&mut writes) {
            report.ok("acl-nodes", format!("the token may write below {}", self.keys.nodes()));
            self.latency(report, settings, write).await;
            if let Err(error) = self.client.delete(&key, LIMIT).await {
                report.warning("acl-nodes", error, &format!("consul kv delete {key}"));
            }
        }
    }

    async fn latency(&self, report: &mut Report, settings: &Settings, write: Duration) {
        let mut reads = Vec::new();
        for _ in 0..SAMPLES {
            let started = Instant::now();
            let key = self.keys.election();
            match self.client.read(&key, Consistency::Consistent, LIMIT).await {
                Ok(_) => reads.push(started.elapsed()),
                // The rights have been checked.
                Err(error) if error.kind == Kind::Denied => break,
                Err(error) => {
                    report.result("consul-latency", Err(error));
                    return;
                }
            }
        }
        let beat = settings.election.beat_interval();
        let mut message = format!("a write takes {}", ms(write));
        if let Some(read) = median(&mut reads) {
            message = format!("{message}, a read {} (medians of {SAMPLES})", ms(read));
        }
        if write > beat {
            report.problem(
                "consul-latency",
                format!("{message}, more than the {} of one beat", ms(beat)),
                "use Consul servers nearer by, or a longer --lease",
            );
        } else if write > beat / 4 {
            report.warning(
                "consul-latency",
                format!("{message}; one beat has {}", ms(beat)),
                "use Consul servers nearer by, or a longer --lease",
            );
        } else {
            report.ok("consul-latency", message);
        }
    }
}

fn median(samples: &mut [Duration]) -> Option<Duration> {
    samples.sort();
    samples.get(samples.len() / 2).copied()
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
