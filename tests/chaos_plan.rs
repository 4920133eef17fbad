//! The parts of the chaos run that can be wrong without a run showing it: the plan that follows
//! from a seed, and what the verdict excuses.

mod support;

#[path = "chaos/plan.rs"]
mod plan;
#[path = "chaos/verdict.rs"]
#[allow(dead_code, reason = "a run reads all of the verdict")]
mod verdict;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use plan::{Group, Kind, Part, Plan};
use verdict::{KILL_MARGIN, Pause, judge};

fn groups(seed: u64, count: usize) -> Vec<Group> {
    Plan::new(seed).take(count).collect()
}

#[test]
fn a_plan_follows_from_its_seed() {
    assert_eq!(groups(7, 200), groups(7, 200));
    assert_ne!(groups(7, 200), groups(8, 200));
}

#[test]
fn an_hour_has_every_fault() {
    let in_first = |count| -> BTreeSet<_> {
        groups(3, count).iter().flat_map(|group| &group.faults).map(|f| f.kind.name()).collect()
    };
    assert_eq!(in_first(60), in_first(2_000));
    assert!(in_first(60).len() > 45, "{}", in_first(60).len());
}

#[test]
fn groups_overlap_and_stay_short() {
    let groups = groups(11, 500);
    let overlapping = groups.iter().filter(|group| {
        group.faults.windows(2).any(|pair| pair[1].after < pair[0].after + pair[0].lasts)
    });
    assert!(overlapping.count() > 150);
    for group in &groups {
        assert!((1..=3).contains(&group.faults.len()), "{group:?}");
        assert!(group.length() < Duration::from_secs(60), "{group:?}");
    }
}

#[test]
fn nobody_is_left_without_both_guard_and_kneard() {
    for group in (0..200).flat_map(|seed| groups(seed, 50)) {
        let has = |wanted: fn(Kind) -> bool| group.faults.iter().any(|fault| wanted(fault.kind));
        let guard = has(|kind| matches!(kind, Kind::Stop(Part::Guard, _)));
        let kneard =
            has(|kind| matches!(kind, Kind::Stop(Part::Kneard, _) | Kind::Kill(Part::Kneard, _)));
        assert!(!(guard && kneard), "{group:?}");
    }
}

const HOME: &str = "/homes/host0";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The old holder at `HOME` could sign until `end`, the new one from 20 s on.
fn overlap(end: Duration) -> Value {
    let hold = |home: &str, start: u64, end: u64| json!({"home": home, "run": "1-1", "start": start, "end": end});
    let end = end.as_nanos() as u64;
    json!({
        "signatures": 9,
        "changes": [],
        "equivocations": [],
        "overlaps": [{
            "first": hold(HOME, 1_000_000_000, end),
            "second": hold("/homes/host1", 20_000_000_000, 60_000_000_000),
            "signatures": 3,
        }],
    })
}

fn pause(from: u64, to: u64) -> Pause {
    Pause { home: PathBuf::from(HOME), from: ms(from), to: ms(to), beyond_lease: true }
}

#[test]
fn an_overlap_counts() {
    let verdict = judge(&overlap(ms(20_001)), &[]);
    assert_eq!((verdict.overlaps.len(), verdict.excused.len()), (1, 0));
    assert!(!verdict.is_clean());
}

#[test]
fn a_moment_after_a_pause_beyond_the_lease_is_excused() {
    let verdict = judge(&overlap(ms(25_000) + KILL_MARGIN), &[pause(10_000, 25_000)]);
    assert_eq!((verdict.overlaps.len(), verdict.excused.len()), (0, 1));
    assert!(verdict.is_clean());
}

#[test]
fn nothing_else_about_a_pause_is_excused() {
    let late = overlap(ms(25_010) + KILL_MARGIN);
    assert_eq!(judge(&late, &[pause(10_000, 25_000)]).overlaps.len(), 1, "it lived on");
    let found = overlap(ms(25_100));
    let within = Pause { beyond_lease: false, ..pause(10_000, 25_000) };
    assert_eq!(judge(&found, &[within]).overlaps.len(), 1, "its lease had not ended");
    assert_eq!(judge(&found, &[pause(20_001, 25_000)]).overlaps.len(), 1, "awake before it");
    let other = Pause { home: PathBuf::from("/homes/host2"), ..pause(10_000, 25_000) };
    assert_eq!(judge(&found, &[other]).overlaps.len(), 1, "another host");
}

#[test]
fn an_equivocation_counts_unless_it_was_signed_right_after_a_pause() {
    let signed = |home: &str, t: u64| json!({"home": home, "run": "1-1", "t": t * 1_000_000});
    let found = |t: u64| {
        json!({"signatures": 2, "equivocations": [{
            "kind": "block", "height": 7, "signed": [signed("/homes/host1", 21_000), signed(HOME, t)],
        }]})
    };
    let pauses = [pause(10_000, 25_000)];
    assert_eq!(judge(&found(25_003), &pauses).excused.len(), 1);
    assert_eq!(judge(&found(25_003), &[]).equivocations.len(), 1);
    assert_eq!(judge(&found(26_000), &pauses).equivocations.len(), 1, "long after it");
    assert_eq!(judge(&found(9_000), &pauses).equivocations.len(), 1, "before it");
}
