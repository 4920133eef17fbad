//! The tables, and the page for docs/.

use std::fmt::Write;

use kneard::election::{InstanceId, Settings};

use crate::{
    figures::{Figures, Round, limits, percentile},
    options::{Job, Promotion},
    scenario::Scenario,
    support::kneard::LEASE,
};

pub fn tables(figures: &Figures) -> String {
    let mut out = String::new();
    for promotion in Promotion::ALL {
        let rows = takeovers(figures, promotion);
        if !rows.is_empty() {
            out += &format!("\n{}:\n\n{rows}", title(promotion));
        }
    }
    for (what, rows) in [("The key stays", kept(figures)), ("Leases", leases(figures))] {
        if !rows.is_empty() {
            out += &format!("\n{what}:\n\n{rows}");
        }
    }
    out += &format!("\n{}\n", verdict(figures));
    out
}

pub fn page(figures: &Figures) -> String {
    let (runs, lease) = (fewest_rounds(figures), LEASE.as_secs());
    let settings = Settings::new("", InstanceId(String::new()), "");
    let mut out = format!(
        "# How long nobody signs

Written by `cargo bench --bench failover -- --out docs`: do not edit. Each scenario was played
at least {runs} times in a cluster of its own: three Consul servers ({consul}), two hosts with a kneard and a
Consul agent each, and a chain of stand-ins for neard with a block every 600 ms; each host is a network
namespace. {cores} cores, Linux {kernel}, several clusters at a time. The lease is {lease} s. Every time is read
from the stand-ins' signature logs, after the fact; every run in [failover.json](failover.json).

{verdict}

![Each run as a dot](failover.svg)

Milliseconds from just before the fault: median, and in brackets the 95th percentile and the most.
*Old ends*: from then on the old signer cannot sign. *New has the key*: its neard has loaded it; with
hot swap it is in sync by then and can sign. *New signs*: its first signature.
*Silent*: from the last signature of the old signer to the first of the new; one that is cut off signs on
until it ends, unheard. *Missed*: blocks and chunks that the chain lacks, whoever was to make them, of all runs. *Overlaps*: moments at which two could sign, and heights that were
signed twice.
",
        consul = figures.consul,
        cores = figures.cores,
        kernel = figures.kernel,
        verdict = verdict(figures),
    );
    for promotion in Promotion::ALL {
        out += &format!("\n## {}\n\n{}", title(promotion), takeovers(figures, promotion));
        out += match promotion {
            Promotion::HotSwap => {
                "\nAfter a death the standby lets the time pass in which a block that the dead signer
sent last reaches every node, 500 ms.\n"
            }
            Promotion::Restart => {
                "\nHere the new signer has its key from the start of its neard, and signs when that is
in sync. The stand-in starts in less than a second; a real neard takes longer, and so does this.\n"
            }
        };
    }
    let _ = write!(
        out,
        "
## Without a takeover

Nobody may lose the key when Consul loses its leader, or a host its own agent.

{kept}
## Why the lease is {lease} s

A lease has to outlive an election of Consul's leader, in which no beat can be written. *No beat*: for so
long none reached Consul, seen on its servers. {margin} ms before a lease ends, kneard takes the key out,
so as not to lose its neard as well.

{leases}",
        kept = kept(figures),
        leases = leases(figures),
        margin = (settings.kill_margin + settings.soft_margin).as_millis(),
    );
    out
}

fn title(promotion: Promotion) -> &'static str {
    match promotion {
        Promotion::HotSwap => "Hot swap",
        Promotion::Restart => "Restart",
    }
}

fn fewest_rounds(figures: &Figures) -> usize {
    figures.jobs().into_iter().map(|job| figures.of(job).len()).min().unwrap_or(0)
}

fn verdict(figures: &Figures) -> String {
    let violations: u64 = figures.jobs().into_iter().map(|job| violations(&figures.of(job))).sum();
    format!(
        "{} runs; {violations} overlaps and equivocations by the signature checker.",
        figures.rounds.len()
    )
}

