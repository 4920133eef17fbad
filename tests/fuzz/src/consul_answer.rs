//! Consul's answers: a "no" or a "missing" is never read out of something else.
//!
//! The oracle below is a second, coarser reading of the same answer: what it takes to believe one.

use kneard::consul::{Error, Kind, Refusal, SessionId, TxnOp};
use kneard::election::{self, Outcome};
use kneard::fuzzing::consul::Answer;
use kneard::supervisor::election_key;
use serde_json::Value;

const KEY: &str = "kuutamod-leader/a.near";
const SESSION: &str = "6b47a3a1-0000-4000-8000-000000000001";
const STATUSES: [u16; 16] =
    [200, 200, 200, 404, 404, 409, 409, 500, 500, 503, 429, 403, 401, 400, 204, 302];

/// An answer taken apart.
struct Seen<'a> {
    status: u16,
    index: Option<&'a str>,
    body: &'a [u8],
    text: String,
    /// None where something is wrong in a part that kneard skips.
    json: Option<Value>,
}

/// Two bytes choose status and headers, the rest is the body; before its first zero byte, if it
/// has one, stands a header's value.
pub fn run(data: &[u8]) {
    let [status, choice, rest @ ..] = data else { return };
    let status = STATUSES[usize::from(*status) % STATUSES.len()];
    let (value, body) = match rest.iter().position(|byte| *byte == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (&b"42"[..], rest),
    };
    let mut headers = Vec::new();
    if choice & 1 == 0 {
        headers.push(("x-consul-index", value));
    }
    if choice & 2 == 0 {
        headers.push(("x-consul-knownleader", if choice & 4 == 0 { b"true" } else { value }));
    }
    if choice & 8 == 0 {
        headers.push(("x-consul-lastcontact", if choice & 16 == 0 { b"0" } else { value }));
    }
    let answer = Answer::new(status, &headers, body);
    let seen = Seen {
        status,
        index: (choice & 1 == 0).then(|| std::str::from_utf8(value).ok()).flatten(),
        body,
        text: String::from_utf8_lossy(body).into_owned(),
        json: serde_json::from_slice(body).ok(),
    };
    reads(&answer, &seen);
    sessions(&answer, &seen);
    transactions(&answer, &seen);
}

fn reads(answer: &Answer, seen: &Seen<'_>) {
    match answer.read(KEY) {
        Ok(read) => {
            assert_eq!(seen.index.and_then(|index| index.parse().ok()), Some(read.index));
            match &read.entry {
                None => {
                    assert!(seen.status == 404 && seen.body.is_empty(), "missing: {}", seen.text)
                }
                Some(entry) => {
                    assert_eq!((seen.status, &*entry.key), (200, KEY));
                    let one = |json: &Value| json.as_array().is_some_and(|list| list.len() == 1);
                    assert!(seen.json.as_ref().is_none_or(one), "{}", seen.text);
                }
            }
            // Whatever the value is, the election can be told of it.
            let _ = election_key::seen(read.entry);
        }
        Err(error) => no_refusal(&error, seen),
    }
    match answer.read_prefix("kuutamod-nodes/") {
        Ok(entries) => {
            assert!(seen.index.is_some() || seen.status == 200);
            assert!(!entries.is_empty() || is_nothing(seen), "none: {}", seen.text);
            assert!(entries.iter().all(|entry| entry.key.starts_with("kuutamod-nodes/")));
            let _ = election_key::longest_lease(&entries);
        }
        Err(error) => no_refusal(&error, seen),
    }
    match answer.boolean() {
        Ok(value) => {
            assert_eq!(
                (seen.status, seen.text.trim()),
                (200, if value { "true" } else { "false" })
            );
        }
        Err(error) => no_refusal(&error, seen),
    }
    if let Err(error) = answer.agent_self() {
        no_refusal(&error, seen);
    }
    match answer.health() {
        Ok(_) => assert!([200, 429].contains(&seen.status)),
        Err(error) => no_refusal(&error, seen),
    }
}

/// Consul's 404 without a body, or an empty list.
fn is_nothing(seen: &Seen<'_>) -> bool {
    let mut text = seen.text.chars().filter(|c| !c.is_ascii_whitespace());
    let empty_list = text.by_ref().take(3).eq("[]".chars());
    (seen.status == 404 && seen.body.is_empty()) || (seen.status == 200 && empty_list)
}

