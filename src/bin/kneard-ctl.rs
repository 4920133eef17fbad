//! The operator's command line. Argument parsing and wiring only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use kneard::control::{Client, ClientError};
use kneard::ctl;
use serde::Serialize;

/// Asks and steers a running kneard
#[derive(Debug, Parser)]
#[command(name = "kneard-ctl", version)]
struct Args {
    /// kneard's control socket
    /// [default: kuutamod.sock in $KUUTAMO_NEARD_HOME, else in this directory]
    #[arg(long, global = true, env = "KUUTAMO_CONTROL_SOCKET")]
    control_socket: Option<PathBuf>,

    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show which node validates now
    ActiveValidator,
    /// Show the election as this node sees it, and every node that votes
    Status {
        /// Go on showing it, once a second, until q or ctrl-c is pressed
        #[arg(long)]
        watch: bool,
    },
    Switchover(ctl::switchover::Args),
    Pause(ctl::pause::Args),
    /// Allow takeovers again
    Resume,
    Restart(ctl::maintenance::Args),
    /// Show whether a restart of neard is planned, and when this validator has no duties
    MaintenanceStatus,
    History(ctl::history::Args),
    /// Run a whole set-up on this machine: Consul, a chain of three nodes and two kneards
    Localnet(kneard::localnet::Args),
    /// Check keys, neard's home, Consul, rights and host, and say how to mend what is wrong
    ///
    /// Needs no running kneard. Without settings it checks with those of kneard.service. Prints one
    /// line per check; ends with 1 if there is a problem.
    Doctor(Box<ctl::doctor::Args>),
    CheckRpc(ctl::check_rpc::Args),
    SystemInfo(ctl::system_info::Args),
    #[command(hide = true)]
    Generate(ctl::generate::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        let client = Client::new(&ctl::socket(args.control_socket.as_deref()));
        match &args.command {
            Command::ActiveValidator => print(client.active_validator().await, args.json),
            Command::Status { watch: true } => ctl::status_view::run(&client, args.json).await,
            Command::Status { watch: false } => print(client.status().await, args.json),
            Command::CheckRpc(check) => ctl::check_rpc::run(check, args.json).await,
            Command::SystemInfo(info) => ctl::system_info::run(info, &client, args.json).await,
            Command::Generate(generate) => ctl::generate::run(generate, Args::command()),
            Command::Doctor(doctor) => ctl::doctor::run(doctor, args.json).await,
            Command::Switchover(order) => ctl::switchover::run(order, &client, args.json).await,
            Command::Pause(order) => ctl::pause::run(order, &client, args.json).await,
            Command::Resume => ctl::pause::resume(&client, args.json).await,
            Command::Restart(order) => ctl::maintenance::run(order, &client, args.json).await,
            Command::MaintenanceStatus => ctl::maintenance::status(&client, args.json).await,
            Command::History(order) => ctl::history::run(order, &client, args.json).await,
            Command::Localnet(localnet) => match kneard::localnet::run(localnet).await {
                Ok(code) => code,
                Err(error) => fail(&error),
            },
        }
    })
}

fn print<T: Serialize + std::fmt::Display>(answer: Result<T, ClientError>, json: bool) -> ExitCode {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return fail(&error),
    };
    if json {
        match serde_json::to_string_pretty(&answer) {
            Ok(text) => println!("{text}"),
            Err(error) => return fail(&error),
        }
    } else {
        println!("{answer}");
    }
    ExitCode::SUCCESS
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("kneard-ctl: {error}");
    ExitCode::FAILURE
}
