//! `kneard-ctl check-rpc`: whether neard keeps up with its network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::near_rpc::{NearRpc, NodeStatus};
use crate::neard::home::Home;

/// Ask neard's RPC for height, sync state and peers, and compare with other nodes
///
/// Ends with 1 if the first node (the one of --neard-home, unless --rpc is given) does not answer,
/// syncs, has no peers or lags behind the other nodes. neard itself calls it syncing when its peers
/// are ahead; another node's height is worth asking for where all of its peers may be behind.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An RPC address to ask, such as http://127.0.0.1:3030; several are compared with the first
    /// [default: rpc.addr in config.json of --neard-home]
    #[arg(long, value_name = "URL")]
    rpc: Vec<String>,

    /// neard's home directory
    #[arg(long, env = "KUUTAMO_NEARD_HOME", default_value = ".")]
    neard_home: PathBuf,

    /// Blocks that the node may lie behind
    #[arg(long, default_value_t = 5, value_name = "BLOCKS")]
    max_lag: u64,

    /// Go on asking, every two seconds, until ctrl-c is pressed
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    rpc: String,
    height: Option<u64>,
    /// Blocks behind the highest known height.
    behind: Option<u64>,
    syncing: Option<bool>,
    peers: Option<u64>,
    version: Option<String>,
    chain_id: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    /// What is wrong with the first node; none if it keeps up.
    trouble: Option<String>,
    nodes: Vec<Row>,
}

