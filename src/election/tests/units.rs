//! Lease arithmetic, the record's format, settings.

use std::time::Duration;

use super::harness::*;
use crate::election::{Content, Lease, RecordState, SettingsError, State, with_drift};

#[test]
fn a_lease_is_counted_from_the_sending() {
    let lease = Lease::from_send(at(1_000), ms(LEASE_MS));
    assert_eq!(lease.expires(), at(7_000));
    assert_eq!(lease.kill_at(ms(KILL_MARGIN_MS)), at(6_500));
    assert_eq!(lease.remaining(at(2_000)), ms(5_000));
    assert_eq!(lease.remaining(at(9_000)), Duration::ZERO);
    assert!(lease.covers(at(6_999)));
    assert!(!lease.covers(at(7_000)));
}

#[test]
fn a_wait_by_another_clock_is_one_percent_longer_and_rounded_up() {
    assert_eq!(with_drift(ms(6_000)), ms(6_060));
    assert_eq!(with_drift(Duration::from_nanos(1)), Duration::from_nanos(2));
    assert_eq!(with_drift(Duration::ZERO), Duration::ZERO);
    assert!(with_drift(Duration::MAX) > Duration::from_secs(1 << 30), "no overflow");
}

#[test]
fn a_record_survives_its_way_through_json() {
    let record = record(7, 3, RecordState::Active);
    let value = serde_json::to_value(&record).expect("a record is JSON");
    assert_eq!(
        value,
        serde_json::json!({
            "version": 1, "holder": "node1", "instance": "instance1", "hostname": "host1",
            "term": 7, "beat": 3, "lease_ms": 6000, "head": 100, "state": "active",
            "reason": "", "since": ""
        })
    );
    assert_eq!(Content::parse(value.to_string().as_bytes()), Content::Record(record));
}

#[test]
fn fields_of_a_later_release_are_tolerated() {
    let mut value = serde_json::to_value(record(7, 3, RecordState::Active)).expect("JSON");
    value["later"] = serde_json::json!({"x": 1});
    assert!(Content::parse(value.to_string().as_bytes()).record().is_some());
}

#[test]
fn what_is_not_a_record_of_this_version_is_unreadable() {
    let good = serde_json::to_value(record(7, 3, RecordState::Active)).expect("JSON");
    let with = |field: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed.to_string()
    };
    for text in [
        String::new(),
        "garbage".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        // Not by the order of its fields.
        r#"[1,"node1","instance1","host1",7,3,6000,100,false,"active",null,"",""]"#.to_owned(),
        with("version", 2.into()),
        with("term", (-1).into()),
        with("state", "asleep".into()),
        // Nobody can set a lease of zero, or longer than Consul's longest lock delay.
        with("lease_ms", 0.into()),
        with("lease_ms", 60_001.into()),
        // Nor come so far that the next write would look the same.
        with("term", u64::MAX.into()),
        with("beat", u64::MAX.into()),
    ] {
        assert_eq!(Content::parse(text.as_bytes()), Content::Unreadable, "{text}");
    }
}

#[test]
fn a_lease_that_is_no_whole_number_of_milliseconds_is_published_longer() {
    let mut settings = settings();
    settings.lease = Duration::from_micros(6_000_001);
    let mut node = Node::standby_with(settings);
    let released = entry(INDEX, None, &record(7, 3, RecordState::Released));
    let actions = node.watched(0, released);
    assert_eq!(Node::write_of(&actions).record().lease_ms, 6_001);
}

#[test]
fn the_defaults_can_work() {
    let settings = settings();
    assert_eq!(settings.check(), Ok(()));
    assert_eq!(settings.beat_interval(), ms(1_000));
    assert_eq!(settings.session_ttl(), ms(12_000));
    assert!(settings.lock_delay() >= settings.lease);
}

#[test]
fn a_session_outlives_its_dead_holders_lease_although_a_renewal_was_lost() {
    for seconds in 3..=60 {
        let mut settings = settings();
        settings.lease = Duration::from_secs(seconds);
        let least = settings.session_ttl() - 2 * settings.session_renew_interval();
        assert!(least > with_drift(settings.lease), "a session may end {least:?} after the death");
    }
}

#[test]
fn a_lease_that_cannot_work_is_refused_with_the_formula_and_the_numbers() {
    let mut settings = settings();
    settings.lease = ms(2_999);
    let error = settings.check().expect_err("too short");
    assert_eq!(
        error.to_string(),
        "--lease 2.999s is too short: it must be at least 4 × kill margin + 1s = 4 × 500ms + 1s = 3s"
    );
    settings.lease = ms(60_001);
    assert_eq!(settings.check(), Err(SettingsError::LeaseTooLong { lease: ms(60_001) }));
    settings.kill_margin = ms(0);
    let (kill_margin, least) = (ms(0), ms(500));
    assert_eq!(settings.check(), Err(SettingsError::KillMarginTooShort { kill_margin, least }));
    settings.kill_margin = Duration::MAX;
    assert!(matches!(settings.check(), Err(SettingsError::LeaseTooShort { .. })));
}

#[test]
fn the_next_record_is_the_same_writers_next_beat() {
    let record = record(7, 3, RecordState::Active);
    let next = record.next();
    let mut expected = record.clone();
    expected.beat = 4;
    assert_eq!(next, expected);
}

#[test]
fn every_state_has_a_name_and_a_sentence() {
    let names: Vec<String> = State::ALL.iter().map(State::to_string).collect();
    let sorted = ["Registering", "Shutdown", "Startup", "Syncing", "Validating", "Voting"];
    assert_eq!(names, sorted);
    for state in State::ALL {
        assert!(!state.sentence().is_empty());
    }
}

#[test]
fn nothing_is_known_of_what_a_dead_holder_signed_that_was_catching_up() {
    let mut record = record(7, 3, RecordState::Active);
    record.head_is_bound = true;
    let released = record.after_crash("it died");
    assert_eq!((released.head, released.head_is_bound), (u64::MAX, true));
}

#[test]
fn what_is_released_for_a_dead_holder_is_bounded_by_its_last_lease() {
    let released = record(7, 3, RecordState::Active).after_crash("kneard died");
    let mut expected = record(7, 4, RecordState::Released);
    // 6 s of blocks, 100 ms each, and one that may be under way.
    expected.head = HEAD + 61;
    expected.head_is_bound = true;
    expected.reason = "kneard died".to_owned();
    assert_eq!(released, expected);
}

#[test]
fn a_dead_pending_holders_release_lets_nobody_in_before_the_lease_is_over() {
    let released = record(7, 3, RecordState::Pending).after_crash("kneard died");
    let mut expected = record(7, 4, RecordState::Pending);
    expected.reason = "kneard died".to_owned();
    assert_eq!(released, expected);
}
