//! The stand-in's reading of requests and its writing of answers, in Consul's forms.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::types::{Behavior, KvEntry, SessionId, SessionInfo, SessionRequest, TxnOp};

/// A URL's query.
pub(super) struct Query {
    raw: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(raw: &str) -> Self {
        let pairs = raw
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (percent_decoded(name), percent_decoded(value)))
            .collect();
        Self { raw: raw.to_owned(), pairs }
    }

    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A number, or none when absent; the error is in the words of Go's parser.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.value(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))
            })
            .transpose()
    }
}

/// Percent-decoded; what is not UTF-8 after that is replaced.
pub(super) fn percent_decoded(text: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A duration in Go's notation, such as `1m30s` or `250ms`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let unit_end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let factor = match &unit[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &unit[unit_end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// A session's JSON.
pub(super) fn session(info: &SessionInfo, checks: &[String]) -> Value {
    json!({
        "ID": info.id, "Name": info.name, "Node": info.node, "LockDelay": info.lock_delay,
        "Behavior": info.behavior, "TTL": info.ttl, "NodeChecks": checks, "ServiceChecks": null,
        "CreateIndex": info.create_index, "ModifyIndex": info.create_index,
    })
}

/// The body of a session's creation: not decodable, or decodable and wrong, or right.
pub(super) fn session_request(body: &[u8]) -> Result<Result<SessionRequest, String>, String> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "PascalCase", default)]
    struct Body {
        name: String,
        node: Option<String>,
        #[serde(rename = "TTL")]
        ttl: String,
        lock_delay: Value,
        behavior: String,
        node_checks: Option<Vec<String>>,
    }
    let body = if body.is_empty() { b"{}" } else { body };
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let lock_delay = match &body.lock_delay {
        Value::Null => Duration::from_secs(15),
        Value::String(text) => go_duration(text).ok_or("invalid LockDelay")?,
        // Consul takes small numbers for seconds and large ones for nanoseconds.
        number => match number.as_u64().ok_or("invalid LockDelay")? {
            seconds @ ..1000 => Duration::from_secs(seconds),
            nanos => Duration::from_nanos(nanos),
        },
    };
    let behavior = match body.behavior.as_str() {
        "" | "release" => Behavior::Release,
        "delete" => Behavior::Delete,
        other => return Ok(Err(format!("Invalid Behavior setting '{other}'"))),
    };
    let ttl = match body.ttl.as_str() {
        "" => Some(Duration::ZERO),
        text => go_duration(text),
    };
    let Some(ttl) = ttl else {
        return Ok(Err(format!("Session TTL '{}' invalid", body.ttl)));
    };
    Ok(Ok(SessionRequest {
        name: body.name,
        node: body.node.filter(|node| !node.is_empty()),
        ttl,
        lock_delay,
        behavior,
        node_checks: body.node_checks.unwrap_or_else(|| vec!["serfHealth".to_owned()]),
    }))
}

/// Why a body is no transaction.
pub(super) enum BadTransaction {
    Unparsable(String),
    /// The operation at this position is none that Consul knows.
    Refused(usize, String),
}

/// The operations of a transaction.
pub(super) fn transaction(body: &[u8]) -> Result<Vec<TxnOp>, BadTransaction> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Op {
        #[serde(rename = "KV")]
        kv: Option<Kv>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Kv {
        verb: String,
        #[serde(default)]
        key: String,
        value: Option<String>,
        #[serde(default)]
        flags: u64,
        #[serde(default)]
        index: u64,
        #[serde(default)]
        session: String,
    }
    let parsed: Vec<Op> = serde_json::from_slice(body)
        .map_err(|error| BadTransaction::Unparsable(error.to_string()))?;
    let mut ops = Vec::new();
    for (i, kv) in parsed.into_iter().filter_map(|op| op.kv).enumerate() {
        let value = BASE64
            .decode(kv.value.unwrap_or_default())
            .map_err(|error| BadTransaction::Unparsable(error.to_string()))?;
        let Kv { verb, key, flags, index, session, .. } = kv;
        if key.is_empty() && verb != "delete-tree" && verb != "get-tree" {
            return Err(BadTransaction::Refused(i, "Must provide key".to_owned()));
        }
        let session = SessionId(session);
        ops.push(match verb.as_str() {
            "set" => TxnOp::Set { key, value, flags },
            "cas" => TxnOp::Cas { key, value, flags, index },
            "lock" => TxnOp::Lock { key, value, flags, session },
            "unlock" => TxnOp::Unlock { key, value, flags, session },
            "get" => TxnOp::Get { key },
            "get-tree" => TxnOp::GetTree { prefix: key },
            "check-index" => TxnOp::CheckIndex { key, index },
            "check-session" => TxnOp::CheckSession { key, session },
            "check-not-exists" => TxnOp::CheckNotExists { key },
            "delete" => TxnOp::Delete { key },
            "delete-cas" => TxnOp::DeleteCas { key, index },
            "delete-tree" => TxnOp::DeleteTree { prefix: key },
            _ => return Err(BadTransaction::Refused(i, format!("unknown KV verb {verb:?}"))),
        });
    }
    Ok(ops)
}

/// A transaction's refusal.
pub(super) fn refused(errors: &[(usize, String)]) -> Response {
    let errors: Vec<Value> =
        errors.iter().map(|(at, what)| json!({"OpIndex": at, "What": what})).collect();
    let mut response = ok(&json!({"Results": null, "Errors": errors}));
    *response.status_mut() = StatusCode::CONFLICT;
    response
}

/// The keys up to and including the first separator after the prefix, each once.
pub(super) fn keys_to_separator(
    entries: &[&KvEntry],
    prefix: &str,
    separator: Option<&str>,
) -> Vec<String> {
    let cut = |key: &str| match separator.filter(|separator| !separator.is_empty()) {
        None => key.to_owned(),
        Some(separator) => match key[prefix.len()..].find(separator) {
            None => key.to_owned(),
            Some(at) => key[..prefix.len() + at + separator.len()].to_owned(),
        },
    };
    entries.iter().map(|entry| cut(&entry.key)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// 200 with JSON.
pub(super) fn ok(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

/// 200 with a key's bytes.
pub(super) fn raw(value: Vec<u8>) -> Response {
    ([("content-type", "text/plain")], Body::from(value)).into_response()
}

/// 404 without a body, Consul's answer for a missing key.
pub(super) fn missing() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

/// Any status with a line of text.
pub(super) fn plain(status: u16, text: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, text.to_owned()).into_response()
}

/// 500 with Consul's words.
pub(super) fn error(what: &str) -> Response {
    plain(500, what)
}

/// The headers of a read.
pub(super) fn with_index(index: u64, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-consul-index", index.into());
    headers.insert("x-consul-knownleader", axum::http::HeaderValue::from_static("true"));
    headers.insert("x-consul-lastcontact", axum::http::HeaderValue::from_static("0"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("250ms", 250),
            ("1h0m0s", 3_600_000),
            ("1.5s", 1500),
        ] {
            assert_eq!(go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "10x", "-1s", "1s2"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_decoded() {
        assert_eq!(percent_decoded("a%20b/%C3%BC%3F%zz%2"), "a b/ü?%zz%2");
    }
}
