use std::time::{Duration, UNIX_EPOCH};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::*;

const START: Duration = Duration::from_secs(1_800_000_000);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + START + Duration::from_secs(seconds)
}

fn node(name: &str, state: &str, more: Value) -> Value {
    let mut node = json!({
        "node_id": name, "instance": format!("{name}-run"), "hostname": format!("{name}.example"),
        "state": state, "lease_ms": 7000, "head": 1234, "kneard_version": "0.1.0",
        "neard_version": "2.13.1 (build x)", "lag": 0, "hot_swap": true,
    });
    let fields = node.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    node
}

fn status(holder: &str, beat: u64, more: Value) -> Status {
    let mut status = json!({
        "account_id": "pool.near",
        "node": node("host-b", "Voting", json!({"head": 1230, "lag": 4})),
        "sentence": "standing by",
        "neard": {"pid": 4711, "restarts": 2, "has_validator_key": false},
        "lease_left_ms": null,
        "consul_session": "s",
        "record": {
            "version": 1, "holder": holder, "instance": format!("{holder}-run"),
            "hostname": format!("{holder}.example"), "term": 7, "beat": beat, "lease_ms": 7000,
            "head": 1234, "state": "active", "reason": "host-c gave the key back",
            "since": "2026-11-24T19:00:00.123Z",
        },
        "locked": true,
        "nodes": [node("host-a", "Validating", json!({})), node("host-b", "Syncing", json!({}))],
        "consul_error": null,
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(status).unwrap()
}

fn picture(
    watched: &Watched,
    now: SystemTime,
    (width, height): (u16, u16),
    colour: bool,
) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, watched, now, colour)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

fn assert_shows(picture: &str, parts: &[&str]) {
    for part in parts {
        assert!(picture.contains(part), "no {part:?} in:\n{picture}");
    }
}

#[test]
fn an_election_fits_on_eighty_columns_and_twenty_four_lines() {
    let mut watched = Watched::new();
    watched.take_in(at(0), Ok(status("host-a", 1, json!({}))));
    watched.take_in(at(1), Ok(status("host-a", 2, json!({}))));
    let picture = picture(&watched, at(3), (80, 24), false);
    assert_shows(
        &picture,
        &[
            "kneard  pool.near",
            "q quits",
            "Holder   host-a holds the key (term 7), on host-a.example",
            "since 2026-11-24 19:00:00: host-c gave the key back",
            // Two seconds after the first sight of the last beat.
            "Lease    5.0 of 7 s ####",
            "This     host-b: Voting, standing by",
            "neard    pid 4711, without the key, head 1230, 2 restarts, 2.13.1 (build x)",
            "  node         state       head       lag  key by  neard   kneard host",
            "* host-a       Validating  1234       0    hot     2.13.1  0.1.0  host-a.example",
            // The own node as it is, not as it was published.
            "  host-b       Voting      1230       4    hot     2.13.1  0.1.0  host-b.example",
            "Last events",
            "host-a holds the key (term 7)",
        ],
    );
    assert!(picture.lines().all(|line| line.chars().count() <= 80), "{picture}");
}

#[test]
fn the_holder_knows_its_lease_best() {
    let mut watched = Watched::new();
    let own = json!({"lease_left_ms": 6500});
    watched.take_in(at(0), Ok(status("host-b", 1, own)));
    assert_eq!(watched.lease(at(2)), Some((Duration::from_millis(4500), Duration::from_secs(7))));
    // Not less than nothing.
    assert_eq!(watched.lease(at(60)).unwrap().0, Duration::ZERO);
    // A lock that nobody holds has no lease.
    watched.take_in(at(61), Ok(status("host-b", 2, json!({"locked": false}))));
    assert_eq!(watched.lease(at(61)), None);
    assert_shows(&picture(&watched, at(61), (80, 24), false), &["nobody holds the key", "none"]);
}

#[test]
fn the_history_is_shown_below_what_was_watched() {
    let mut watched = Watched::new();
    assert!(!watched.wants_history(), "nobody answers yet");
    watched.take_in(at(0), Ok(status("host-a", 1, json!({}))));
    assert!(watched.wants_history());
    let entry = |time: SystemTime, from: Value, seconds: Value| {
        serde_json::from_value(json!({
            "time": humantime::format_rfc3339_millis(time).to_string(), "from": from,
            "to": "host-a", "term": 6, "kind": "release", "reason": "it stopped",
            "seconds_without_signer": seconds, "planned": true,
        }))
        .unwrap()
    };
    let history = vec![
        entry(at(0) - Duration::from_secs(60), json!("host-b"), json!(0.42)),
        entry(at(0) - Duration::from_secs(60 * 60 * 24), Value::Null, Value::Null),
    ];
    watched.remember(at(0), history);
    assert!(!watched.wants_history());
    let shown = picture(&watched, at(0), (80, 24), false);
    let today = "07:59:00Z  host-a took the key from host-b (term 6), 0.4 s without a signer:";
    let yesterday = "27-01-14   host-a took the key (term 6): it stopped";
    assert_shows(&shown, &[today, yesterday]);
    let place = |part: &str| shown.find(part).unwrap();
    assert!(place("host-b: Voting") < place(today) && place(today) < place(yesterday), "{shown}");
}

#[test]
fn a_pause_is_shown_and_its_end_told() {
    let mut watched = Watched::new();
    let pause =
        json!({"paused": {"by": "eve", "since": "2026-11-24T19:00:00Z", "reason": "a test"}});
    watched.take_in(at(0), Ok(status("host-a", 1, pause)));
    let shown = picture(&watched, at(0), (80, 24), false);
    assert_shows(&shown, &["! takeovers are paused by eve since 2026-11-24T19:00:00Z: a test"]);
    watched.take_in(at(1), Ok(status("host-a", 1, json!({"planned_restart": 1300}))));
    let shown = picture(&watched, at(1), (80, 24), false);
    assert_shows(&shown, &["takeovers are allowed again", "! neard restarts at height 1300"]);
}

#[test]
fn changes_become_events() {
    let mut watched = Watched::new();
    watched.take_in(at(0), Ok(status("host-a", 1, json!({}))));
    let node = node("host-b", "Validating", json!({}));
    watched.take_in(at(5), Ok(status("host-b", 2, json!({"node": node, "nodes": [node]}))));
    let said: Vec<_> = watched.events.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        said,
        [
            "host-a holds the key (term 7)",
            "host-a: Validating",
            "host-b: Voting",
            "host-b holds the key (term 7)",
            "host-b: Voting -> Validating",
            "host-a is gone",
        ]
    );
}

