//! Made-up journals with one fault each.

use std::fs;

use super::*;
use crate::alive;
use crate::journal::{Entry, FILE};

const KEY: &str = "ed25519:7PGseFbWxvYVgZ89K1uTJKYoKetWs7BJtbyXDzfbAcqX";

fn entry(run: &str, t_ms: u64, event: Event) -> Entry {
    Entry {
        t: t_ms * 1_000_000,
        run: run.to_owned(),
        pid: 1,
        event,
        account: Some("node3".into()),
        key: Some(KEY.into()),
        height: None,
        hash: None,
    }
}

fn sign(run: &str, t_ms: u64, event: Event, height: u64, hash: &str) -> Entry {
    Entry { height: Some(height), hash: Some(hash.into()), ..entry(run, t_ms, event) }
}

fn home(name: &str, entries: Vec<Entry>) -> Home {
    Home { path: name.into(), entries, stamp: None }
}

#[test]
fn a_clean_hand_over_is_clean_and_its_gap_is_measured() {
    let a = home(
        "a",
        vec![
            entry("1-1", 0, Event::KeyLoaded),
            sign("1-1", 90, Event::Block, 5, "x"),
            entry("1-1", 100, Event::KeyUnloaded),
        ],
    );
    let b = home(
        "b",
        vec![entry("2-2", 220, Event::KeyLoaded), sign("2-2", 300, Event::Block, 6, "y")],
    );
    let report = judge(&[a, b]);
    assert!(report.is_clean() && report.backward.is_empty());
    assert_eq!(report.changes.len(), 1);
    assert!((report.changes[0].gap_ms - 120.0).abs() < 0.001);
    assert_eq!(report.changes[0].signature_gap_ms, Some(210.0));
    assert_eq!(
        report.verdict(),
        "verdict: 0 overlaps, 0 equivocations, 1 change of signer, longest gap 120 ms"
    );
}

#[test]
fn two_processes_that_could_sign_at_one_time_overlap() {
    let a = home("a", vec![entry("1-1", 0, Event::KeyLoaded), entry("1-1", 100, Event::Exit)]);
    let b = home(
        "b",
        vec![
            entry("2-2", 70, Event::KeyLoaded),
            sign("2-2", 80, Event::Approval, 6, "y"),
            entry("2-2", 200, Event::KeyUnloaded),
        ],
    );
    let report = judge(&[a, b]);
    assert_eq!(report.overlaps.len(), 1);
    assert!((report.overlaps[0].ms - 30.0).abs() < 0.001);
    assert_eq!(report.overlaps[0].signatures, 1);
    assert!(report.text(0.0).contains("overlap: 30.000 ms"));
    assert!(report.verdict().starts_with("verdict: 1 overlap, 0 equivocations"));
}

#[test]
fn a_killed_process_could_sign_until_shortly_after_its_last_sign_of_life() {
    let killed = |last_alive| {
        home(
            "a",
            vec![
                entry("1-1", 0, Event::KeyLoaded),
                Entry { key: None, ..entry("1-1", last_alive, Event::LastAlive) },
            ],
        )
    };
    let next = home("b", vec![entry("2-2", 100, Event::KeyLoaded)]);
    assert!(judge(&[killed(94), next.clone()]).is_clean());
    assert!(!judge(&[killed(97), next]).is_clean());
}

#[test]
fn the_stamp_of_a_home_that_was_not_started_again_counts() {
    let mut a = home("a", vec![entry("1-1", 0, Event::KeyLoaded)]);
    a.stamp = Some(alive::Stamp { pid: 1, started: 1, last: 500_000_000 });
    let b = home("b", vec![entry("2-2", 400, Event::KeyLoaded)]);
    let report = judge(&[a, b]);
    assert!((report.overlaps[0].ms - 5.0).abs() < 0.001, "b itself is last seen at 405");
}

#[test]
fn two_blocks_at_one_height_are_an_equivocation_within_one_home_too() {
    let same = home(
        "a",
        vec![
            entry("1-1", 0, Event::KeyLoaded),
            sign("1-1", 1, Event::Block, 5, "x"),
            sign("1-1", 2, Event::Block, 5, "y"),
            sign("1-1", 3, Event::Chunk, 5, "z"),
        ],
    );
    let report = judge(&[same]);
    assert_eq!(report.equivocations.len(), 1);
    assert_eq!(report.equivocations[0].height, 5);
    assert!(report.text(0.0).contains("equivocation: block at height 5"));
}

#[test]
fn the_same_thing_signed_twice_is_no_equivocation_but_is_noted() {
    let a = home(
        "a",
        vec![
            entry("1-1", 0, Event::KeyLoaded),
            sign("1-1", 1, Event::Endorsement, 5, "x"),
            entry("1-1", 2, Event::Exit),
        ],
    );
    let b = home(
        "b",
        vec![entry("2-2", 10, Event::KeyLoaded), sign("2-2", 11, Event::Endorsement, 5, "x")],
    );
    let report = judge(&[a, b]);
    assert!(report.is_clean());
    assert_eq!((report.backward.len(), report.backward[0].reached), (1, 5));
}

#[test]
fn approvals_of_two_heads_are_noted_and_not_held_against_the_key() {
    let a = home(
        "a",
        vec![
            entry("1-1", 0, Event::KeyLoaded),
            sign("1-1", 1, Event::Approval, 5, "x"),
            entry("1-1", 2, Event::Exit),
        ],
    );
    let b = home(
        "b",
        vec![entry("2-2", 10, Event::KeyLoaded), sign("2-2", 11, Event::Approval, 5, "y")],
    );
    let report = judge(&[a, b]);
    assert!(report.is_clean());
    assert_eq!(report.split_approvals.len(), 1);
}

#[test]
fn other_keys_do_not_matter() {
    let other = |e: Entry| Entry { key: Some("ed25519:other".into()), ..e };
    let a = home("a", vec![entry("1-1", 0, Event::KeyLoaded), entry("1-1", 100, Event::Exit)]);
    let b = home(
        "b",
        vec![other(entry("2-2", 50, Event::KeyLoaded)), other(entry("2-2", 60, Event::Exit))],
    );
    assert!(judge(&[a, b]).is_clean());
}

#[test]
fn a_torn_line_at_the_end_or_before_a_start_is_tolerated_and_no_other() {
    let line = |e: Entry| serde_json::to_string(&e).unwrap();
    let (start, loaded) = (
        line(Entry { key: None, ..entry("1-1", 0, Event::Start) }),
        line(entry("1-1", 1, Event::KeyLoaded)),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    for good in [
        format!("{start}\n{loaded}\n{{\"t\":1,"),
        format!("{loaded}\n{{\"t\":1,\n{start}\n"),
        String::new(),
    ] {
        fs::write(&file, &good).unwrap();
        assert!(check(&[dir.path()]).is_ok(), "{good}");
    }
    fs::write(&file, format!("{start}\n{{\"t\":1,\n{loaded}\n")).unwrap();
    assert!(check(&[dir.path()]).unwrap_err().contains("signatures.log:2"));
    fs::remove_file(&file).unwrap();
    assert!(check(&[dir.path()]).unwrap_err().contains("signatures.log"));
}

#[test]
fn a_home_named_twice_does_not_overlap_with_itself() {
    let dir = tempfile::tempdir().unwrap();
    let line = serde_json::to_string(&entry("1-1", 1, Event::KeyLoaded)).unwrap();
    fs::write(dir.path().join(FILE), line + "\n").unwrap();
    let again = dir.path().join(".");
    assert!(check(&[dir.path().to_owned(), again]).unwrap().is_clean());
}
