//! The daemon. Argument parsing and wiring only.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use kneard::election::InstanceId;
use kneard::neard::guard;
use kneard::settings::{Args, ManualArgs, ReleaseArgs, Settings};
use kneard::supervisor::Kneard;
use kneard::{logging, supervisor};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next();
    match args.next() {
        // Before anything else: the guard is to be small.
        Some(word) if word == "guard" => guard::run(args),
        Some(word) if word == "release" => {
            release(&ReleaseArgs::parse_from(program.into_iter().chain(args)))
        }
        Some(word) if word == "manual" => {
            manual(&ManualArgs::parse_from(program.into_iter().chain(args)))
        }
        _ => daemon(&Args::parse()),
    }
}

fn daemon(args: &Args) -> ExitCode {
    let settings = match Settings::new(args, instance(), &hostname()) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, 2),
    };
    logging::init(&args.node_id);
    die_of_panics();
    lower_oom_score();
    match runtime().map(|runtime| runtime.block_on(supervisor::run(settings))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error, error.exit_code()),
        Err(error) => fail(&error, 1),
    }
}

fn release(args: &ReleaseArgs) -> ExitCode {
    let dir = args
        .runtime_dir
        .clone()
        .or_else(|| std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from))
        .unwrap_or_else(|| ".".into());
    logging::init("release");
    let kneard = if args.kneard_ended { Kneard::Ended } else { Kneard::Unknown };
    match runtime().map(|runtime| runtime.block_on(supervisor::release(&dir, kneard))) {
        Ok(Ok(done)) => {
            tracing::info!(target: "kneard::release", "{done}");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => fail(&error, 1),
        Err(error) => fail(&error, 1),
    }
}

/// Becomes neard, unless something speaks against it.
fn manual(args: &ManualArgs) -> ExitCode {
    logging::init(&args.args.node_id);
    let work = async {
        if args.clean_up {
            return supervisor::clean_up(&args.args.neard_home).await;
        }
        let settings = Settings::new(&args.args, instance(), &hostname())?;
        supervisor::manual(&settings, args.force).await.map(|never| match never {})
    };
    match runtime().map(|runtime| runtime.block_on(work)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error, error.exit_code()),
        Err(error) => fail(&error, 1),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("kneard: {error}");
    ExitCode::from(code)
}

fn instance() -> InstanceId {
    // Without random numbers the kernel is not up; the boot clock and the pid are unique then.
    let random = getrandom::u64().unwrap_or_else(|_| {
        kneard::neard::boot_clock::now() ^ (u64::from(std::process::id()) << 32)
    });
    InstanceId(format!("{random:016x}"))
}

fn hostname() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// A task that panics would end alone, and what waits for its answer would wait for ever. When
/// kneard dies instead, its guard kills neard and gives the lock back.
fn die_of_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Short of memory, the kernel is to kill something else first. Needs a right that kneard may not
/// have, and then does without.
fn lower_oom_score() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
}
