//! Somebody damages the election's entry while a holder validates: never two signers, and
//! somebody validates again.

mod support;

use std::{path::Path, time::Duration};

use nix::sys::signal::Signal;

use support::{
    binaries::{self, run_to_end},
    chain::ACCOUNT,
    consul, election,
    kneard::LEASE,
    pair::{Pair, TAKEOVER},
    wait::{secs, stays, wait_until},
};

/// An unknown holder's lease must pass, and then the takeover.
const RECOVERY: Duration = Duration::from_secs(LEASE.as_secs() * 2 + TAKEOVER.as_secs());

/// One of the two validates, its record is in Consul, and it stays so for longer than a lease.
fn assert_recovers(pair: &Pair, damage: &str) {
    let validating = |pair: &Pair| {
        [&pair.holder, &pair.standby]
            .into_iter()
            .find(|kneard| kneard.state().as_deref() == Some("Validating"))
            .map(|kneard| kneard.setup.node_id.clone())
    };
    // The damaged entry first has to be noticed: a record of the node that validates is new.
    let settled =
        wait_until(RECOVERY, &format!("somebody validates again after: {damage}"), || {
            let entry = pair.entry()?;
            let holder = entry.holder()?;
            // Term 0 is the damage itself.
            let mended = entry.session.is_some() && entry.term() > Some(0);
            (validating(pair)? == holder && mended).then_some((holder, entry.term()))
        });
    stays(LEASE + secs(2), &format!("after: {damage}"), || {
        let now = (validating(pair)?, pair.entry()?.term());
        (now != settled).then(|| format!("{settled:?} became {now:?}"))
    });
    pair.assert_one_signer();
}

#[test]
fn deleted_entry() {
    let pair = Pair::start();
    election::delete(pair.consul_address(), ACCOUNT);
    assert_recovers(&pair, "the entry is deleted");
}

#[test]
fn garbage_in_the_entry() {
    let pair = Pair::start();
    for garbage in ["\u{0}not a record", "", "{\"version\":1}", "{\"version\":99,\"holder\":\"x\"}"]
    {
        election::overwrite(pair.consul_address(), ACCOUNT, garbage);
        assert_recovers(&pair, &format!("the entry is {garbage:?}"));
    }
}

#[test]
fn record_of_an_older_term() {
    let pair = Pair::start();
    let mut record = pair.entry().unwrap().record().unwrap();
    record["term"] = 0.into();
    record["beat"] = 0.into();
    election::overwrite(pair.consul_address(), ACCOUNT, &record.to_string());
    assert_recovers(&pair, "the entry is an old record");
}

/// Runs `consul snapshot save|restore FILE`.
fn consul_snapshot(verb: &str, pair: &Pair, file: &Path) {
    let mut command = binaries::clean(consul::binary());
    command.args(["snapshot", verb, "-http-addr", &pair.consul_address().to_string()]).arg(file);
    let ended = run_to_end(command, secs(30));
    assert_eq!(ended.code, Some(0), "consul snapshot {verb}: {}", ended.stderr);
}

#[test]
fn restored_older_snapshot() {
    let mut pair = Pair::start();
    let file = pair.chain.node_home(0).with_file_name("consul.snapshot");
    consul_snapshot("save", &pair, &file);
    // The holder changes, so that the snapshot names one who is not.
    pair.holder.signal(Signal::SIGKILL);
    pair.holder.wait_exit(secs(5));
    pair.standby.wait_for("Validating", TAKEOVER);
    pair.exchange();
    pair.revive_standby();
    consul_snapshot("restore", &pair, &file);
    assert_recovers(&pair, "Consul is restored from an older snapshot");
}
