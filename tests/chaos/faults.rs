//! How each fault is made, and healed.

use std::io;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    host::signal,
    network::Cut,
    plan::{From, Kind, Node, Part, Server, Way},
    stage::{SERVERS, Stage},
    support::{
        chain::ACCOUNT,
        election,
        netns::{NetNs, Wire},
    },
};

/// Undoes a fault.
pub type Heal = Box<dyn FnOnce(&mut Stage) -> Result<(), String>>;

/// A fault that was made: whom it hit, and how it is healed.
pub struct Made {
    pub target: String,
    pub heal: Option<Heal>,
}

/// # Errors
/// Why it cannot be made as things are, such as that the process to kill is not there.
pub fn make(stage: &mut Stage, number: usize, kind: Kind) -> Result<Made, String> {
    match kind {
        Kind::Kill(Part::Kneard, node) => {
            let (host, target) = (resolve(stage, node), Part::Kneard);
            hit(stage, host, target, Signal::SIGKILL)?;
            Ok(take_down(stage, host))
        }
        Kind::Terminate(node) => {
            let host = resolve(stage, node);
            hit(stage, host, Part::Kneard, Signal::SIGTERM)?;
            Ok(take_down(stage, host))
        }
        Kind::Kill(part, node) => {
            let host = resolve(stage, node);
            hit(stage, host, part, Signal::SIGKILL)?;
            Ok(Made { target: name(stage, host), heal: None })
        }
        Kind::KillKneardAndGuard(node) => kill_at_once(stage, node, &[Part::Kneard, Part::Guard]),
        Kind::LoseHost(node) => {
            kill_at_once(stage, node, &[Part::Kneard, Part::Guard, Part::Neard])
        }
        Kind::Stop(part, node) => {
            let host = resolve(stage, node);
            let process = hit(stage, host, part, Signal::SIGSTOP)?;
            Ok(healed_by(name(stage, host), move |_| {
                signal(&process, Signal::SIGCONT);
                Ok(())
            }))
        }
        Kind::PauseHost(node) | Kind::PauseHostLong(node) => {
            let host = resolve(stage, node);
            stage.hosts[host].pause().map_err(text)?;
            Ok(healed_by(name(stage, host), move |stage| {
                if let Some((from, to)) = stage.hosts[host].resume().map_err(text)? {
                    stage.pause_ended(host, from, to);
                }
                Ok(())
            }))
        }
        Kind::CutOff(from, way, node) => {
            let host = resolve(stage, node);
            let wires: &[Wire] = match from {
                From::Consul => &[Wire::Consul],
                From::Chain => &[Wire::Chain],
                From::Everyone => &[Wire::Consul, Wire::Chain],
            };
            let namespace = stage.hosts[host].namespace.clone();
            Ok(cut(name(stage, host), &namespace, number, wires, way))
        }
        Kind::Neard(trouble, node) => {
            let host = resolve(stage, node);
            stage.hosts[host].begin_trouble(trouble);
            Ok(healed_by(name(stage, host), move |stage| {
                stage.hosts[host].end_trouble(trouble);
                Ok(())
            }))
        }
        Kind::FullDisk(node) => {
            let host = resolve(stage, node);
            stage.hosts[host].disk.fill();
            Ok(healed_by(name(stage, host), move |stage| {
                stage.hosts[host].disk.clear();
                Ok(())
            }))
        }
        Kind::ReadOnlyHome(node) => {
            let host = resolve(stage, node);
            stage.hosts[host].disk.make_read_only();
            Ok(healed_by(name(stage, host), move |stage| {
                stage.hosts[host].disk.make_writable();
                Ok(())
            }))
        }
        Kind::StepClock(seconds, node) => {
            let host = resolve(stage, node);
            stage.hosts[host].clock.step(seconds);
            Ok(healed_by(format!("{}, {seconds:+} s", name(stage, host)), move |stage| {
                stage.hosts[host].clock.step(-seconds);
                Ok(())
            }))
        }
        Kind::KillServer(server) => Ok(kill_servers(stage, &[server])),
        Kind::KillQuorum => Ok(kill_servers(stage, &[Server::Leader, Server::Follower(0)])),
        Kind::StopServer(server) => stop_servers(stage, &[server]),
        Kind::StopQuorum => stop_servers(stage, &[Server::Leader, Server::Follower(1)]),
        Kind::CutOffServer(way, server) => {
            let server = resolve_server(stage, server);
            let namespace = stage.net.host(server).clone();
            Ok(cut(server_name(server), &namespace, number, &[Wire::Consul], way))
        }
        Kind::EndSession => {
            let session = session(stage).ok_or("no session holds the lock")?;
            operate(stage, "PUT", &format!("/v1/session/destroy/{session}"), "")
        }
        Kind::DeleteKey => {
            operate(stage, "DELETE", &format!("/v1/kv/{}", election::key(ACCOUNT)), "")
        }
        Kind::GarbageKey => {
            operate(stage, "PUT", &format!("/v1/kv/{}", election::key(ACCOUNT)), "garbage")
        }
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}

fn healed_by(
    target: String,
    heal: impl FnOnce(&mut Stage) -> Result<(), String> + 'static,
) -> Made {
    Made { target, heal: Some(Box::new(heal)) }
}

fn name(stage: &Stage, host: usize) -> String {
    stage.hosts[host].name.clone()
}

fn server_name(server: usize) -> String {
    format!("consul{server}")
}

fn resolve(stage: &Stage, node: Node) -> usize {
    let (holder, count) = (stage.holder(), stage.hosts.len());
    match node {
        Node::Holder => holder,
        Node::Standby(nth) => (holder + 1 + usize::from(nth) % (count - 1)) % count,
    }
}

fn resolve_server(stage: &Stage, server: Server) -> usize {
    // While there is no leader, any server will do.
    let leader = stage.watch.seen().leader(&stage.addresses()).unwrap_or(0);
    match server {
        Server::Leader => leader,
        Server::Follower(nth) => (leader + 1 + usize::from(nth) % (SERVERS - 1)) % SERVERS,
    }
}

fn hit(
    stage: &Stage,
    host: usize,
    part: Part,
    with: Signal,
) -> Result<crate::support::process::Process, String> {
    let host = &stage.hosts[host];
    let process = host.process(part).ok_or_else(|| format!("{} has no {part} now", host.name))?;
    signal(&process, with);
    Ok(process)
}

/// kneard is dead or dying, and stays so until the fault is healed.
fn take_down(stage: &mut Stage, host: usize) -> Made {
    stage.hosts[host].take_down();
    healed_by(name(stage, host), move |stage| {
        stage.hosts[host].allow_start();
        Ok(())
    })
}

fn kill_at_once(stage: &mut Stage, node: Node, parts: &[Part]) -> Result<Made, String> {
    let host = resolve(stage, node);
    if stage.hosts[host].process(Part::Kneard).is_none() {
        return Err(format!("{} has no kneard now", stage.hosts[host].name));
    }
    stage.hosts[host].kill_at_once(parts).map_err(text)?;
    Ok(take_down(stage, host))
}

fn cut(target: String, host: &NetNs, number: usize, wires: &[Wire], way: Way) -> Made {
    let cut = Cut::make(host, number, wires, way);
    healed_by(target, move |_| {
        cut.heal();
        Ok(())
    })
}

fn kill_servers(stage: &mut Stage, which: &[Server]) -> Made {
    let servers: Vec<_> = which.iter().map(|server| resolve_server(stage, *server)).collect();
    for server in &servers {
        stage.servers_down[*server] += 1;
        stage.consul.server(*server).kill();
    }
    let names: Vec<_> = servers.iter().map(|server| server_name(*server)).collect();
    healed_by(names.join(" and "), move |stage| {
        for server in servers {
            stage.servers_down[server] -= 1;
            if stage.servers_down[server] == 0 {
                stage.consul.server(server).restart();
            }
        }
        Ok(())
    })
}

fn stop_servers(stage: &mut Stage, which: &[Server]) -> Result<Made, String> {
    let mut servers: Vec<_> = which.iter().map(|server| resolve_server(stage, *server)).collect();
    servers.retain(|server| stage.consul.server(*server).is_running());
    if servers.is_empty() {
        return Err("the server is down already".to_owned());
    }
    for server in &servers {
        stage.consul.server(*server).stop();
    }
    let names: Vec<_> = servers.iter().map(|server| server_name(*server)).collect();
    Ok(healed_by(names.join(" and "), move |stage| {
        for server in servers {
            if stage.consul.server(server).is_running() {
                stage.consul.server(server).cont();
            }
        }
        Ok(())
    }))
}

/// A server that knows a leader.
fn useful_server(stage: &Stage) -> Option<usize> {
    let seen = stage.watch.seen();
    seen.leaders.iter().find(|(_, leader)| leader.is_some()).map(|(server, _)| *server)
}

fn session(stage: &Stage) -> Option<String> {
    let server = useful_server(stage)?;
    let path = format!("/v1/kv/{}", election::key(ACCOUNT));
    let (_, body) = stage.consul.servers()[server].get(&path, None)?;
    let entries: Value = serde_json::from_str(&body).ok()?;
    Some(entries[0]["Session"].as_str()?.to_owned())
}

/// What an operator does by hand, on some server.
fn operate(stage: &Stage, method: &str, path: &str, body: &str) -> Result<Made, String> {
    let server = useful_server(stage).ok_or("no Consul server knows a leader")?;
    match stage.consul.servers()[server].ask(method, path, None, body) {
        Some((200, answer)) if answer.trim() == "true" => {
            Ok(Made { target: format!("by {}", server_name(server)), heal: None })
        }
        Some((status, answer)) => Err(format!("Consul answered {status} {}", answer.trim())),
        None => Err("Consul did not answer".to_owned()),
    }
}
