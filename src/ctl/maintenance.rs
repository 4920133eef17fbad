//! `kneard-ctl restart` and `kneard-ctl maintenance-status`.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::answer::{code, fail, say, show};
use super::switchover;
use crate::control::{Client, Maintenance, RestartBegun, RestartOrder};

/// Restart neard when that costs least
///
/// On a standby: at once. On the node that holds the validator key, with hot swap and a standby that
/// is ready: the key goes to the standby first, which costs no block. Otherwise, or with --in-place,
/// neard is told to end by itself at the first height of a window in which this validator has
/// neither block nor chunk to make; it is then started again with the key, and no other node takes
/// over. See kneard-ctl maintenance-status for the windows.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take the first window that has so many blocks [default: the longest one in what is left of
    /// the epoch]
    #[arg(value_name = "MIN_LENGTH", conflicts_with_all = ["schedule_at", "cancel"])]
    min_length: Option<u64>,

    /// Restart at this height, whatever duties there are
    #[arg(long, value_name = "HEIGHT", conflicts_with = "cancel")]
    schedule_at: Option<u64>,

    /// Keep the validator key on this node even if a standby could take it
    #[arg(long, conflicts_with = "cancel")]
    in_place: bool,

    /// Take back a restart that is planned and has not begun
    #[arg(long, conflicts_with = "wait")]
    cancel: bool,

    /// Wait until neard is restarted and this node does again what it did, or another one validates
    #[arg(long)]
    wait: bool,
}

/// How long a restart may take from its beginning.
const PATIENCE: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_millis(500);

/// How a restart ended.
#[derive(Debug, Serialize)]
struct Restarted {
    state: String,
    seconds: f64,
}

impl fmt::Display for Restarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "neard is restarted; this node is {}, after {:.1} s", self.state, self.seconds)
    }
}

pub async fn run(args: &Args, client: &Client, json: bool) -> ExitCode {
    if args.cancel {
        return code(show(client.cancel_restart().await, json).map(drop));
    }
    code(restart(args, client, json).await)
}

pub async fn status(client: &Client, json: bool) -> ExitCode {
    code(show(client.maintenance().await, json).map(drop))
}

async fn restart(args: &Args, client: &Client, json: bool) -> Result<(), ExitCode> {
    let started = Instant::now();
    let before = client.maintenance().await.map_err(|error| fail(&error))?;
    let order =
        RestartOrder { min_length: args.min_length, at: args.schedule_at, in_place: args.in_place };
    let begun = client.restart(&order).await;
    if !args.wait {
        return show(begun, json).map(drop);
    }
    let begun = begun.map_err(|error| fail(&error))?;
    if !json {
        say(&begun, json)?;
    }
    if let RestartBegun::Switchover(begun) = &begun {
        let ended = switchover::follow(client, begun, started).await?;
        if !json {
            say(&ended, json)?;
        }
    }
    say(&follow(client, &begun, &before, started).await?, json)
}

/// Waits until there is another neard and the node is back in its role.
async fn follow(
    client: &Client,
    begun: &RestartBegun,
    before: &Maintenance,
    started: Instant,
) -> Result<Restarted, ExitCode> {
    let stays = matches!(begun, RestartBegun::AtHeight { .. });
    let mut restarted_at = None;
    // Until the height is reached nothing can be late.
    while restarted_at.is_none_or(|at: Instant| at.elapsed() < PATIENCE) {
        tokio::time::sleep(STEP).await;
        let now = client.maintenance().await.map_err(|error| fail(&error))?;
        let restarted = now.neard_restarts > before.neard_restarts;
        if !restarted && stays && now.planned.is_none() {
            return Err(fail(&"the restart is not planned any more"));
        }
        if !restarted {
            continue;
        }
        restarted_at.get_or_insert_with(Instant::now);
        let is_back = if stays { now.validates } else { now.state == "Voting" };
        if is_back {
            let seconds = started.elapsed().as_secs_f64();
            return Ok(Restarted { state: now.state, seconds });
        }
        if stays && now.state == "Voting" {
            return Err(fail(&"this node has lost the validator key over the restart"));
        }
    }
    Err(fail(&format!("neard is restarted but not ready after {PATIENCE:?}: kneard-ctl status")))
}
