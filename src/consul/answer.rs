//! Reading Consul's answers. What does not look exactly like Consul's answer to the question is
//! of unknown outcome, never a "no" and never a "missing": a proxy's 404 must not look like a
//! free lock.
//!
//! The wordings were recorded from Consul 1.8.7; the tests below hold them.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Read;
use super::error::{Failure, Kind, Refusal, TxnError};
use super::transport::Answer;
use super::types::{KvEntry, SessionId, SessionInfo, TxnOp};

/// Whether the token is known and lacks a right (as opposed to being unknown).
pub(super) fn lacks_right(what: &str) -> bool {
    what.contains("Permission denied")
}

/// What `read` makes of an answer that is no refusal. With `says_429` that status is none.
pub(super) fn judged<T>(
    answer: &Answer,
    says_429: bool,
    read: impl FnOnce(&Answer) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if says_429 && answer.status == 429 {
        return read(answer);
    }
    turned_away(answer).map_or_else(|| read(answer), Err)
}

/// Refusals that every request can meet: tokens, overload, trouble between servers.
fn turned_away(answer: &Answer) -> Option<Failure> {
    let text = one_line(&String::from_utf8_lossy(&answer.body));
    let said = if text.is_empty() {
        format!("answered {}", answer.status)
    } else {
        format!("answered {}: {text}", answer.status)
    };
    let failure = match answer.status {
        401 | 403 => Failure::new(Kind::Denied, said),
        429 => Failure::new(Kind::NotSent, said),
        // The "no" of its own kind to a session or lock; 404 and 409 are the callers' to read.
        400 | 405 | 413 => Failure::new(Kind::Invalid, said),
        500.. if is_invalid_session(&text) => Failure::new(Kind::InvalidSession, said),
        500.. if lacks_right(&text) || text.contains("ACL not found") => {
            Failure::new(Kind::Denied, said)
        }
        500.. if is_wrong_request(&text) => Failure::new(Kind::Invalid, said),
        500.. if text.contains("No cluster leader") => {
            Failure::unknown(format!("{said}; check that most of the Consul servers are up"))
        }
        500.. => Failure::unknown(format!("{said}; its log says more")),
        200 | 404 | 409 => return None,
        _ => Failure::unknown(format!("{said}; is this Consul?")),
    };
    Some(failure)
}

/// `invalid session "…"` for an id that is not there, the look-up's error for one that is no UUID.
fn is_invalid_session(text: &str) -> bool {
    text.contains("invalid session") || text.contains("failed session lookup")
}

/// Consul answers 500 to these too, but before it does anything.
fn is_wrong_request(text: &str) -> bool {
    ["Invalid Session TTL", "Missing node registration", "Missing check", "Invalid Behavior"]
        .iter()
        .any(|known| text.contains(known))
}

/// The raw answer on one line, shortened.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.chars().count() > LONGEST {
            return line.chars().take(LONGEST).chain(['…']).collect();
        }
    }
    line
}

/// JSON of the expected form, with status 200.
pub(super) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    if answer.status != 200 {
        return Err(unexpected(answer));
    }
    parsed(answer)
}

fn parsed<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| garbage(answer, &error.to_string()))
}

/// The `true` or `false` of a write.
pub(super) fn boolean(answer: &Answer) -> Result<bool, Failure> {
    json(answer)
}

/// The id of a new session.
pub(super) fn new_session(answer: &Answer) -> Result<SessionId, Failure> {
    #[derive(Deserialize)]
    struct Created {
        #[serde(rename = "ID")]
        id: SessionId,
    }
    let created: Created = json(answer)?;
    if created.id.as_str().is_empty() {
        return Err(garbage(answer, "an empty session id"));
    }
    Ok(created.id)
}

