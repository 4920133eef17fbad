//! The Consul agent on the holder's host dies or hangs while another address is configured: no
//! failover, and signing goes on (L5).

mod support;

use std::time::Duration;

use serde_json::Value;

use support::{
    chain::{ACCOUNT, Chain},
    consul::Consul,
    election,
    kneard::LEASE,
    pair::setup,
    signatures::{self, longest_silence},
    turn::turn,
    wait::{boot_time, millis, report, secs, stays, wait_until},
};

/// `KNEARD_TEST_AGENT_LOSS` seconds; by default as long as a lost lease would take to show, twice.
fn span() -> Duration {
    let seconds = std::env::var("KNEARD_TEST_AGENT_LOSS");
    seconds.map_or(2 * LEASE + secs(2), |n| secs(n.parse().expect("seconds")))
}

#[test]
fn loss_of_the_local_agent_goes_unnoticed() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let consul = Consul::cluster(3);
    let mut agent = consul.start_agent("host-a", directory.path());
    let chain = Chain::start(directory.path());
    let mut first = setup(&chain, "kneard0", 0);
    first.consul_urls = vec![agent.url(), consul.urls()[0].clone()];
    let mut second = setup(&chain, "kneard1", 1);
    second.consul_urls = consul.urls();
    let mut holder = first.start();
    holder.wait_for("Validating", secs(40));
    let mut standby = second.start();
    standby.wait_for("Voting", secs(40));

    let server = consul.servers()[0].http_addr();
    let before = wait_until(secs(10), "the holder has confirmed its key", || {
        let entry = election::entry(server, ACCOUNT)?;
        (entry.record()?["state"] == "active").then_some(entry)
    });
    let session = before.session.clone().expect("a locked entry");
    let (_, info) = consul.servers()[0].get(&format!("/v1/session/info/{session}"), None).unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info[0]["Node"], "host-a", "the session is the local agent's: {info}");

    let neard = holder.neard();
    let homes = [holder.setup.home.clone()];
    let mut silences = Vec::new();
    for hangs in [false, true] {
        let (start, entry) = (boot_time(), election::entry(server, ACCOUNT).unwrap());
        if hangs {
            agent.stop()
        } else {
            agent.kill()
        }
        let what = if hangs { "the agent hangs" } else { "the agent is dead" };
        stays(span(), what, || match (holder.state(), standby.state()) {
            (Some(one), Some(other)) if one == "Validating" && other == "Voting" => None,
            states => Some(format!("holder and standby are {states:?}")),
        });
        let now = election::entry(server, ACCOUNT).unwrap();
        assert_eq!((now.term(), now.session), (entry.term(), entry.session), "{what}");
        assert!(now.modify_index > entry.modify_index, "{what}: no beat came through");
        silences.push(longest_silence(&homes, start, boot_time()));
        if hangs {
            agent.cont()
        } else {
            agent.restart()
        }
        wait_until(secs(30), "the agent answers again", || {
            agent.get("/v1/status/leader", None).filter(|(_, leader)| leader.len() > 4)
        });
    }
    assert!(neard.is_alive(), "the same neard signs all the time");
    let verdict = signatures::assert_one_signer(&[homes[0].clone(), standby.setup.home.clone()]);
    assert_eq!(verdict.changes, 0, "{}", verdict.text);
    report("loss of the local Consul agent, longest silence of the signer", &silences);
    // It signs at every block, one each 600 ms; one block may be missed.
    let longest = silences.into_iter().max().unwrap();
    assert!(longest <= millis(1500), "the signer was silent for {longest:?}");
}
