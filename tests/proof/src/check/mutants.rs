//! For each deliberate defect, the small world in which it shows.

use std::time::Duration;

use kneard::election::Mutant;

use super::config::{Config, Kind, LEASE, Start};
use super::report::{Report, Search, check};

/// The world in which the checker looks for the harm that a defect does, and how it looks: breadth
/// first for the shortest trace, depth first where that takes too long.
pub fn hunt(mutant: Mutant, threads: usize) -> Report {
    let search = Search {
        threads,
        breadth_first: mutant != Mutant::PendingGrantsOwnLease,
        stop_at_failure: true,
        max_states: Some(20_000_000),
    };
    check(&hunting_ground(mutant), search)
}

/// The world in which a defect does harm.
pub fn hunting_ground(mutant: Mutant) -> Config {
    use Kind::{Clock, Crash, Cut, Damage, Delete, Freeze, Lag, Neard, Net, Session, Stop};
    let held = |horizon, kinds: &[Kind]| {
        let faults = u8::try_from(kinds.len()).unwrap_or(u8::MAX);
        Config::new(&mutant.to_string(), 2, Start::Held, horizon, faults).only(kinds)
    };
    let cold = |horizon, kinds: &[Kind]| {
        let faults = u8::try_from(kinds.len()).unwrap_or(u8::MAX);
        Config::new(&mutant.to_string(), 2, Start::Cold, horizon, faults).only(kinds)
    };
    let mut config = match mutant {
        Mutant::LeaseFromAnswer => held(7, &[Net, Cut]),
        Mutant::UnknownIsCommitted | Mutant::NoKillMargin | Mutant::DriftIgnored => held(7, &[Cut]),
        Mutant::GuardArmedFromStart => cold(12, &[Cut]),
        Mutant::PendingIsDone => held(9, &[Crash, Cut]),
        Mutant::FreeLockIsSafe => held(5, &[Session, Cut]).without_lock_delay(),
        Mutant::MissingIsFree => held(4, &[Delete, Cut]),
        Mutant::UnseenHolderForgotten => cold(8, &[Freeze, Delete]),
        Mutant::PendingGrantsOwnLease => {
            let config = held(6, &[Cut, Session, Neard]).without_lock_delay();
            Config { leases: vec![LEASE * 2, LEASE], ..config }
        }
        Mutant::FirstSightByMark => held(7, &[Damage, Cut]),
        Mutant::MarkByBeatOnly => cold(7, &[Crash]),
        Mutant::ReleaseBeforeReaped => held(4, &[Stop]),
        Mutant::DisarmBeforeGone => held(7, &[Cut, Neard, Freeze]).hot_swap(),
        Mutant::ReleasedTooEarly => held(4, &[Cut, Session, Neard]).without_lock_delay(),
        Mutant::HeadNotWaitedFor | Mutant::HeadNotBounded => held(3, &[Neard, Lag]),
        Mutant::AcquireUnchecked => held(4, &[Neard, Net, Session]).without_lock_delay(),
        Mutant::StealUnchecked => held(6, &[Net]),
        Mutant::BeatUnchecked => cold(9, &[Freeze, Session]).without_lock_delay(),
        Mutant::WallClock => held(7, &[Cut, Clock]),
        Mutant::CrashReleaseWithoutProof => held(3, &[Crash]),
        Mutant::CrashReleasesPending => held(4, &[Cut, Session, Crash]).without_lock_delay(),
    };
    config.mutant = Some(mutant);
    config.recovery = false;
    config.prompt = false;
    config
}

/// A lease in whole ticks of a slow clock, rounded up.
pub fn ticks(length: Duration) -> u32 {
    let ticks = length.as_nanos().div_ceil(super::config::TICK.as_nanos());
    u32::try_from(ticks).unwrap_or(u32::MAX)
}
