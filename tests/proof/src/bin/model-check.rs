//! Explores a small world of kneards exhaustively, and says what it found.

use std::process::ExitCode;

use clap::Parser;
use kneard::election::Mutant;
use kneard_proof::check::{self, Kind, Search};

/// Explores a small world of kneards exhaustively.
#[derive(Parser)]
struct Arguments {
    /// Which world.
    #[arg(long, default_value = "small")]
    config: String,
    /// How many threads explore.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// A rule of the protocol to break.
    #[arg(long)]
    mutant: Option<Mutant>,
    /// With `--config mutant`: the same world without the defect, where every promise must hold.
    #[arg(long)]
    sound: bool,
    /// The shortest trace, for more memory.
    #[arg(long)]
    shortest: bool,
    /// neard is given the key while it runs, not by a restart.
    #[arg(long)]
    hot_swap: bool,
    /// Ticks to explore, instead of the world's own.
    #[arg(long)]
    horizon: Option<u32>,
    /// Faults in one run, instead of the world's own.
    #[arg(long)]
    faults: Option<u8>,
    /// Only these kinds of faults.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Stop after so many states.
    #[arg(long)]
    max_states: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let hunt = arguments.mutant.filter(|_| arguments.config == "mutant");
    let named = hunt.map(check::hunting_ground).or_else(|| check::named(&arguments.config));
    let Some(mut config) = named else {
        eprintln!("no world is called {:?}", arguments.config);
        return ExitCode::from(2);
    };
    config.mutant = arguments.mutant.filter(|_| !arguments.sound);
    config.faults = arguments.faults.unwrap_or(config.faults);
    config.horizon = arguments.horizon.unwrap_or(config.horizon);
    if !arguments.kinds.is_empty() {
        config.kinds = arguments.kinds;
    }
    if arguments.hot_swap {
        config = config.hot_swap();
    }
    let search = Search {
        threads: arguments.threads,
        breadth_first: arguments.shortest,
        stop_at_failure: config.mutant.is_some(),
        max_states: arguments.max_states,
    };
    let report = check::check(&config, search);
    print!("{report}");
    if report.failure().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
