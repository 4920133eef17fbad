//! Explores the small worlds that a CI machine has time for, each one completely.

use std::collections::BTreeSet;

use kneard_proof::check::{CI, Search, check, named};

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes: run it with --release")]
fn every_promise_holds_in_every_small_world() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let search = Search { threads, breadth_first: false, stop_at_failure: false, max_states: None };
    let mut never: Option<BTreeSet<&str>> = None;
    let (mut states, mut unique) = (0, 0);
    for name in CI {
        let config = named(name).expect("CI names worlds that there are");
        let report = check(&config, search);
        println!("{report}");
        assert!(report.complete, "{name} was not explored to its end");
        assert_eq!(report.failure(), None, "{name}");
        states += report.states;
        unique += report.unique;
        let missing: BTreeSet<&str> = report.never().into_iter().collect();
        never = Some(match never {
            None => missing,
            Some(never) => never.intersection(&missing).copied().collect(),
        });
    }
    println!("all: {states} states explored, {unique} of them unique");
    let never = never.unwrap_or_default();
    assert!(never.is_empty(), "in no world: {never:?}");
}
