//! What operators can order, and what they are told of it; shared by server, client and tests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Give the key to another node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchoverOrder {
    /// The node that is to have it; absent: whichever standby comes first.
    #[serde(default)]
    pub to: Option<String>,
}

/// A switchover has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchoverBegun {
    /// The node that gives the key away.
    pub from: String,
    /// The term that ends.
    pub term: u64,
    pub to: Option<String>,
    /// The standbys that can take the key.
    pub eligible: Vec<String>,
}

impl fmt::Display for SwitchoverBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to.clone().unwrap_or_else(|| self.eligible.join(" or "));
        write!(f, "{} gives the validator key to {to}", self.from)
    }
}

/// What has become of the key since a term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowOrder {
    pub after_term: u64,
}

/// Who has the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The node whose neard has confirmed the key in a later term; absent: nobody's has yet.
    pub holder: Option<String>,
    pub term: Option<u64>,
}

/// No takeovers for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// Who asks for it.
    #[serde(default)]
    pub by: String,
    #[serde(default)]
    pub reason: String,
}

/// A pause, as it is kept in Consul.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub by: String,
    /// Wall-clock time (RFC 3339).
    pub since: String,
    #[serde(default)]
    pub reason: String,
}

impl Pause {
    /// The value of the key in Consul. Whatever is there pauses.
    pub fn parse(value: &[u8]) -> Self {
        serde_json::from_slice(value).unwrap_or_else(|_| Pause {
            by: "somebody".to_owned(),
            since: "unknown".to_owned(),
            reason: "the value in Consul is unreadable".to_owned(),
        })
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "paused by {} since {}", self.by, self.since)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// The answer to pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub pause: Pause,
    /// It was paused before.
    pub already: bool,
    /// Nodes that have not said yet that they know.
    pub unaware: Vec<String>,
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let already = if self.already { "already " } else { "" };
        write!(f, "takeovers are {already}{}", self.pause)?;
        if self.unaware.is_empty() {
            return Ok(());
        }
        write!(f, "\nnot confirmed by {}: see their logs", self.unaware.join(", "))
    }
}

/// The answer to resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The pause that has ended; absent: there was none.
    pub pause: Option<Pause>,
}

impl fmt::Display for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pause {
            Some(pause) => write!(f, "takeovers are allowed again; they were {pause}"),
            None => f.write_str("takeovers were not paused"),
        }
    }
}

/// A restart of neard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartOrder {
    /// Blocks that the window is to have at least.
    #[serde(default)]
    pub min_length: Option<u64>,
    /// The height at which neard is to end, window or not.
    #[serde(default)]
    pub at: Option<u64>,
    /// Not by way of a switchover.
    #[serde(default)]
    pub in_place: bool,
}

/// How neard is going to be restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum RestartBegun {
    /// This node has no key: at once.
    Standby,
    /// The key goes to another node first.
    Switchover(SwitchoverBegun),
    /// neard ends at this height, and is started again with the key.
    AtHeight {
        height: u64,
        head: u64,
        /// The window without duties, unless the height was given: its first height, and the first
        /// one after it.
        window: Option<(u64, u64)>,
        /// A standby that could take the key instead.
        standby: Option<String>,
    },
}

impl fmt::Display for RestartBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartBegun::Standby => {
                f.write_str("this node does not hold the validator key: restarting its neard now")
            }
            RestartBegun::Switchover(begun) => write!(
                f,
                "{begun}, which costs no block; then its neard is restarted (--in-place keeps the \
                 key here)"
            ),
            RestartBegun::AtHeight { height, head, window, standby } => {
                write!(f, "neard will end at height {height}, {} blocks from now", height - head)?;
                if let Some((_, end)) = window {
                    write!(f, ", and has no duties before height {end}")?;
                }
                f.write_str("; it is then started again with the key")?;
                match standby {
                    Some(standby) => {
                        write!(f, "\n{standby} could take the key instead: kneard-ctl switchover")
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

/// A restart that was planned is not going to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartCancelled {
    /// The height at which neard would have ended; absent: nothing was planned.
    pub height: Option<u64>,
}

impl fmt::Display for RestartCancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.height {
            Some(height) => write!(f, "neard will not end at height {height}"),
            None => f.write_str("no restart was planned"),
        }
    }
}

/// What is planned for neard, and when it could be restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// This node holds the validator key.
    pub validates: bool,
    pub head: Option<u64>,
    /// The height at which neard ends.
    pub planned: Option<u64>,
    /// The next heights without duties, to the end of the epoch: each the first height, and the
    /// first one after. Absent when neard does not tell.
    pub windows: Option<Vec<(u64, u64)>>,
    /// Why they are absent.
    pub error: Option<String>,
    pub neard_restarts: u64,
    pub neard_pid: Option<i32>,
    pub state: String,
}

impl Maintenance {
    pub fn longest(&self) -> Option<(u64, u64)> {
        let windows = self.windows.as_ref()?.iter();
        // The first of the longest.
        windows.copied().rev().max_by_key(|(start, end)| end.saturating_sub(*start))
    }
}

impl fmt::Display for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.validates { "" } else { "not " };
        writeln!(f, "This node: {}, does {not}hold the validator key", self.state)?;
        if let Some(head) = self.head {
            writeln!(f, "Head:      {head}")?;
        }
        match (self.planned, self.head) {
            (Some(height), Some(head)) => {
                let left = height.saturating_sub(head);
                writeln!(f, "Planned:   neard ends at height {height}, {left} blocks from now")?;
            }
            (Some(height), None) => writeln!(f, "Planned:   neard ends at height {height}")?,
            (None, _) => writeln!(f, "Planned:   nothing")?,
        }
        let window = |(start, end): (u64, u64)| {
            format!("heights {start} to {}, {} blocks", end.saturating_sub(1), end - start)
        };
        match (&self.windows, self.longest()) {
            (Some(windows), Some(longest)) => {
                let next = windows.first().copied().unwrap_or(longest);
                writeln!(f, "Next:      {} without duties", window(next))?;
                write!(f, "Longest:   {} in what is left of the epoch", window(longest))
            }
            (Some(_), None) => write!(f, "Next:      none in what is left of the epoch"),
            (None, _) => {
                let why = self.error.as_deref().unwrap_or("neard was not asked");
                write!(f, "Next:      unknown: {why}")
            }
        }
    }
}
