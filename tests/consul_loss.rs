//! Three Consul servers lose any one of them, ten times: nobody fails over, and signing goes on
//! (L4). Not even when the server that has the holder's session stays away.

mod support;

use serde_json::Value;

use support::{
    chain::ACCOUNT,
    election,
    kneard::LEASE,
    pair::Pair,
    signatures::longest_silence,
    wait::{boot_time, millis, report, secs, stays, wait_until},
};

#[test]
fn loss_of_one_server_goes_unnoticed() {
    let mut pair = Pair::start_with(3, |_| ());
    let homes = [pair.holder.setup.home.clone()];
    let before = pair.entry().expect("an entry");
    let neard = pair.holder.neard();
    let mut silences = Vec::new();
    for round in 0..10 {
        let leader = wait_until(secs(30), "Consul has a leader", || pair.consul.leader());
        // The leader every other time, else a follower.
        let victim = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
        let start = boot_time();
        pair.consul.server(victim).kill();
        // Longer than a lease: a holder that got no beat through would be gone by the end.
        stays(LEASE + secs(1), &format!("server{victim} lost"), || match pair.holder.state() {
            Some(state) if state == "Validating" => None,
            other => Some(format!("the holder is {other:?}")),
        });
        wait_until(secs(5), "beats reach the remaining servers", || {
            let entry = election::entry(pair.consul_address(), ACCOUNT)?;
            assert_eq!((entry.term(), entry.holder()), (before.term(), before.holder()));
            (entry.modify_index > before.modify_index).then_some(())
        });
        silences.push(longest_silence(&homes, start, boot_time()));
        pair.consul.server(victim).restart();
        // Before that, the next one would be the second of three.
        pair.consul.wait_until_it_can_lose_one();
    }
    assert!(neard.is_alive(), "the same neard signs all the time");
    assert_eq!(pair.holder.metric("kuutamod_neard_restarts"), Some(1.0));
    assert_eq!(pair.standby.state().as_deref(), Some("Voting"));
    let verdict = pair.assert_one_signer();
    assert_eq!(verdict.changes, 0, "{}", verdict.text);
    report("loss of a Consul server, longest silence of the signer", &silences);
    // It signs at every block, one each 600 ms; one block may be missed.
    let longest = silences.into_iter().max().unwrap();
    assert!(longest <= millis(1500), "the signer was silent for {longest:?}");
}

#[test]
fn loss_of_the_sessions_server_for_long_goes_unnoticed() {
    // By default Consul's autopilot would forget the server, and end the sessions made with it;
    // the harness has that off.
    let mut pair = Pair::start_with(3, |_| ());
    let session = pair.entry().and_then(|entry| entry.session).expect("a holder's session");
    let path = format!("/v1/session/info/{session}");
    let (_, body) = pair.consul.servers()[0].get(&path, None).expect("an answer");
    let info: Value = serde_json::from_str(&body).unwrap();
    let node = info[0]["Node"].as_str().expect("the session's node").to_owned();
    let servers = pair.consul.servers();
    let victim = servers.iter().position(|server| server.name() == node).expect("a server");
    pair.consul.server(victim).kill();
    // Autopilot looks each 10 s, at servers that gossip has given up a few seconds after their end.
    stays(secs(30), &format!("{node} lost for long"), || match pair.holder.state() {
        Some(state) if state == "Validating" => None,
        other => Some(format!("the holder is {other:?}")),
    });
    assert_eq!(pair.entry().and_then(|entry| entry.session), Some(session));
    let verdict = pair.assert_one_signer();
    assert_eq!(verdict.changes, 0, "{}", verdict.text);
}
