//! The simulation over fixed seeds; and that it notices what it is there for.

use kneard::election::Mutant;
use kneard_proof::sim::{self, Options};

/// Without optimisation a seed takes twenty times as long.
const SEEDS: u64 = if cfg!(debug_assertions) { 40 } else { 1_000 };

fn pass(seeds: std::ops::Range<u64>, options: &Options) -> sim::Stats {
    let mut sum = sim::Stats::default();
    for seed in seeds {
        match sim::run(seed, options) {
            Ok(stats) => sum.merge(&stats),
            Err(violation) => panic!("{violation}"),
        }
    }
    sum
}

#[test]
fn no_promise_is_broken_in_fixed_seeds() {
    let stats = pass(0..SEEDS, &Options::default());
    assert_eq!(stats.seeds, SEEDS);
    assert!(stats.hours() > 0.99 * SEEDS as f64);
    // They are no idle hours.
    assert!(stats.terms > 2 * SEEDS, "{} terms", stats.terms);
    let unused: Vec<&str> = sim::Fault::ALL
        .into_iter()
        .filter(|fault| stats.faults[*fault as usize] == 0)
        .map(sim::Fault::words)
        .collect();
    assert!(unused.is_empty(), "faults that never happened: {unused:?}");
}

/// The same over less time: most of it is the first minutes, in which nodes know least.
#[test]
fn no_promise_is_broken_in_short_lives() {
    pass(1_000_000..1_000_000 + SEEDS, &Options { hours: 0.1, ..Options::default() });
}

#[test]
fn where_nothing_goes_wrong_the_first_holder_stays_for_hours() {
    let seeds = SEEDS / 40;
    let stats = pass(0..seeds, &Options { hours: 6.0, quiet: true, ..Options::default() });
    assert_eq!(stats.terms, seeds, "one term each");
    assert_eq!(stats.tenures, 0, "no neard with the key ended");
}

#[test]
fn a_seed_determines_everything() {
    let options = Options { hours: 0.5, ..Options::default() };
    for seed in 0..SEEDS / 20 {
        let [once, again] = [(), ()].map(|()| sim::run(seed, &options).unwrap());
        assert_eq!((once.hash, once.events), (again.hash, again.events), "seed {seed}");
        assert_eq!(sim::trace(seed, &options), sim::trace(seed, &options), "seed {seed}");
    }
    let [one, other] = [0, 1].map(|seed| sim::run(seed, &options).unwrap());
    assert_ne!(one.hash, other.hash);
}

/// The first of `seeds` seeds in which a broken rule shows, and how.
fn caught(mutant: Mutant, seeds: u64) -> (u64, String) {
    let options = Options { hours: 0.5, mutant: Some(mutant), ..Options::default() };
    let violation = (0..seeds).find_map(|seed| sim::run(seed, &options).err());
    let violation = violation.unwrap_or_else(|| panic!("{mutant} shows in none of {seeds} seeds"));
    assert!(violation.timeline.last().is_some_and(|line| line.contains(&violation.what)));
    (violation.seed, violation.what.clone())
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn broken_rules_are_caught() {
    let mutants = [
        Mutant::UnknownIsCommitted,
        Mutant::NoKillMargin,
        Mutant::DriftIgnored,
        Mutant::PendingIsDone,
        Mutant::FreeLockIsSafe,
        Mutant::MissingIsFree,
        Mutant::MarkByBeatOnly,
        Mutant::ReleaseBeforeReaped,
        Mutant::HeadNotWaitedFor,
        Mutant::HeadNotBounded,
        Mutant::StealUnchecked,
        Mutant::WallClock,
        Mutant::CrashReleaseWithoutProof,
    ];
    for mutant in mutants {
        let (seed, what) = caught(mutant, 4_000);
        println!("{mutant}: {} seeds, {what}", seed + 1);
    }
}
