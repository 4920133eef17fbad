//! The election's entry in Consul, read past kneard.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::http;

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub raw: Vec<u8>,
    /// The session that holds the lock.
    pub session: Option<String>,
    pub modify_index: u64,
}

impl Entry {
    /// The record, when the value is one.
    pub fn record(&self) -> Option<Value> {
        serde_json::from_slice(&self.raw).ok()
    }

    pub fn term(&self) -> Option<u64> {
        self.record()?["term"].as_u64()
    }

    pub fn holder(&self) -> Option<String> {
        Some(self.record()?["holder"].as_str()?.to_owned())
    }
}

pub fn key(account: &str) -> String {
    format!("kuutamod-leader/{account}")
}

/// The entry as this Consul server has it (`stale`: any server answers, also without a leader).
pub fn entry(consul: SocketAddr, account: &str) -> Option<Entry> {
    let path = format!("/v1/kv/{}?stale", key(account));
    let answer: Value = serde_json::from_str(&http::get(consul, &path).ok()?).ok()?;
    let entry = answer.get(0)?;
    Some(Entry {
        raw: STANDARD.decode(entry["Value"].as_str().unwrap_or("")).ok()?,
        session: entry["Session"].as_str().map(str::to_owned),
        modify_index: entry["ModifyIndex"].as_u64()?,
    })
}

/// Writes over the entry as a careless operator would, lock or no lock.
pub fn overwrite(consul: SocketAddr, account: &str, value: &str) {
    change("PUT", consul, account, value);
}

pub fn delete(consul: SocketAddr, account: &str) {
    change("DELETE", consul, account, "");
}

fn change(method: &str, consul: SocketAddr, account: &str, body: &str) {
    let path = format!("/v1/kv/{}", key(account));
    let answer = http::request(method, consul, &path, body, Duration::from_secs(5))
        .unwrap_or_else(|e| panic!("{method} {consul}{path}: {e}"));
    assert_eq!((answer.status, answer.body.trim()), (200, "true"), "{method} {path}");
}