#[test]
fn a_kneard_that_is_gone_is_said_to_be_until_it_comes_back() {
    let mut watched = Watched::new();
    watched.take_in(at(0), Err("cannot connect".to_owned()));
    assert_shows(&picture(&watched, at(0), (80, 24), false), &["! kneard does not answer since"]);
    watched.take_in(at(1), Ok(status("host-a", 1, json!({}))));
    watched.take_in(at(2), Err("cannot connect to it".to_owned()));
    watched.take_in(at(9), Err("cannot connect to it".to_owned()));
    let shown = picture(&watched, at(9), (80, 24), false);
    let since = format!("since {}Z: cannot connect to it", clock(at(2)));
    assert_shows(&shown, &[&since, "what it said last", "* host-a"]);
    watched.take_in(at(10), Ok(status("host-a", 1, json!({}))));
    let shown = picture(&watched, at(10), (80, 24), false);
    assert!(!shown.contains('!'), "{shown}");
    assert_shows(&shown, &["kneard answers again"]);
}

#[test]
fn a_validator_that_lost_the_lock_is_doubted() {
    let mut watched = Watched::new();
    let own = node("host-b", "Validating", json!({}));
    watched.take_in(at(0), Ok(status("host-b", 1, json!({"node": own}))));
    let shown = picture(&watched, at(0), (80, 24), false);
    assert_shows(&shown, &["  host-a       Validating?", "* host-b       Validating  "]);
}

#[test]
fn what_needs_attention_is_shown() {
    let mut watched = Watched::new();
    let slow = node("host-c", "Voting", json!({"hot_swap_obstacle": "config.json tracks all"}));
    watched.take_in(at(0), Ok(status("host-a", 1, json!({"nodes": [slow]}))));
    let shown = picture(&watched, at(0), (80, 24), false);
    assert_shows(&shown, &["! host-c: no hot swap: config.json tracks all", "restart"]);
    assert_eq!(wrapped("! a bc def", 5), ["! a", "  bc", "  def"]);
    let lost = json!({"nodes": null, "consul_error": "no answer within 3000 ms"});
    watched.take_in(at(1), Ok(status("host-a", 1, lost)));
    let shown = picture(&watched, at(1), (80, 24), false);
    assert_shows(&shown, &["! Consul: no answer within 3000 ms", "  host-b"]);
    let gone = watched.events.iter().any(|(_, text)| text.contains("gone"));
    assert!(!gone, "a node that is not listed for Consul's sake is not gone");
}

#[test]
fn colour_is_only_there_if_wanted_and_small_windows_do_no_harm() {
    let mut watched = Watched::new();
    let many: Vec<Value> =
        (0..30).map(|n| node(&format!("host-{n:02}"), "Voting", json!({}))).collect();
    watched.take_in(at(0), Ok(status("host-a", 1, json!({"nodes": many}))));
    for (colour, expected) in [(false, false), (true, true)] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &watched, at(0), colour)).unwrap();
        let coloured =
            terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(coloured, expected);
    }
    let shown = picture(&watched, at(0), (80, 24), false);
    assert_shows(&shown, &["more)", "Last events"]);
    for size in [(1, 1), (20, 5), (40, 10), (200, 60)] {
        picture(&watched, at(0), size, true);
    }
}
