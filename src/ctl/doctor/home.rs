//! neard's home, its configuration and the program.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::report::Report;
use crate::control;
use crate::election::Promotion;
use crate::neard::home::{Home, HomeError};
use crate::neard::rpc::{Rpc, Status};
use crate::programs;
use crate::settings::Settings;

const LIMIT: Duration = Duration::from_secs(3);

/// What the later checks build on.
pub struct Found {
    /// A kneard, its guard or a neard has the home.
    pub in_use: bool,
    pub status: Option<Status>,
    pub rpc: Option<std::net::SocketAddr>,
}

pub async fn check(report: &mut Report, settings: &Settings, account: Option<&str>) -> Found {
    let mut found = Found { in_use: false, status: None, rpc: None };
    let version = program(report, settings).await;
    let home = match Home::open(&settings.neard_home) {
        Ok(home) => home,
        Err(error) => {
            report.result("home", Err(error));
            return found;
        }
    };
    match home.lock(Duration::ZERO).await {
        Ok(_) => report.ok("home", format!("{}, free", home.path().display())),
        Err(HomeError::Locked { holders, .. }) => {
            found.in_use = true;
            let by = if holders.is_empty() { "a process of another user" } else { &holders };
            report.ok("home", format!("{}, in use by {by}", home.path().display()));
        }
        Err(error) => report.result("home", Err(error)),
    }
    running(report, settings, found.in_use).await;

    match home.rpc_addr() {
        Ok(addr) => {
            found.rpc = Some(addr);
            found.status = Rpc::new(addr).status(LIMIT).await.ok();
        }
        Err(error) => report.result("config", Err(error)),
    }
    if let Some(status) = &found.status
        && !found.in_use
    {
        report.problem(
            "neard",
            format!(
                "a neard that no kneard manages answers at {}, at height {}",
                found.rpc.map(|addr| addr.to_string()).unwrap_or_default(),
                status.head
            ),
            "stop it: two neards may not share the key",
        );
    }
    let Some(account) = account else { return found };
    if let Ok((options, _)) = crate::supervisor::neard_options(settings) {
        let checked = home.check(&options.standby).and_then(|()| home.check(&options.validator));
        let path = home.path().join("config.json");
        report.result("config", checked.map(|()| path.display().to_string()));
    }
    let chain = found.status.as_ref().and_then(|status| status.chain_id.clone());
    let Some(chain) = chain.or_else(|| chain_id(home.path())) else {
        report.warning(
            "chain",
            "the chain's name is neither told by neard nor found in genesis.json",
            "fetch the genesis file with neard init",
        );
        return found;
    };
    report.ok("chain", &chain);
    let told = found.status.as_ref().and_then(|status| status.version.clone());
    tracked_shards(report, settings, &home, &chain, account, told.or(version).as_deref());
    found
}

/// What neard does when it gets the key on this chain.
fn tracked_shards(
    report: &mut Report,
    settings: &Settings,
    home: &Home,
    chain: &str,
    account: &str,
    version: Option<&str>,
) {
    if let Some(why) = home.start_obstacle(chain, account) {
        report.problem("tracked-shards", why, "");
        return;
    }
    let swaps = settings.election.promotion == Promotion::HotSwap;
    let Ok(config) = home.config() else { return };
    match (config.hot_swap_obstacle(version, chain, account), swaps) {
        (None, true) => report.ok("hot-swap", "neard can be given the key while it runs"),
        (None, false) => report
            .ok("hot-swap", "possible, but --promotion or --validator-node-key ask for restarts"),
        (Some(why), true) => {
            report.warning("hot-swap", format!("neard is restarted at a takeover: {why}"), "");
        }
        (Some(why), false) => report.ok("hot-swap", format!("not asked for, nor possible: {why}")),
    }
}

async fn running(report: &mut Report, settings: &Settings, in_use: bool) {
    let socket = &settings.control_socket;
    match control::Client::new(socket).status().await {
        Ok(status) => report.ok(
            "kneard",
            format!("runs as {}: {}, {}", status.node.node_id, status.node.state, status.sentence),
        ),
        Err(error) if in_use => report.problem(
            "kneard",
            format!("the home is in use, but kneard does not answer: {error}"),
            "see its log",
        ),
        Err(_) => report.ok("kneard", "does not run"),
    }
}

/// The chain's name in the first part of genesis.json, which may be very long.
fn chain_id(home: &Path) -> Option<String> {
    const ENOUGH: u64 = 64 * 1024;
    let mut start = Vec::new();
    let file = std::fs::File::open(home.join("genesis.json")).ok()?;
    file.take(ENOUGH).read_to_end(&mut start).ok()?;
    let text = String::from_utf8_lossy(&start);
    let (_, value) = text.split_once("\"chain_id\"")?;
    let (name, _) =
        value.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split_once('"')?;
    Some(name.to_owned())
}

/// neard's version, as the program says it.
async fn program(report: &mut Report, settings: &Settings) -> Option<String> {
    let binary = &settings.neard_binary;
    if !programs::is_found(binary) {
        report.problem(
            "neard-binary",
            format!("{}: no such program", binary.display()),
            "install neard or name where it is with --neard-binary",
        );
        return None;
    }
    let binary = binary.clone();
    let asked = tokio::task::spawn_blocking(move || {
        Command::new(binary).arg("--version").stdin(Stdio::null()).output()
    });
    let output = match timeout(LIMIT, asked).await {
        Ok(Ok(Ok(output))) if output.status.success() => output,
        _ => {
            report.problem(
                "neard-binary",
                format!("{} --version does not answer", settings.neard_binary.display()),
                "is it neard?",
            );
            return None;
        }
    };
    let line = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_owned();
    let version = release(&line);
    let name = settings.neard_binary.display();
    match version.as_deref().and_then(crate::neard::version_obstacle) {
        Some(why) => report.warning("neard-binary", format!("{name}: {why}"), ""),
        None => report.ok("neard-binary", format!("{name}: {line}")),
    }
    version
}

/// The release in `neard (release 2.13.1) (build …) …`, or the first word that begins as one.
fn release(line: &str) -> Option<String> {
    line.split(|c: char| c.is_whitespace() || "()".contains(c))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_found_in_what_neard_says() {
        let line = "neard (release 2.13.1) (build 2.13.1-0-g1) (rustc 1.88.0) (protocol 86)";
        assert_eq!(release(line).as_deref(), Some("2.13.1"));
        assert_eq!(release("neard (release trunk) (build unknown)"), None);
    }

    #[test]
    fn the_chains_name_is_read_from_the_genesis_files_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{{\"chain_id\" : \"testnet\", \"records\": [{}", "0,".repeat(90_000));
        std::fs::write(dir.path().join("genesis.json"), text).unwrap();
        assert_eq!(chain_id(dir.path()).as_deref(), Some("testnet"));
        assert_eq!(chain_id(&dir.path().join("nowhere")), None);
    }
}
