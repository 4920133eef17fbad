//! What `kneard-ctl localnet` does: a whole set-up on one machine, for trying things out.

mod demo;
mod homes;
mod programs;
mod setup;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

pub use homes::{Ports, init};

/// Where the `Procfile` and the tutorial have the homes.
const DEFAULT_DATA: &str = ".data/near/localnet";

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run the story by itself: kill the primary, bring it back, stop gracefully; then judge
    #[arg(long)]
    demo: bool,

    /// Directory for all data; it must be empty or not exist [default: a temporary one, removed
    /// at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The lease that the kneards run with
    #[arg(long, value_name = "DURATION", default_value = "7s")]
    lease: String,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Write the homes of the chain's nodes and of two kneards, on the tutorial's ports
    Init {
        /// Where to
        #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
        data: PathBuf,
    },
    /// Run one node of the chain; writes the homes first if there are none
    Node {
        /// 0, 1 or 2
        #[arg(value_parser = clap::value_parser!(u8).range(0..3))]
        number: u8,
        /// Where the homes are
        #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
        data: PathBuf,
    },
}

/// Runs the command; the exit code is the demo's verdict.
///
/// # Errors
/// One line with what is missing or in the way.
pub async fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Some(Command::Init { data }) => {
            homes::init(&programs::neard()?, data, &Ports::tutorial())?;
            println!("wrote the homes of a localnet below {}", data.display());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Node { number, data }) => homes::run_node(*number, data),
        None if args.demo => unless_interrupted(demo::run(args)).await,
        None => view::run(args).await,
    }
}

/// Ends `work` early at ctrl-c. What it has started is stopped then, for it runs in process groups
/// of its own and would go on.
async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
        _ = hangup.recv() => bail!("the terminal is gone"),
    }
}
