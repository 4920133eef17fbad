//! `kneard-ctl pause` and `kneard-ctl resume`.

use std::process::ExitCode;

use super::answer::{code, show};
use crate::control::{Client, PauseOrder};

/// Forbid takeovers for the whole account, until `kneard-ctl resume`
///
/// No other node takes the validator key while takeovers are paused, whatever happens to the
/// present holder: if that fails, nobody validates until it is back. The holder itself goes on, and
/// takes the key again after a restart. For work on Consul or on standbys. Can be run on any node.
/// It waits until all nodes have said that they know, at most six seconds, and fails if one has
/// not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Why, for those who wonder
    #[arg(value_name = "REASON")]
    reason: Option<String>,
}

pub async fn run(args: &Args, client: &Client, json: bool) -> ExitCode {
    let by = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let order =
        PauseOrder { by: by.unwrap_or_default(), reason: args.reason.clone().unwrap_or_default() };
    match show(client.pause(&order).await, json) {
        Ok(paused) if paused.unaware.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failed) => failed,
    }
}

pub async fn resume(client: &Client, json: bool) -> ExitCode {
    code(show(client.resume().await, json).map(drop))
}
