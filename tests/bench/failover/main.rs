//! How long nobody signs: `cargo bench --bench failover -- --out docs`.
//!
//! Real kneards, three real Consul servers, an agent of Consul's beside each kneard and a stand-in
//! chain, each host a network namespace. Each scenario has a cluster of its own and hits it again
//! and again. All times are from the stand-ins' signature logs, which also say whether two could
//! ever sign. Exits 1 when they could, or when a run did not end as it should.

#[path = "../../support/mod.rs"]
mod support;

mod cluster;
mod document;
mod figures;
mod journal;
mod options;
mod plot;
mod round;
mod scenario;

use std::{
    collections::VecDeque,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
};

use clap::Parser;

use cluster::Cluster;
use figures::{Figures, Round};
use options::{Job, Options};
use support::{enclosure, random::Random, turn::turn};

fn main() -> ExitCode {
    let options = Options::parse();
    let earlier = options.from.as_deref().map(read);
    match earlier {
        Some(figures) if options.only_renders() => ExitCode::from(publish(&figures, &options)),
        earlier => enclosure::enclosed(|enclosure| {
            let _turn = turn();
            let mut figures = measure(&options, &enclosure.run);
            figures.keep(earlier);
            publish(&figures, &options)
        }),
    }
}

fn read(file: &Path) -> Figures {
    let text = fs::read(file).unwrap_or_else(|e| panic!("--from {}: {e}", file.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("--from {}: {e}", file.display()))
}

/// Several clusters at a time: they mostly wait.
fn measure(options: &Options, run: &str) -> Figures {
    let queue: Mutex<VecDeque<Job>> = Mutex::new(options.jobs().into());
    let figures = Mutex::new(Figures::new());
    let lock = || figures.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..options.clusters {
            scope.spawn(|| {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(job) = job else { break };
                    let directory = tempfile::Builder::new().prefix("kneard-failover-").tempdir();
                    let directory = directory.expect("a temporary directory");
                    let done = catch_unwind(AssertUnwindSafe(|| {
                        play(&job, options, run, directory.path(), |round| {
                            lock().rounds.push(round);
                        });
                    }));
                    if done.is_err() {
                        let kept = directory.keep();
                        lock()
                            .failures
                            .push(format!("{job}: not played, logs in {}", kept.display()));
                    }
                }
            });
        }
    });
    figures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn play(job: &Job, options: &Options, run: &str, directory: &Path, mut done: impl FnMut(Round)) {
    let mut cluster = Cluster::start(job, &format!("{run}-{}", job.name()), directory);
    let mut random = Random::new(options.seed);
    for number in 1..=options.runs {
        let round = round::play(&mut cluster, job, number, &mut random);
        println!("{round}");
        done(round);
    }
}

/// Prints the tables, and writes what was asked for; the exit code.
fn publish(figures: &Figures, options: &Options) -> u8 {
    print!("{}", document::tables(figures));
    if let Some(directory) = &options.out {
        let json = serde_json::to_string_pretty(figures).expect("plain data") + "\n";
        for (name, text) in [
            ("failover.json", json),
            ("failover.svg", plot::svg(figures)),
            ("failover.md", document::page(figures)),
        ] {
            let file = directory.join(name);
            fs::write(&file, text).unwrap_or_else(|e| panic!("--out {}: {e}", file.display()));
        }
    }
    let wrong = figures.wrong();
    for line in &wrong {
        println!("{line}");
    }
    u8::from(!wrong.is_empty())
}
