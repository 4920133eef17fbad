//! `kneard-ctl system-info`: what runs here, for a login message or a support request.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use serde::Serialize;
use serde_json::Value;

use super::check_rpc::local;
use super::near_rpc::NodeStatus;
use crate::control::Client;

/// Show versions, node id, addresses, chain, disk space and uptime of this node
///
/// Shows what can be found out; needs neither kneard nor neard to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// On one line
    #[arg(long)]
    inline: bool,

    /// neard's home directory
    #[arg(long, env = "KUUTAMO_NEARD_HOME", default_value = ".")]
    neard_home: PathBuf,
}

/// Absent is what could not be found out.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
struct Info {
    kneard_ctl_version: &'static str,
    kneard_version: Option<String>,
    node_id: Option<String>,
    account_id: Option<String>,
    state: Option<String>,
    neard_version: Option<String>,
    chain_id: Option<String>,
    height: Option<u64>,
    neard_uptime_sec: Option<u64>,
    node_public_key: Option<String>,
    network_addr: Option<String>,
    public_addrs: Vec<String>,
    rpc_addr: Option<String>,
    neard_home: PathBuf,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
}

pub async fn run(args: &Args, client: &Client, json: bool) -> ExitCode {
    let info = find(&args.neard_home, client).await;
    match (json, args.inline) {
        // Plain data: serializing it cannot fail.
        (true, true) => println!("{}", serde_json::to_string(&info).unwrap_or_default()),
        (true, false) => println!("{}", serde_json::to_string_pretty(&info).unwrap_or_default()),
        (false, true) => println!("{}", info.inline()),
        (false, false) => println!("{info}"),
    }
    ExitCode::SUCCESS
}

async fn find(home: &Path, client: &Client) -> Info {
    let status = client.status().await.ok();
    let rpc = local(home).ok();
    let neard = match &rpc {
        Some(rpc) => rpc.status().await.unwrap_or_default(),
        None => NodeStatus::default(),
    };
    let network = network(home);
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let disk = statvfs(home).ok();
    let node = status.as_ref().map(|status| &status.node);
    Info {
        kneard_ctl_version: env!("CARGO_PKG_VERSION"),
        kneard_version: node.map(|node| node.kneard_version.clone()),
        node_id: node.map(|node| node.node_id.clone()),
        account_id: status.as_ref().map(|status| status.account_id.clone()),
        state: node.map(|node| node.state.clone()),
        neard_version: neard.version.or_else(|| node?.neard_version.clone()),
        chain_id: neard.chain_id,
        height: neard.head.or_else(|| node?.head),
        neard_uptime_sec: neard.uptime.map(|uptime| uptime.as_secs()),
        node_public_key: neard.node_key,
        network_addr: network["addr"].as_str().map(str::to_owned),
        public_addrs: texts(&network["public_addrs"]),
        rpc_addr: rpc.map(|rpc| rpc.url().trim_start_matches("http://").to_owned()),
        neard_home: home.to_owned(),
        disk_free_bytes: disk.map(|disk| disk.blocks_available() * disk.fragment_size()),
        disk_total_bytes: disk.map(|disk| disk.blocks() * disk.fragment_size()),
    }
}

/// The network part of config.json, null if it cannot be read.
fn network(home: &Path) -> Value {
    let text = std::fs::read_to_string(home.join("config.json")).unwrap_or_default();
    crate::neard::parse_config(&text)["network"].clone()
}

impl Info {
    /// Name and value, without those that are not known.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let disk = self.disk_free_bytes.zip(self.disk_total_bytes).map(|(free, total)| {
            format!(
                "{} GiB free of {} GiB in {}",
                free >> 30,
                total >> 30,
                self.neard_home.display()
            )
        });
        let uptime = self.neard_uptime_sec.map(Duration::from_secs);
        let addresses = (!self.public_addrs.is_empty()).then(|| self.public_addrs.join(", "));
        [
            ("kneard", self.kneard_version.clone()),
            ("kneard-ctl", Some(self.kneard_ctl_version.to_owned())),
            ("node", self.node_id.clone()),
            ("account", self.account_id.clone()),
            ("state", self.state.clone()),
            ("neard", self.neard_version.clone()),
            ("chain", self.chain_id.clone()),
            ("height", number(self.height)),
            ("uptime", uptime.map(|uptime| humantime::format_duration(uptime).to_string())),
            ("node key", self.node_public_key.clone()),
            ("network", self.network_addr.clone()),
            ("public", addresses),
            ("rpc", self.rpc_addr.clone()),
            ("disk", disk),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    fn inline(&self) -> String {
        let parts = self.lines().into_iter().map(|(name, value)| format!("{name}: {value}"));
        parts.collect::<Vec<_>>().join(" | ")
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        for (index, (name, value)) in lines.iter().enumerate() {
            let end = if index + 1 < lines.len() { "\n" } else { "" };
            write!(f, "{:<11} {value}{end}", format!("{name}:"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_anything_running_the_home_is_told_of() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(
            home.path().join("config.json"),
            r#"{"network": {"addr": "0.0.0.0:24567", "public_addrs": ["k@192.0.2.1:1"]}, // note
                "rpc": {"addr": "0.0.0.0:1"}}"#,
        )
        .unwrap();
        let info = find(home.path(), &Client::new(&home.path().join("no.sock"))).await;
        assert!(info.disk_total_bytes.unwrap() > 0);
        let line = info.inline();
        assert!(!line.contains('\n'));
        for part in ["network: 0.0.0.0:24567", "public: k@192.0.2.1:1", "rpc: 127.0.0.1:1"] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        assert!(!line.contains("height"), "{line}");
        assert_eq!(info.to_string().lines().count(), info.lines().len());
    }
}
