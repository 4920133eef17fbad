//! `kneard-ctl switchover`.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::answer::{code, fail, say, show};
use crate::control::{Client, SwitchoverBegun, SwitchoverOrder};

/// Give the validator key to another node
///
/// Run it on the node that holds the key (kneard-ctl active-validator names it). Its neard gives
/// the key up, and when that is certain a standby takes it. With hot swap this misses no block.
/// Nothing is done unless a standby is ready: in state Voting, and at most --max-lag blocks behind.
/// If none takes the key within three seconds, this node takes it back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node that is to have it, by its node id [default: whichever standby is first]
    #[arg(long, value_name = "NODE")]
    to: Option<String>,

    /// Wait until a node has taken the key; fails if that is the same one as before
    #[arg(long)]
    wait: bool,
}

/// How long a successor may take. One whose neard has to be restarted may need minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How a switchover ended.
#[derive(Debug, Serialize)]
pub(super) struct Ended {
    from: String,
    holder: String,
    term: u64,
    /// From the command until this node knew that the new one's neard has confirmed the key.
    seconds: f64,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { holder, term, seconds, .. } = self;
        write!(f, "{holder} holds the validator key, term {term}, after {seconds:.3} s")
    }
}

pub async fn run(args: &Args, client: &Client, json: bool) -> ExitCode {
    code(switch_over(args, client, json).await)
}

async fn switch_over(args: &Args, client: &Client, json: bool) -> Result<(), ExitCode> {
    let started = Instant::now();
    let order = SwitchoverOrder { to: args.to.clone() };
    let begun = client.switch_over(&order).await;
    if !args.wait {
        return show(begun, json).map(drop);
    }
    let begun = begun.map_err(|error| fail(&error))?;
    if !json {
        say(&begun, json)?;
    }
    say(&follow(client, &begun, started).await?, json)
}

/// Waits until another node has the key.
pub(super) async fn follow(
    client: &Client,
    begun: &SwitchoverBegun,
    started: Instant,
) -> Result<Ended, ExitCode> {
    while started.elapsed() < PATIENCE {
        let followed = client.follow(begun.term).await.map_err(|error| fail(&error))?;
        let (Some(holder), Some(term)) = (followed.holder, followed.term) else { continue };
        let seconds = started.elapsed().as_secs_f64();
        if holder == begun.from {
            let why = format!(
                "nobody took the validator key: {holder} has taken it back after {seconds:.1} s; \
                 see the log of {}",
                begun.to.clone().unwrap_or_else(|| begun.eligible.join(" and "))
            );
            return Err(fail(&why));
        }
        return Ok(Ended { from: begun.from.clone(), holder, term, seconds });
    }
    let why = format!("nobody holds the validator key after {PATIENCE:?}: kneard-ctl status");
    Err(fail(&why))
}
