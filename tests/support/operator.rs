//! `kneard-ctl`, as an operator types it.

use serde_json::Value;

use super::{
    binaries::{self, Ended, run_to_end},
    http,
    kneard::Kneard,
    pair::Pair,
    wait::{secs, wait_until},
};

pub fn kneard_ctl(kneard: &Kneard, args: &[&str]) -> Ended {
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.arg("--control-socket").arg(kneard.setup.home.join("kuutamod.sock")).args(args);
    run_to_end(command, secs(90))
}

/// What a command that succeeds answers.
pub fn json(kneard: &Kneard, args: &[&str]) -> Value {
    let ended = kneard_ctl(kneard, &[&["--json"], args].concat());
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

/// Why a command is refused, in its one line.
pub fn refusal(kneard: &Kneard, args: &[&str]) -> String {
    let ended = kneard_ctl(kneard, args);
    assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.stdout);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    ended.stderr
}

/// The holder knows of a standby that can take the key, and both neards can be told to reload.
pub fn wait_until_eligible(pair: &Pair) {
    wait_until(secs(30), "the standby is known to be ready", || {
        let status = json(&pair.holder, &["status"]);
        let nodes = status["nodes"].as_array()?;
        let name = pair.standby.setup.node_id.as_str();
        let node = nodes.iter().find(|node| node["node_id"] == name)?;
        (node["state"] == "Voting" && node["lag"].is_u64()).then_some(())
    });
    for kneard in [&pair.holder, &pair.standby] {
        wait_until_settled(kneard);
    }
}

/// neard has run for so long that SIGHUP does not end it.
pub fn wait_until_settled(kneard: &Kneard) {
    let rpc = kneard.setup.rpc;
    wait_until(secs(20), "neard has run for a while", || {
        let status: Value = serde_json::from_str(&http::get(rpc, "/status").ok()?).ok()?;
        (status["uptime_sec"].as_u64()? >= 2).then_some(())
    });
}
