//! What the control socket answers, shared by server, client and tests.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::consul::KvEntry;

/// The node that validates now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActiveValidator {
    /// Its node id.
    pub name: String,
    /// The Consul node that its session belongs to.
    pub node: String,
}

impl fmt::Display for ActiveValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Name: {}", self.name)?;
        write!(f, "Node: {}", self.node)
    }
}

/// One kneard, as it publishes itself in Consul and as it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    pub node_id: String,
    /// Tells two nodes apart that carry one node id by mistake.
    pub instance: String,
    pub hostname: String,
    pub state: String,
    pub lease_ms: u64,
    /// Height of neard's head; absent before its first answer.
    #[serde(default)]
    pub head: Option<u64>,
    /// Blocks that its head lies behind the election's record; absent for the holder, and before
    /// both are known.
    #[serde(default)]
    pub lag: Option<u64>,
    /// It knows that takeovers are paused.
    #[serde(default)]
    pub paused: bool,
    pub kneard_version: String,
    #[serde(default)]
    pub neard_version: Option<String>,
    /// Its neard gets the key while it runs; absent in reports of older versions.
    #[serde(default)]
    pub hot_swap: Option<bool>,
    /// Why its neard would be restarted nevertheless.
    #[serde(default)]
    pub hot_swap_obstacle: Option<String>,
    /// The Consul node that its session belongs to.
    #[serde(default)]
    pub consul_node: Option<String>,
}

impl NodeReport {
    /// The reports of those nodes whose sessions live.
    pub fn of_sessions(entries: &[KvEntry]) -> Vec<Self> {
        entries
            .iter()
            .filter(|entry| entry.session.is_some())
            .filter_map(|entry| serde_json::from_slice(&entry.value).ok())
            .collect()
    }
}

/// neard's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeardReport {
    pub pid: Option<i32>,
    pub restarts: u64,
    /// It was started with the validator key.
    pub has_validator_key: bool,
}

/// The election as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub account_id: String,
    pub node: NodeReport,
    /// The state in words.
    pub sentence: String,
    pub neard: NeardReport,
    /// What is left of this node's lease in milliseconds; absent unless it holds the lock.
    pub lease_left_ms: Option<u64>,
    pub consul_session: Option<String>,
    /// The record of the election key as last seen.
    pub record: Option<crate::election::Record>,
    /// The lock is held by some session.
    pub locked: bool,
    /// Takeovers are forbidden for now.
    #[serde(default)]
    pub paused: Option<super::Pause>,
    /// The height at which neard ends, to be started again as what it was.
    #[serde(default)]
    pub planned_restart: Option<u64>,
    /// Every node that votes, this one included; absent when Consul does not answer.
    pub nodes: Option<Vec<NodeReport>>,
    /// Why `nodes` is absent.
    pub consul_error: Option<String>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Account:   {}", self.account_id)?;
        match &self.record {
            Some(record) => {
                let state = format!("{:?}", record.state).to_lowercase();
                let lock = if self.locked { "" } else { ", not locked" };
                writeln!(
                    f,
                    "Holder:    {} on {} ({state}{lock}, term {}, since {}): {}",
                    record.holder, record.hostname, record.term, record.since, record.reason
                )?;
            }
            None => writeln!(f, "Holder:    nobody known")?,
        }
        if let Some(pause) = &self.paused {
            writeln!(f, "Paused:    no takeovers, {pause}; to end that: kneard-ctl resume")?;
        }
        writeln!(f, "This node: {} on {}", self.node.node_id, self.node.hostname)?;
        write!(f, "State:     {}, {}", self.node.state, self.sentence)?;
        if let Some(left) = self.lease_left_ms {
            write!(f, ", lease ends in {:.1} s", left as f64 / 1000.0)?;
        }
        writeln!(f)?;
        let key = if self.neard.has_validator_key { "with" } else { "without" };
        match self.neard.pid {
            Some(pid) => write!(f, "neard:     pid {pid}, {key} the validator key")?,
            None => write!(f, "neard:     not running")?,
        }
        match self.node.head {
            Some(head) => writeln!(f, ", head {head}, restarts {}", self.neard.restarts)?,
            None => writeln!(f, ", restarts {}", self.neard.restarts)?,
        }
        if let Some(height) = self.planned_restart {
            writeln!(f, "Planned:   neard ends at height {height} and is started again")?;
        }
        match (&self.nodes, &self.consul_error) {
            (Some(nodes), _) => {
                write!(f, "Nodes:     {}", nodes.len())?;
                for node in nodes {
                    let head = node.head.map_or("-".to_owned(), |head| head.to_string());
                    write!(
                        f,
                        "\n  {:<16} {:<12} head {head:<10} on {}",
                        node.node_id, node.state, node.hostname
                    )?;
                }
                Ok(())
            }
            (None, error) => {
                write!(f, "Nodes:     unknown: {}", error.as_deref().unwrap_or("not asked"))
            }
        }
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
}