pub async fn run(args: &Args, json: bool) -> ExitCode {
    let nodes = match nodes(args) {
        Ok(nodes) => nodes,
        Err(error) => {
            eprintln!("kneard-ctl: {error}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        let answer = ask(&nodes, args.max_lag).await;
        if json {
            let text = if args.watch {
                serde_json::to_string(&answer)
            } else {
                serde_json::to_string_pretty(&answer)
            };
            // Plain data: serializing it cannot fail.
            println!("{}", text.unwrap_or_default());
        } else {
            println!("{answer}");
        }
        if !args.watch {
            return ExitCode::from(u8::from(answer.trouble.is_some()));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn nodes(args: &Args) -> Result<Vec<NearRpc>, String> {
    if args.rpc.is_empty() {
        return Ok(vec![local(&args.neard_home)?]);
    }
    args.rpc.iter().map(|url| NearRpc::new(url)).collect()
}

/// The RPC of the neard of a home.
///
/// # Errors
/// The home's configuration does not say where that is.
pub(super) fn local(home: &Path) -> Result<NearRpc, String> {
    let addr = Home::open(home).and_then(|home| home.rpc_addr());
    NearRpc::new(&addr.map_err(|error| format!("--neard-home: {error}"))?.to_string())
}

async fn ask(nodes: &[NearRpc], max_lag: u64) -> Answer {
    let mut answers = Vec::new();
    // At the same time, or the later ones would seem to be ahead.
    let mut asked = tokio::task::JoinSet::new();
    for (index, node) in nodes.iter().cloned().enumerate() {
        asked.spawn(async move { (index, node.status().await) });
    }
    while let Some(Ok(answer)) = asked.join_next().await {
        answers.push(answer);
    }
    answers.sort_by_key(|(index, _)| *index);
    let answers = answers.into_iter().map(|(_, answer)| answer).collect();
    judge(nodes.iter().map(|node| node.url().to_owned()).collect(), answers, max_lag)
}

fn judge(urls: Vec<String>, answers: Vec<Result<NodeStatus, String>>, max_lag: u64) -> Answer {
    let highest = answers.iter().flatten().filter_map(|node| node.head).max();
    let rows: Vec<Row> = urls
        .into_iter()
        .zip(answers)
        .map(|(url, answer)| {
            let (node, error) = match answer {
                Ok(node) => (node, None),
                Err(error) => (NodeStatus::default(), Some(error)),
            };
            Row {
                rpc: url,
                height: node.head,
                behind: node.head.zip(highest).map(|(head, highest)| highest.saturating_sub(head)),
                syncing: node.syncing,
                peers: node.peers,
                version: node.version,
                chain_id: node.chain_id,
                error,
            }
        })
        .collect();
    let trouble = rows.first().and_then(|first| trouble(first, &rows, max_lag));
    Answer { trouble, nodes: rows }
}

fn trouble(first: &Row, rows: &[Row], max_lag: u64) -> Option<String> {
    if let Some(error) = &first.error {
        return Some(error.clone());
    }
    let other_chain =
        rows.iter().find(|row| row.chain_id.is_some() && row.chain_id != first.chain_id);
    if let Some(other) = other_chain {
        let chain = other.chain_id.as_deref().unwrap_or("");
        return Some(format!("{} is of another chain, {chain}: nothing to compare", other.rpc));
    }
    if first.peers == Some(0) {
        return Some("neard has no peers: check its boot nodes and network.addr".to_owned());
    }
    match first.behind {
        Some(behind) if behind > max_lag => Some(format!("neard lies {behind} blocks behind")),
        _ if first.syncing == Some(true) => Some("neard is catching up with the chain".to_owned()),
        _ => None,
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.nodes.iter().map(|row| row.rpc.len()).max().unwrap_or(0).max(3);
        writeln!(
            f,
            "{:width$}  {:>10}  {:>6}  {:7}  {:>5}  VERSION",
            "RPC", "HEIGHT", "BEHIND", "SYNCING", "PEERS"
        )?;
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        for row in &self.nodes {
            let syncing = match row.syncing {
                Some(true) => "yes",
                Some(false) => "no",
                None => "-",
            };
            writeln!(
                f,
                "{:width$}  {:>10}  {:>6}  {syncing:7}  {:>5}  {}",
                row.rpc,
                number(row.height),
                number(row.behind),
                number(row.peers),
                row.version.as_deref().unwrap_or("-"),
            )?;
        }
        let others = self.nodes.iter().skip(1).filter_map(|row| row.error.as_ref());
        for error in others {
            writeln!(f, "{error}")?;
        }
        match &self.trouble {
            Some(trouble) => write!(f, "trouble: {trouble}"),
            None => write!(f, "ok"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(head: u64) -> NodeStatus {
        NodeStatus {
            head: Some(head),
            syncing: Some(false),
            peers: Some(3),
            chain_id: Some("mainnet".to_owned()),
            ..NodeStatus::default()
        }
    }

    fn judged(answers: Vec<Result<NodeStatus, String>>) -> Answer {
        judge(answers.iter().enumerate().map(|(n, _)| format!("http://n{n}")).collect(), answers, 5)
    }

    #[test]
    fn a_node_that_keeps_up_is_fine() {
        let answer = judged(vec![Ok(node(100)), Ok(node(103))]);
        assert_eq!(answer.trouble, None);
        assert_eq!(answer.nodes[0].behind, Some(3));
        // What is wrong with another node is shown, but is not this one's trouble.
        let answer = judged(vec![Ok(node(100)), Err("http://n1: gone".to_owned())]);
        assert_eq!(answer.trouble, None);
        assert!(answer.to_string().ends_with("http://n1: gone\nok"), "{answer}");
    }

    #[test]
    fn each_trouble_is_named() {
        for (answers, words) in [
            (vec![Err("http://n0: refused".to_owned())], "n0: refused"),
            (vec![Ok(node(100)), Ok(node(106))], "6 blocks behind"),
            (vec![Ok(NodeStatus { peers: Some(0), ..node(1) })], "no peers"),
            (vec![Ok(NodeStatus { syncing: Some(true), ..node(1) })], "catching up"),
            (
                vec![Ok(node(1)), Ok(NodeStatus { chain_id: Some("testnet".into()), ..node(9) })],
                "another chain, testnet",
            ),
        ] {
            let trouble = judged(answers).trouble.unwrap();
            assert!(trouble.contains(words), "{trouble}");
        }
    }
}