fn takeovers(figures: &Figures, promotion: Promotion) -> String {
    let wanted = |job: &Job| job.promotion == promotion && job.scenario.moves_the_key();
    let mut out = String::new();
    for job in figures.jobs().into_iter().filter(wanted) {
        let rounds = figures.of(job);
        let scenario = job.scenario.title();
        let cells = [
            if job.has_default_lease() {
                scenario.to_owned()
            } else {
                format!("{scenario}, lease {} s", job.lease_s)
            },
            spread(&rounds, |round| round.old_ends_ms),
            spread(&rounds, |round| round.new_has_key_ms),
            spread(&rounds, |round| round.new_signs_ms),
            spread(&rounds, |round| Some(round.silence_ms)),
            missed(&rounds),
            violations(&rounds).to_string(),
            promise(&job),
        ];
        row(&mut out, &cells);
    }
    with_head(
        &[
            "scenario",
            "old ends",
            "new has the key",
            "new signs",
            "silent",
            "missed",
            "overlaps",
            "promised",
        ],
        out,
    )
}

fn kept(figures: &Figures) -> String {
    let wanted = |job: &Job| !job.scenario.moves_the_key() && job.has_default_lease();
    let mut out = String::new();
    for job in figures.jobs().into_iter().filter(wanted) {
        let rounds = figures.of(job);
        let cells = [
            format!("{}, {}", job.scenario.title(), job.promotion.name()),
            ends(&rounds),
            spread(&rounds, |round| Some(round.silence_ms)),
            missed(&rounds),
            violations(&rounds).to_string(),
        ];
        row(&mut out, &cells);
    }
    with_head(&["scenario", "runs with the key lost", "silent", "missed", "overlaps"], out)
}

fn leases(figures: &Figures) -> String {
    let wanted =
        |job: &Job| job.scenario == Scenario::LeaderLoss && job.promotion == Promotion::HotSwap;
    let mut out = String::new();
    for job in figures.jobs().into_iter().filter(wanted) {
        let rounds = figures.of(job);
        let moved = rounds.iter().filter(|round| round.moved).count();
        let cells = [
            format!("{} s", job.lease_s),
            spread(&rounds, |round| round.no_beat_ms),
            ends(&rounds),
            format!("{moved} of {}", rounds.len()),
            spread(&rounds, |round| Some(round.silence_ms)),
            missed(&rounds),
            violations(&rounds).to_string(),
        ];
        row(&mut out, &cells);
    }
    with_head(
        &[
            "lease",
            "no beat",
            "runs with the key lost",
            "runs with it at the standby",
            "silent",
            "missed",
            "overlaps",
        ],
        out,
    )
}

fn with_head(names: &[&str], rows: String) -> String {
    if rows.is_empty() {
        return rows;
    }
    let lines = vec!["---"; names.len()].join("|");
    format!("| {} |\n|{lines}|\n{rows}", names.join(" | "))
}

fn row(out: &mut String, cells: &[String]) {
    *out += &format!("| {} |\n", cells.join(" | "));
}

fn spread(rounds: &[&Round], value: impl Fn(&Round) -> Option<f64>) -> String {
    let values: Vec<_> = rounds.iter().filter_map(|round| value(round)).collect();
    match [0.5, 0.95, 1.0].map(|part| percentile(&values, part)) {
        [Some(median), Some(p95), Some(most)] => format!("{median:.0} ({p95:.0}, {most:.0})"),
        _ => "none".to_owned(),
    }
}

fn ends(rounds: &[&Round]) -> String {
    format!("{} of {}", rounds.iter().filter(|round| round.ends > 0).count(), rounds.len())
}

fn missed(rounds: &[&Round]) -> String {
    let missed: usize = rounds.iter().map(|round| round.missed).sum();
    format!("{missed} in {}", rounds.len())
}

/// Overlaps and equivocations; each round counts those before it, too.
fn violations(rounds: &[&Round]) -> u64 {
    rounds.iter().map(|round| round.violations).max().unwrap_or(0)
}

fn promise(job: &Job) -> String {
    let limits = limits(job);
    let texts: Vec<_> =
        limits.iter().map(|limit| format!("{} {}", limit.short, limit.ms)).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}
