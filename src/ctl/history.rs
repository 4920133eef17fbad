//! `kneard-ctl history`.

use std::process::ExitCode;

use super::answer::{code, show};
use crate::control::Client;

/// Show who has held the validator key, the newest first
///
/// WITHOUT is for how long nobody signed before that node did, as well as it knows: counted from
/// the predecessor's release, or if it fell silent from its last sign of life, after which it may
/// have signed for a while. The last hundred changes are kept in Consul.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show so many changes
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

pub async fn run(args: &Args, client: &Client, json: bool) -> ExitCode {
    let history = client.history().await.map(|mut history| {
        history.0.truncate(args.limit);
        history
    });
    code(show(history, json).map(drop))
}
