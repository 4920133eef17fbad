//! Simulates many seeds, or tells what happens in one.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use kneard::election::Mutant;
use kneard_proof::sim::{self, Fault, Options, Stats, Violation};

/// Half of the work is to make and drop small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the election of a few kneards for hours of virtual time per seed, with faults, and checks
/// that no two neards ever have the key, that nothing is signed twice, and that somebody signs.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Simulated time of each seed, in hours.
    #[arg(long, default_value_t = Options::default().hours)]
    hours: f64,
    /// How many hosts; by default 2 to 5, as the seed says.
    #[arg(long)]
    hosts: Option<usize>,
    /// Let nothing go wrong.
    #[arg(long)]
    quiet: bool,
    /// Break a rule of the protocol: something must be found then.
    #[arg(long)]
    mutant: Option<Mutant>,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Print what happens, in words. For one seed.
    #[arg(long)]
    trace: bool,
    /// Go on after a violation.
    #[arg(long)]
    keep_going: bool,
}

/// What the threads share.
struct Work {
    next: AtomicU64,
    end: u64,
    options: Options,
    keep_going: bool,
    done: Mutex<(Stats, Vec<Violation>)>,
    started: Instant,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options =
        Options { hosts: args.hosts, hours: args.hours, quiet: args.quiet, mutant: args.mutant };
    if args.trace {
        return trace(args.from, &options);
    }
    let work = Work {
        next: AtomicU64::new(args.from),
        end: args.from.saturating_add(args.seeds),
        options,
        keep_going: args.keep_going,
        done: Mutex::default(),
        started: Instant::now(),
    };
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| turn(&work));
        }
    });
    let seconds = work.started.elapsed().as_secs_f64();
    let (stats, mut violations) =
        work.done.into_inner().unwrap_or_else(|broken| broken.into_inner());
    report(&stats, seconds);
    println!("violations: {}", violations.len());
    violations.sort_by_key(|violation| violation.seed);
    if let Some(first) = violations.first() {
        for violation in &violations {
            println!("seed {}: {}", violation.seed, violation.what);
        }
        println!("the first of them:\n{first}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn turn(work: &Work) {
    loop {
        let seed = work.next.fetch_add(1, Ordering::Relaxed);
        if seed >= work.end {
            return;
        }
        let result = sim::run(seed, &work.options);
        let mut done = work.done.lock().unwrap_or_else(|broken| broken.into_inner());
        match result {
            Ok(stats) => done.0.merge(&stats),
            Err(violation) => {
                done.1.push(*violation);
                if !work.keep_going {
                    work.next.store(work.end, Ordering::Relaxed);
                }
            }
        }
        let seeds = done.0.seeds;
        if seeds.is_multiple_of(1_000) && seeds > 0 {
            let seconds = work.started.elapsed().as_secs_f64();
            println!("{seeds} seeds, {seconds:.0} s, {} violations", done.1.len());
        }
    }
}

fn trace(seed: u64, options: &Options) -> ExitCode {
    let (violation, timeline) = sim::trace(seed, options);
    for line in timeline {
        println!("{line}");
    }
    match violation {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

fn report(stats: &Stats, seconds: f64) {
    let faults: u64 = stats.faults.iter().sum();
    println!(
        "{} seeds, {:.0} simulated hours, {} events in {seconds:.1} s: {:.1} seeds/s, {:.0} h/s",
        stats.seeds,
        stats.hours(),
        stats.events,
        stats.seeds as f64 / seconds,
        stats.hours() / seconds,
    );
    println!("{faults} faults:");
    for fault in Fault::ALL {
        println!("  {:>9}  {}", stats.faults[fault as usize], fault.words());
    }
    println!("{} neards with the key, {} terms that became active", stats.tenures, stats.terms);
    println!("{} times a key was out for a moment while Consul elected a leader", stats.suspended);
    println!("ms from a single fault until the successor has confirmed the key:");
    println!("  {:>9} {:>8} {:>8} {:>8} {:>8}", "count", "50 %", "90 %", "99 %", "100 %");
    let mut takeovers = stats.takeovers.clone();
    takeovers.sort_by_key(|((fault, swaps), _)| (*swaps, *fault));
    for ((fault, swaps), times) in &takeovers {
        let mode = if *swaps { "hot swap" } else { "restart, neard's start included" };
        line(times, &format!("{}; {mode}", fault.words()));
    }
    println!("ms without a signer, whatever the cause:");
    line(&stats.gaps, "");
    println!("trace hash {:016x}", stats.hash);
}

fn line(times: &sim::Times, words: &str) {
    let [half, most, nearly, all] = times.percentiles([50.0, 90.0, 99.0, 100.0]);
    println!("  {:>9} {half:>8} {most:>8} {nearly:>8} {all:>8}  {words}", times.count());
}
