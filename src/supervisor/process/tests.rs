//! Starting neard: what is prepared, cancelled, told.

use super::*;
use std::fs;
use tokio::sync::mpsc;

fn process(dir: &Path) -> (Process, mpsc::Receiver<Event>) {
    let (home, key) = (dir.join("home"), dir.join("validator_key.json"));
    fs::create_dir(&home).unwrap();
    fs::write(home.join("config.json"), r#"{"rpc":{"addr":"127.0.0.1:1"},"network":{}}"#).unwrap();
    fs::write(&key, "").unwrap();
    let standby = home::Role::Standby {
        validator_key: key,
        node_key: None,
        network_addr: "127.0.0.1:2".parse().unwrap(),
        public_address: None,
    };
    let options = NeardOptions {
        binary: "neard".into(),
        boot_nodes: None,
        release_argv: Vec::new(),
        validator: standby.clone(),
        standby,
        validator_public_key: serde_json::from_str("\"ed25519:1\"").unwrap(),
        account: "node3".to_owned(),
    };
    let lock = HomeLock::try_take(&home).unwrap().unwrap();
    let (events, inbox) = mpsc::channel(8);
    (Process::new(Home::open(&home).unwrap(), lock, options, events), inbox)
}

#[tokio::test]
async fn a_start_that_is_cancelled_in_time_starts_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, mut inbox) = process(dir.path());
    process.start(Role::Standby);
    process.ask_status(1);
    process.terminate();
    let heard = process.hear_guard().await;
    assert!(matches!(heard, FromGuard::Tell(Event::NeardExited(_))));
    assert!(process.running.is_none());
    let answer = inbox.recv().await;
    assert!(matches!(answer, Some(Event::Status { id: 1, result: Err(_) })), "{answer:?}");
}

#[tokio::test]
async fn a_home_that_cannot_be_prepared_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, _inbox) = process(dir.path());
    fs::remove_file(dir.path().join("home/config.json")).unwrap();
    process.start(Role::Standby);
    let heard = process.hear_guard().await;
    let FromGuard::Tell(Event::NeardNotStarted(why)) = heard else { panic!("it was prepared") };
    assert!(why.contains("config.json: no such file"), "{why}");
}
