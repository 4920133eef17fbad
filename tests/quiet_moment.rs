//! A planned handover waits, not long, for a moment at which it costs neither block nor chunk.

mod support;

use std::{net::SocketAddr, time::SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::{
    chain::ACCOUNT,
    http,
    operator::{json, wait_until_eligible},
    pair::{Pair, TAKEOVER},
    signatures::has_made_chunk,
    wait::{millis, secs, watch_closely},
};

/// Where the next range of heights without duties ends: the account makes the chunk of that height,
/// and the block of the next one.
fn next_chunk(rpc: SocketAddr, head: u64) -> Option<u64> {
    let method = "EXPERIMENTAL_maintenance_windows";
    let answer = http::json_rpc(rpc, method, &json!({"account_id": ACCOUNT})).ok()?;
    let ends = answer["result"].as_array()?.iter().filter_map(|window| window["end"].as_u64());
    ends.into_iter().find(|end| *end > head)
}

/// Returns a moment before the block arrives on which the account makes the chunk; the chunk's
/// height.
fn just_before_an_own_chunk(pair: &Pair) -> u64 {
    let rpc = pair.holder.setup.rpc;
    watch_closely(secs(30), "an own chunk is due", || {
        let status: Value = serde_json::from_str(&http::get(rpc, "/status").ok()?).ok()?;
        let head = status["sync_info"]["latest_block_height"].as_u64()?;
        let made = status["sync_info"]["latest_block_time"].as_str()?;
        let made = humantime::parse_rfc3339(made).ok()?;
        let age = SystemTime::now().duration_since(made).ok()?;
        let chunk = next_chunk(rpc, head)?;
        (chunk == head + 2 && age > millis(480)).then_some(chunk)
    })
}

#[test]
fn a_switchover_lets_the_chunk_be_made_that_is_about_to_be_due() {
    let mut pair = Pair::hot();
    for _ in 0..3 {
        wait_until_eligible(&pair);
        let chunk = just_before_an_own_chunk(&pair);
        json(&pair.holder, &["switchover", "--wait"]);
        assert!(
            has_made_chunk(&pair.holder.setup.home, chunk),
            "no chunk {chunk} by the old signer"
        );
        pair.exchange();
        pair.standby.wait_for("Voting", secs(30));
    }
    pair.assert_one_signer();
}

#[test]
fn a_holder_that_is_stopped_makes_the_chunk_first_that_is_about_to_be_due() {
    let mut pair = Pair::hot();
    for _ in 0..3 {
        wait_until_eligible(&pair);
        let chunk = just_before_an_own_chunk(&pair);
        pair.holder.signal(Signal::SIGTERM);
        pair.standby.wait_for("Validating", TAKEOVER);
        assert!(pair.holder.wait_exit(secs(20)).success());
        assert!(
            has_made_chunk(&pair.holder.setup.home, chunk),
            "no chunk {chunk} by the old signer"
        );
        pair.exchange();
        pair.revive_standby();
    }
    pair.assert_one_signer();
}
