//! Each process of the holder dies or freezes, without systemd's help (S2, L1): its neard is
//! dead in time, the standby validates, and nobody signs beside it.

mod support;

use std::{sync::mpsc, thread, time::Duration};

use nix::sys::signal::Signal;

use support::{
    chain::ACCOUNT,
    election,
    kneard::LEASE,
    pair::{Pair, TAKEOVER},
    signatures::wait_for_signature,
    wait::{boot_time, millis, report, secs, watch_closely},
};

/// The promises are medians of twenty; `KNEARD_TEST_ROUNDS` shortens a developer's run.
fn rounds() -> usize {
    std::env::var("KNEARD_TEST_ROUNDS").map_or(20, |n| n.parse().expect("a number"))
}

#[test]
fn killed_kneard_takes_its_neard_along() {
    let mut pair = Pair::start();
    let (mut deaths, mut takeovers) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let neard = pair.holder.neard();
        let start = boot_time();
        pair.holder.signal(Signal::SIGKILL);
        deaths.push(neard.wait_dead(secs(5), "the neard of a killed kneard") - start);
        pair.holder.wait_exit(secs(5));
        pair.standby.wait_for("Validating", TAKEOVER);
        takeovers.push(boot_time() - start);
        wait_for_signature(&pair.standby.setup.home, start, TAKEOVER);
        pair.exchange();
        pair.revive_standby();
    }
    let verdict = pair.assert_one_signer();
    report("kill -9 of kneard, until the standby validates", &takeovers);
    let median = report("kill -9 of kneard, until its neard is dead", &deaths);
    assert!(median <= millis(100), "neard outlives its kneard by {median:?}, 100 ms allowed");
    assert!(verdict.changes as usize >= rounds(), "{}", verdict.text);
}

#[test]
fn killed_guard_takes_its_neard_along() {
    let mut pair = Pair::start();
    let (mut deaths, mut takeovers) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let (guard, neard) = (pair.holder.guard(), pair.holder.neard());
        let start = boot_time();
        guard.signal(Signal::SIGKILL);
        deaths.push(neard.wait_dead(secs(5), "the neard of a killed guard") - start);
        pair.standby.wait_for("Validating", TAKEOVER);
        takeovers.push(boot_time() - start);
        pair.holder.wait_for("Voting", TAKEOVER);
        pair.exchange();
    }
    pair.assert_one_signer();
    report("kill -9 of the guard, until the standby validates", &takeovers);
    let median = report("kill -9 of the guard, until its neard is dead", &deaths);
    assert!(median <= millis(100), "neard outlives its guard by {median:?}, 100 ms allowed");
}

#[test]
fn killed_neard_frees_the_lock() {
    let mut pair = Pair::start();
    let (mut releases, mut takeovers) = (Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let neard = pair.holder.neard();
        let consul = pair.consul_address();
        let session = pair.entry().expect("an entry").session.expect("a holder's session");
        let (sender, watching) = mpsc::channel();
        let watch = thread::spawn(move || {
            sender.send(()).unwrap();
            watch_closely(secs(10), "the lock is free", || {
                let entry = election::entry(consul, ACCOUNT)?;
                (entry.session.as_deref() != Some(&session)).then(boot_time)
            })
        });
        watching.recv().unwrap();
        neard.signal(Signal::SIGKILL);
        let death = neard.wait_dead(secs(5), "a killed neard");
        releases.push(watch.join().unwrap().saturating_sub(death));
        pair.standby.wait_for("Validating", TAKEOVER);
        takeovers.push(boot_time() - death);
        pair.holder.wait_for("Voting", TAKEOVER);
        pair.exchange();
    }
    pair.assert_one_signer();
    report("kill -9 of neard, until the standby validates", &takeovers);
    let median = report("kill -9 of neard, until the lock is free", &releases);
    assert!(median <= millis(50), "the lock is free {median:?} after neard's death, 50 ms allowed");
}

#[test]
fn frozen_kneard_loses_its_neard_before_the_lease_ends() {
    let mut pair = Pair::start();
    let (mut deaths, mut takeovers) = (Vec::new(), Vec::new());
    for _ in 0..rounds().min(3) {
        let neard = pair.holder.neard();
        let start = boot_time();
        pair.holder.signal(Signal::SIGSTOP);
        deaths.push(neard.wait_dead(LEASE * 2, "the neard of a frozen kneard") - start);
        pair.standby.wait_for("Validating", LEASE + TAKEOVER);
        takeovers.push(boot_time() - start);
        pair.holder.signal(Signal::SIGCONT);
        pair.holder.wait_for("Voting", TAKEOVER);
        assert_eq!(pair.standby.state().as_deref(), Some("Validating"), "it stays the holder");
        pair.exchange();
    }
    pair.assert_one_signer();
    report("kill -STOP of kneard, until the standby validates", &takeovers);
    report("kill -STOP of kneard, until its neard is dead", &deaths);
    let latest: Duration = deaths.iter().copied().max().unwrap();
    assert!(latest < LEASE, "neard was dead {latest:?} after the freeze, the lease is {LEASE:?}");
}

#[test]
fn frozen_guard_is_noticed() {
    let mut pair = Pair::start();
    let neard = pair.holder.neard();
    let start = boot_time();
    pair.holder.guard().signal(Signal::SIGSTOP);
    let death = neard.wait_dead(LEASE * 2, "the neard of a frozen guard") - start;
    assert!(death < LEASE, "neard was dead {death:?} after the freeze, the lease is {LEASE:?}");
    pair.standby.wait_for("Validating", LEASE + TAKEOVER);
    pair.holder.wait_for("Voting", TAKEOVER);
    pair.assert_one_signer();
}

#[test]
fn hung_neard_is_given_up() {
    let mut pair = Pair::start();
    let neard = pair.holder.neard();
    let start = boot_time();
    neard.signal(Signal::SIGSTOP);
    // Three questions, a second apart, each given up after a second.
    let death = neard.wait_dead(secs(10), "a frozen neard") - start;
    pair.standby.wait_for("Validating", TAKEOVER);
    report("kill -STOP of neard, until it is killed", &[death]);
    pair.holder.wait_for("Voting", TAKEOVER);
    pair.assert_one_signer();
}
