//! Chaos: `cargo bench --bench chaos -- --minutes 60 --seed 7 --kneards 3`.
//!
//! Real kneards, three real Consul servers and a stand-in chain, each host a network namespace of
//! its own, under random faults that follow from a seed. The signature logs of all homes say
//! whether two could ever sign. Exits 1 when they could, when somebody signed twice for one height,
//! or when nobody signed in time after a healing.

#[path = "../support/mod.rs"]
mod support;

mod disk;
mod faults;
mod host;
mod network;
mod options;
mod plan;
mod report;
mod run;
mod stage;
mod timeline;
mod verdict;
mod wall_clock;
mod watch;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;

use options::Options;
use plan::Plan;
use report::Report;
use stage::Stage;
use support::{
    enclosure::{self, Enclosure},
    turn::turn,
    wait::{boot_time, secs},
};
use timeline::Timeline;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.plan {
        print_plan(&options);
        return ExitCode::SUCCESS;
    }
    enclosure::enclosed(|enclosure| played(&options, &enclosure))
}

fn print_plan(options: &Options) {
    let mut at = Duration::ZERO;
    for group in Plan::new(options.seed) {
        at += group.quiet + group.length();
        if at.as_secs_f64() > options.minutes * 60.0 {
            break;
        }
        println!("group {}, after {:.1} s of quiet", group.number, group.quiet.as_secs_f64());
        for fault in &group.faults {
            let (after, lasts) = (fault.after.as_secs_f64(), fault.lasts.as_secs_f64());
            println!("  at {after:4.1} s for {lasts:4.1} s: {}", fault.kind.name());
        }
    }
}

/// The exit code: 0 for a good run, 1 for a bad one.
fn played(options: &Options, enclosure: &Enclosure) -> u8 {
    let _turn = turn();
    let directory = tempfile::Builder::new().prefix("kneard-chaos-").tempdir().unwrap();
    let result = catch_unwind(AssertUnwindSafe(|| play(options, enclosure, directory.path())));
    let good = matches!(result, Ok(true));
    if options.keep || !good {
        let kept = directory.keep();
        println!("seed {}; logs, homes and timeline.txt are in {}", options.seed, kept.display());
    }
    u8::from(!good)
}

fn play(options: &Options, enclosure: &Enclosure, directory: &Path) -> bool {
    let timeline = Arc::new(Timeline::new(directory, !options.quiet));
    let mut stage = Stage::set(options, &enclosure.run, directory, Arc::clone(&timeline));
    let start = boot_time();
    timeline.note(format_args!("all ready, the faults of seed {} begin", options.seed));
    let span = Duration::from_secs_f64(options.minutes * 60.0);
    let mut course = run::run(&mut stage, Plan::new(options.seed), span, &enclosure.stop);
    let end = boot_time();
    if !course.interrupted && course.failures.is_empty() {
        course.failures.extend(stage.end(secs(30)));
    }
    let verdict = verdict::check(&stage.homes(), &stage.pauses);
    let report = Report::new(options, &stage, course, verdict, (start, end));
    let good = report.is_good();
    let text = report.text();
    fs::write(directory.join("report.txt"), &text).unwrap();
    if let Some(file) = &options.json {
        let json = serde_json::to_vec_pretty(&report.json()).unwrap();
        fs::write(file, json).unwrap_or_else(|e| panic!("--json {}: {e}", file.display()));
    }
    if !good && options.quiet {
        println!("what happened:\n{}", fs::read_to_string(directory.join("timeline.txt")).unwrap());
    }
    if options.keep || !good {
        for host in &stage.hosts {
            host.disk.save();
        }
    }
    print!("{text}");
    good
}
