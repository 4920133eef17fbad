//! The holder's host is cut off (S1, L2): it stops signing by its lease's end, the standby
//! validates within lease + 500 ms + neard's restart.

mod support;

use std::time::Duration;

use support::{
    chain::Chain,
    consul::Consul,
    counting_proxy::CountingProxy,
    kneard::LEASE,
    netns::{Hosts, Wire},
    pair::setup,
    signatures::{assert_one_signer, wait_for_signature},
    turn::turn,
    wait::{boot_time, report, secs, wait_until},
};

/// neard's stop and start as the stand-in takes them by default, until in sync and polled.
const NEARD_RESTART: Duration = Duration::from_secs(5);

/// Hosts: Consul and the chain, and one for each kneard.
const CENTRE: usize = 0;

fn cut_off(wires: &[Wire]) {
    let _turn = turn();
    let hosts = Hosts::new(3);
    let directory = tempfile::tempdir().unwrap();
    let centre = hosts.host(CENTRE);
    let consul = centre.run(Consul::start);
    // The servers have loopback addresses; this is how other hosts reach them.
    let face = (hosts.address(CENTRE, Wire::Consul), 8500).into();
    let face = centre.run(|| CountingProxy::start(face, consul.servers()[0].http_addr()));
    let chain =
        centre.run(|| Chain::start_on(hosts.address(CENTRE, Wire::Chain).into(), directory.path()));
    let [holder, standby] = [1, 2].map(|host| {
        let mut setup = setup(&chain, &format!("kneard{host}"), host - 1);
        setup.consul_urls = vec![format!("http://{}", face.address)];
        setup
    });
    let homes = [holder.home.clone(), standby.home.clone()];
    let mut holder = holder.start_in(Some(hosts.host(1)));
    holder.wait_for("Validating", secs(40));
    let mut standby = standby.start_in(Some(hosts.host(2)));
    standby.wait_for("Voting", secs(40));

    let signer = holder.neard();
    let start = boot_time();
    for wire in wires {
        hosts.cut(1, *wire);
    }
    let death = signer.wait_dead(LEASE * 2, "the neard of a cut-off kneard") - start;
    standby.wait_for("Validating", LEASE + secs(30));
    let takeover = boot_time() - start;
    report(&format!("{wires:?} cut off, until its signer is dead"), &[death]);
    report(&format!("{wires:?} cut off, until the standby validates"), &[takeover]);
    assert!(death <= LEASE, "the signer was dead {death:?} after the cut, the lease is {LEASE:?}");
    let allowed = LEASE + Duration::from_millis(500) + NEARD_RESTART;
    assert!(takeover <= allowed, "the standby validates after {takeover:?}, allowed {allowed:?}");

    for wire in wires {
        hosts.heal(1, *wire);
    }
    wait_until(secs(60), "the healed node is a standby", || {
        assert_eq!(standby.state().as_deref(), Some("Validating"), "the new holder stays so");
        (holder.state()? == "Voting").then_some(())
    });
    wait_for_signature(&standby.setup.home, start, secs(30));
    let verdict = assert_one_signer(&homes);
    assert_eq!(verdict.changes, 1, "{}", verdict.text);
}

#[test]
fn cut_off_from_everyone() {
    cut_off(&[Wire::Consul, Wire::Chain]);
}

#[test]
fn cut_off_from_consul_only() {
    cut_off(&[Wire::Consul]);
}
