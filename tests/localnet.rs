//! `kneard-ctl localnet --demo` tells its story to the end, on a real Consul and on the stand-in.

mod support;

use std::{env, path::PathBuf};

use support::{
    binaries::{self, Ended, run_to_end},
    turn::turn,
    wait::secs,
};

/// Runs the demo with the programs of these directories and of the one that is tested.
fn demo(path: Vec<PathBuf>) -> Ended {
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.args(["localnet", "--demo"]).env("PATH", env::join_paths(path).unwrap());
    run_to_end(command, secs(120))
}

fn assert_told(ended: &Ended, consul: &str) {
    let said = &ended.stdout;
    assert_eq!(ended.code, Some(0), "{said}\n{}", ended.stderr);
    let takeovers = said.lines().filter(|line| line.contains("takeover took")).count();
    assert_eq!(takeovers, 2, "{said}");
    for part in [consul, "neard:  the stand-in", "verdict: 0 overlaps, 0 equivocations, 2 changes"]
    {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[test]
fn demo_on_a_real_consul() {
    let _turn = turn();
    let consul = support::consul::binary();
    let ended = demo(vec![consul.parent().unwrap().to_owned()]);
    assert_told(&ended, "consul: /");
}

#[test]
fn demo_on_the_consul_stand_in() {
    let _turn = turn();
    let nothing = tempfile::tempdir().unwrap();
    assert_told(&demo(vec![nothing.path().to_owned()]), "consul: the stand-in in this process");
}

#[test]
fn data_directory_that_is_not_empty_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.args(["localnet", "--data"]).arg(directory.path());
    let ended = run_to_end(command, secs(20));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--data"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