/// A renewal's answer: the session, or a 404 in Consul's own words.
pub(super) fn renewed(answer: &Answer, id: &SessionId) -> Result<SessionInfo, Failure> {
    let text = one_line(&String::from_utf8_lossy(&answer.body));
    if answer.status == 404 && text.contains(id.as_str()) && text.contains("not found") {
        return Err(Failure::new(Kind::NotFound, format!("answered 404: {text}")));
    }
    match session_info(answer, id)? {
        Some(info) => Ok(info),
        None => Err(garbage(answer, "no session in it")),
    }
}

/// A session, or none for an empty list.
pub(super) fn session_info(
    answer: &Answer,
    id: &SessionId,
) -> Result<Option<SessionInfo>, Failure> {
    let mut sessions: Vec<SessionInfo> = json(answer)?;
    match (sessions.pop(), sessions.is_empty()) {
        (None, _) => Ok(None),
        (Some(info), true) if info.id == *id => Ok(Some(info)),
        _ => Err(garbage(answer, "another session in it")),
    }
}

/// One key: its entry, or none for Consul's own 404, which carries an index.
pub(super) fn read(answer: &Answer, key: &str) -> Result<Read, Failure> {
    let index = header(answer, "x-consul-index")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| garbage(answer, "no X-Consul-Index"))?;
    let entry = if answer.status == 404 {
        if !answer.body.is_empty() {
            return Err(garbage(answer, "a missing key has no body"));
        }
        None
    } else {
        let mut entries: Vec<KvEntry> = json(answer)?;
        match (entries.pop(), entries.is_empty()) {
            (Some(entry), true) if entry.key == key => Some(entry),
            _ => return Err(garbage(answer, "another key in it")),
        }
    };
    let last_contact = header(answer, "x-consul-lastcontact").and_then(|text| text.parse().ok());
    Ok(Read {
        entry,
        index,
        known_leader: header(answer, "x-consul-knownleader") == Some("true"),
        last_contact: Duration::from_millis(last_contact.unwrap_or(0)),
        address: answer.address.clone(),
    })
}

/// All keys under a prefix; none for Consul's own 404.
pub(super) fn read_prefix(answer: &Answer, prefix: &str) -> Result<Vec<KvEntry>, Failure> {
    if header(answer, "x-consul-index").is_none() {
        return Err(garbage(answer, "no X-Consul-Index"));
    }
    if answer.status == 404 && answer.body.is_empty() {
        return Ok(Vec::new());
    }
    let entries: Vec<KvEntry> = json(answer)?;
    if entries.iter().any(|entry| !entry.key.starts_with(prefix)) {
        return Err(garbage(answer, "other keys in it"));
    }
    Ok(entries)
}

/// A transaction's results in the order of those operations that have one, or its refusal.
pub(super) fn txn(answer: &Answer, ops: &[TxnOp]) -> Result<Vec<KvEntry>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answered {
        results: Option<Vec<Outcome>>,
        errors: Option<Vec<Refused>>,
    }
    #[derive(Deserialize)]
    struct Outcome {
        #[serde(rename = "KV")]
        kv: KvEntry,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Refused {
        op_index: usize,
        what: String,
    }
    if !matches!(answer.status, 200 | 409) {
        return Err(unexpected(answer));
    }
    let answered: Answered = parsed(answer)?;
    let errors = answered.errors.unwrap_or_default();
    if answer.status == 409 {
        if errors.is_empty() || errors.iter().any(|error| error.op_index >= ops.len()) {
            return Err(garbage(answer, "a refusal without its reason"));
        }
        let denied = errors.iter().filter(|error| refusal(&error.what) == Refusal::Denied);
        let lacking = denied.map(|error| ops[error.op_index].right()).collect();
        let failure = refused(errors.into_iter().map(|error| (error.op_index, error.what)));
        return Err(Failure { lacking, ..failure });
    }
    let results: Vec<KvEntry> =
        answered.results.unwrap_or_default().into_iter().map(|outcome| outcome.kv).collect();
    if !errors.is_empty() || !fits(&results, ops) {
        return Err(garbage(answer, "results that do not go with the transaction"));
    }
    Ok(results)
}

