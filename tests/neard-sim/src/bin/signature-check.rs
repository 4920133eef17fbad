//! Judges the signature logs of several homes of stand-ins on one machine.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use neard_sim::check::check;

/// Proves or refutes, from the signature logs of neard stand-ins, that no two processes could
/// sign with one key at one time and that none signed two things for one height.
///
/// Exit code 0: neither happened. 1: something did. 2: a log is missing or unreadable.
#[derive(Debug, Parser)]
#[command(name = "signature-check", version)]
struct Options {
    /// Print all findings as JSON
    #[arg(long)]
    json: bool,
    /// List only changes of signer with a gap above this many milliseconds
    #[arg(long, value_name = "MS")]
    gap_above: Option<f64>,
    /// Homes of the nodes; all of one machine
    #[arg(required = true)]
    homes: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let report = match check(&options.homes) {
        Ok(report) => report,
        Err(e) => {
            eprintln!("signature-check: {e}");
            return ExitCode::from(2);
        }
    };
    if options.json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(e) => {
                eprintln!("signature-check: {e}");
                return ExitCode::from(2);
            }
        }
    } else {
        print!("{}", report.text(options.gap_above.unwrap_or(f64::NEG_INFINITY)));
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
