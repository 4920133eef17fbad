//! What holds in every world: never two keyed neards; and somebody is active once faults stop.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::world::{Fault, MS, SECOND, World};

/// Longer than anything waits: a session's end, the longest backoff, a start, a lock delay.
const PATIENCE: u64 = 90 * SECOND;
const CASES: u32 = 500;

type Plan = Vec<(u64, Fault)>;

/// The number of cases; PROPTEST_CASES asks for more.
fn config() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    config.failure_persistence = None;
    config
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let host = 0..3_usize;
    let length = prop_oneof![0..2_000_u64, 2_000..15_000_u64];
    let on_host = (host.clone(), length.clone());
    prop_oneof![
        3 => (host.clone(), length.clone(), any::<bool>())
            .prop_map(|(host, down, releases)| Fault::Crash { host, down, releases }),
        3 => on_host.clone().prop_map(|(host, length)| Fault::Freeze { host, length }),
        3 => on_host.clone().prop_map(|(host, length)| Fault::Cut { host, length }),
        1 => length.clone().prop_map(|length| Fault::ConsulDown { length }),
        4 => length.prop_map(|length| Fault::Storm { length }),
        2 => host.prop_map(|host| Fault::NeardCrash { host }),
        1 => on_host.clone().prop_map(|(host, length)| Fault::StatusFails { host, length }),
        1 => on_host.clone().prop_map(|(host, length)| Fault::OutOfSync { host, length }),
        2 => on_host.prop_map(|(host, down)| Fault::Stop { host, down }),
        2 => Just(Fault::EndLockHoldersSession),
        1 => Just(Fault::DeleteKey),
        1 => Just(Fault::Garbage),
    ]
}

/// Faults, each so many milliseconds after the one before.
fn plan(fault: impl Strategy<Value = Fault>) -> impl Strategy<Value = Plan> {
    // Many a hole opens only between two faults in a row.
    let gap = prop_oneof![0..300_u64, 300..4_000_u64];
    proptest::collection::vec((gap, fault), 1..25)
}

fn live(seed: u64, hosts: usize, plan: &Plan, traced: bool) -> (World, Result<(), String>) {
    let mut world = World::new(seed, hosts, traced);
    // Somebody is active by then.
    let mut at = 8 * SECOND;
    for (gap, fault) in plan {
        at += gap * MS;
        world.plan(at, fault.clone());
    }
    let result = world.run(at + 15 * SECOND, |_| false).and_then(|()| {
        let end = world.now() + PATIENCE;
        world.run(end, |world| world.active().is_some())?;
        match world.active() {
            Some(_) => Ok(()),
            None => Err(format!("nobody is active long after the faults: {}", world.describe())),
        }
    });
    (world, result)
}

fn check(seed: u64, hosts: usize, plan: &Plan) -> Result<(), TestCaseError> {
    let Err(why) = live(seed, hosts, plan, false).1 else { return Ok(()) };
    let (world, _) = live(seed, hosts, plan, true);
    let trace = world.trace();
    let tail = trace[trace.len().saturating_sub(150)..].join("\n");
    Err(TestCaseError::fail(format!("{why}\nseed {seed}, {hosts} hosts; its end:\n{tail}")))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn never_two_signers_and_one_again_after_any_faults(
        seed in any::<u64>(),
        hosts in 2..=3_usize,
        plan in plan(any_fault()),
    ) {
        check(seed, hosts, &plan)?;
    }

    /// Consul is restored from a snapshot while all others go on, and reach it in time.
    #[test]
    fn never_two_signers_when_consul_is_restored_from_a_snapshot(
        seed in any::<u64>(),
        hosts in 2..=3_usize,
        plan in plan(prop_oneof![
            2 => Just(Fault::Snapshot),
            3 => Just(Fault::Restore),
            2 => Just(Fault::EndLockHoldersSession),
            2 => (0..3_usize).prop_map(|host| Fault::NeardCrash { host }),
            1 => Just(Fault::DeleteKey),
            1 => Just(Fault::Garbage),
        ]),
    ) {
        check(seed, hosts, &plan)?;
    }
}

#[test]
fn without_faults_the_first_holder_stays() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3, false);
        assert_eq!(world.run(10 * SECOND, |_| false), Ok(()));
        let first = world.active();
        assert!(first.is_some(), "seed {seed}: {}", world.describe());
        assert_eq!(world.run(120 * SECOND, |_| false), Ok(()));
        assert_eq!(world.active(), first, "seed {seed}");
    }
}