/// A refusal from the position and Consul's words for each operation at fault. One line for all. A
/// token's lack of rights is the operator's to mend, unlike the rest.
pub(super) fn refused(errors: impl IntoIterator<Item = (usize, String)>) -> Failure {
    let errors: Vec<TxnError> = errors
        .into_iter()
        .map(|(op_index, what)| TxnError {
            op_index,
            refusal: refusal(&what),
            what: one_line(&what),
        })
        .collect();
    let reasons: Vec<&str> = errors.iter().map(|error| error.what.as_str()).collect();
    let what = format!("refused the transaction: {}", reasons.join("; "));
    if errors.iter().any(|error| error.refusal == Refusal::Denied) {
        Failure::new(Kind::Denied, what)
    } else {
        Failure::new(Kind::Refused(errors), what)
    }
}

/// Consul's words for its reasons.
pub(super) fn refusal(what: &str) -> Refusal {
    let has = |part: &str| what.contains(part);
    if has("lock is already held") {
        Refusal::LockHeld
    } else if has("due to lock delay") {
        Refusal::LockDelay
    } else if has("lock isn't held") || has("failed session check") {
        Refusal::LockNotHeld
    } else if has("failed index check") || has("index is stale") {
        Refusal::Index
    } else if is_invalid_session(what) || has("missing session") {
        Refusal::InvalidSession
    } else if has("doesn't exist") {
        Refusal::Missing
    } else if what.starts_with("key ") && what.ends_with(" exists") {
        Refusal::Exists
    } else if lacks_right(what) {
        Refusal::Denied
    } else {
        Refusal::Other(one_line(what))
    }
}

/// Whether the results are those of exactly these operations.
fn fits(results: &[KvEntry], ops: &[TxnOp]) -> bool {
    if ops.iter().any(|op| matches!(op, TxnOp::GetTree { .. })) {
        return true; // as many as there are keys
    }
    let keys: Vec<&str> = ops.iter().filter_map(TxnOp::result_key).collect();
    keys.len() == results.len() && keys.iter().zip(results).all(|(key, entry)| *key == entry.key)
}

/// The servers' health, with status 429 if one of them is not well.
pub(super) fn health(answer: &Answer) -> Result<super::Health, Failure> {
    if !matches!(answer.status, 200 | 429) {
        return Err(unexpected(answer));
    }
    parsed(answer)
}

/// Of the agent's long self-description, the few fields that are needed.
pub(super) fn agent_self(answer: &Answer) -> Result<super::AgentSelf, Failure> {
    let value: Value = json(answer)?;
    // Named for debugging, but nowhere else does an agent tell of its settings.
    let debug = &value["DebugConfig"];
    let text = |field: &str| value["Config"][field].as_str().map(str::to_owned);
    let is_server = debug["ServerMode"] == true;
    Ok(super::AgentSelf {
        node_name: text("NodeName").ok_or_else(|| garbage(answer, "no Config.NodeName"))?,
        version: text("Version").unwrap_or_default(),
        datacenter: text("Datacenter").unwrap_or_default(),
        is_server,
        leaves_on_terminate: debug["LeaveOnTerm"] == true,
        election_timeout: debug["ConsulRaftElectionTimeout"]
            .as_str()
            .filter(|_| is_server)
            .map(str::to_owned),
    })
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).and_then(|value| value.to_str().ok())
}

fn unexpected(answer: &Answer) -> Failure {
    garbage(answer, "not an answer to this question")
}

fn garbage(answer: &Answer, why: &str) -> Failure {
    let text =
        one_line(&String::from_utf8_lossy(&answer.body)).chars().take(60).collect::<String>();
    Failure::unknown(format!("answered {} {text:?} ({why}); is this Consul?", answer.status))
}

#[cfg(test)]
mod tests;
