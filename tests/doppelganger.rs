//! The key signs in a neard that no kneard manages: kneard does not take it, and says why.

mod support;

use support::{
    chain::Chain,
    consul::Consul,
    pair,
    turn::turn,
    wait::{secs, wait_until},
};

#[test]
fn a_key_that_signs_elsewhere_is_not_taken_until_it_stops() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let consul = Consul::cluster(1);
    let mut chain = Chain::start(directory.path());
    let unmanaged = chain.start_another();
    let height = chain.height().unwrap();
    chain.wait_for_height(height + 4);

    let mut setup = pair::setup(&chain, "kneard0", 0);
    setup.consul_urls = consul.urls();
    let mut kneard = setup.start();
    wait_until(secs(30), "the other signer is found", || {
        (kneard.metric("kuutamod_doppelganger")? == 1.0).then_some(())
    });
    let height = chain.height().unwrap();
    chain.wait_for_height(height + 10);
    assert_eq!(kneard.state().as_deref(), Some("Voting"), "it does not take the key");
    let said = kneard.errors();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("somebody signs with the validator key"), "{said:?}");

    chain.stop(unmanaged);
    kneard.wait_for("Validating", secs(40));
    assert_eq!(kneard.metric("kuutamod_doppelganger"), Some(0.0));
}