fn sessions(answer: &Answer, seen: &Seen<'_>) {
    let id = SessionId(SESSION.to_owned());
    match answer.new_session() {
        Ok(id) => assert!(seen.status == 200 && !id.as_str().is_empty()),
        Err(error) => no_refusal(&error, seen),
    }
    match answer.session_info(&id) {
        Ok(None) => assert!(seen.status == 200 && is_nothing(seen), "no session: {}", seen.text),
        Ok(Some(info)) => assert_eq!((seen.status, info.id), (200, id.clone())),
        Err(error) => no_refusal(&error, seen),
    }
    match answer.renewed(&id) {
        Ok(info) => assert_eq!((seen.status, info.id), (200, id)),
        Err(error) if error.kind == Kind::NotFound => {
            assert!(seen.status == 404 && seen.text.contains(SESSION), "gone: {}", seen.text);
        }
        Err(error) => no_refusal(&error, seen),
    }
}

fn transactions(answer: &Answer, seen: &Seen<'_>) {
    let (key, session) = (KEY.to_owned(), SessionId(SESSION.to_owned()));
    let ops = [
        TxnOp::CheckIndex { key: key.clone(), index: 7 },
        TxnOp::Lock { key, value: Vec::new(), flags: 0, session },
    ];
    let result = answer.txn(&ops);
    match &result {
        Ok(entries) => {
            assert_eq!((seen.status, entries.len()), (200, 2));
            assert!(entries.iter().all(|entry| entry.key == KEY));
            let none = |json: &Value| json["Errors"].as_array().is_none_or(Vec::is_empty);
            assert!(seen.json.as_ref().is_none_or(none), "{}", seen.text);
        }
        Err(error) => {
            let named = seen.json.as_ref().is_none_or(|json| {
                let errors = json["Errors"].as_array();
                errors.is_some_and(|errors| !errors.is_empty()) || json.is_array()
            });
            match &error.kind {
                Kind::Refused(errors) => {
                    assert!(seen.status == 409 && named, "refused: {}", seen.text);
                    assert!(errors.iter().all(|error| error.op_index < ops.len()));
                    assert!(!error.refused_for(&Refusal::Denied));
                    assert!(error.certainly_not_applied());
                }
                Kind::Denied if seen.status == 409 => assert!(named, "refused: {}", seen.text),
                _ => no_refusal(error, seen),
            }
        }
    }
    let refused = result.as_ref().is_err_and(Error::certainly_not_applied);
    match election_key::outcome(KEY, result) {
        Outcome::Committed(_) => assert_eq!(seen.status, 200),
        Outcome::Refused(why, text) => {
            super::assert_one_line(&text);
            assert!(refused, "{why:?} for {}", seen.text);
            if why == election::Refusal::Conflict || why == election::Refusal::LockDelay {
                assert_eq!(seen.status, 409);
            }
        }
        Outcome::Unknown(text) => super::assert_one_line(&text),
    }
}

/// Any failure but those that a caller has checked: where Consul certainly did nothing, it said so
/// by its status, or by a server's error in its own words.
fn no_refusal(error: &Error, seen: &Seen<'_>) {
    super::assert_one_line(&error.to_string());
    assert!(error.to_string().chars().count() < 1000, "long: {error}");
    let says = |words: &[&str]| {
        let text = seen.text.split(|c: char| c.is_whitespace() || c.is_control());
        let text: Vec<&str> = text.filter(|word| !word.is_empty()).collect();
        let text = text.join(" ");
        seen.status >= 500 && words.iter().any(|word| text.contains(word))
    };
    match &error.kind {
        Kind::Unknown => {}
        Kind::NotSent => assert_eq!(seen.status, 429),
        Kind::Denied => assert!(
            matches!(seen.status, 401 | 403) || says(&["Permission denied", "ACL not found"])
        ),
        Kind::Invalid => assert!(
            matches!(seen.status, 400 | 405 | 413)
                || says(&[
                    "Invalid Session TTL",
                    "Missing node registration",
                    "Missing check",
                    "Invalid Behavior",
                ])
        ),
        Kind::InvalidSession => {
            assert!(says(&["invalid session", "failed session lookup"]), "{}", seen.text);
        }
        Kind::Refused(_) | Kind::NotFound => panic!("{error:?} from {} {}", seen.status, seen.text),
    }
}
