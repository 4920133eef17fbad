//! What is done to the stage, and when: follows from the seed alone.
//!
//! A plan is an endless row of groups of one to three faults that may overlap. The faults are
//! dealt from a shuffled deck that holds each of them once, so that an hour has all of them. Whom
//! a fault hits is said by role (the holder, the leader): who that is turns out only when it
//! comes to it.

use std::{collections::VecDeque, fmt, ops::RangeInclusive, time::Duration};

use crate::support::random::Random;

/// Which kneard's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Holder,
    /// One of the others, counted round.
    Standby(u8),
}

/// Which Consul server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Leader,
    Follower(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Kneard,
    Guard,
    Neard,
}

/// From whom a host is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Consul,
    Chain,
    Everyone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Both,
    /// Nothing comes in.
    In,
    /// Nothing goes out.
    Out,
    /// Of a hundred packets so many are lost, either way.
    Lossy(u8),
}

/// What neard does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It takes questions for its status and never answers.
    Silent,
    /// SIGHUP does nothing: no key comes in or goes out.
    DeafToReloads,
    /// SIGHUP takes effect late.
    SlowToReload,
    SlowToStart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIGKILL. A kneard is started again when the fault is healed; kneard restarts the others.
    Kill(Part, Node),
    KillKneardAndGuard(Node),
    /// All three at one instant.
    LoseHost(Node),
    /// SIGSTOP, and SIGCONT when it is healed.
    Stop(Part, Node),
    /// All three stand still, for less than a lease.
    PauseHost(Node),
    /// The same for longer than a lease.
    PauseHostLong(Node),
    /// SIGTERM to kneard, and a start when it is healed.
    Terminate(Node),
    CutOff(From, Way, Node),
    Neard(Trouble, Node),
    FullDisk(Node),
    ReadOnlyHome(Node),
    /// Seconds by which the wall clock jumps; healed, it jumps back.
    StepClock(i64, Node),
    KillServer(Server),
    StopServer(Server),
    CutOffServer(Way, Server),
    /// Two of the three, one the leader.
    KillQuorum,
    StopQuorum,
    EndSession,
    DeleteKey,
    GarbageKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// From the start of its group.
    pub after: Duration,
    /// Until it is healed; of what needs no healing, until its effect must have shown.
    pub lasts: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub number: usize,
    pub faults: Vec<Fault>,
    /// How long all is left well before the group.
    pub quiet: Duration,
}

impl Group {
    /// From its first fault to its last healing.
    pub fn length(&self) -> Duration {
        self.faults.iter().map(|fault| fault.after + fault.lasts).max().unwrap_or_default()
    }
}

pub struct Plan {
    random: Random,
    deck: VecDeque<Kind>,
    groups: usize,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), deck: VecDeque::new(), groups: 0 }
    }

    fn deal(&mut self, beside: &[Fault]) -> Kind {
        let fits = |kind: &Kind| {
            beside.iter().all(|other| kind.name() != other.kind.name())
                && beside.iter().all(|other| may_overlap(*kind, other.kind))
        };
        loop {
            if let Some(at) = self.deck.iter().position(fits) {
                return self.deck.remove(at).expect("found there");
            }
            let mut fresh = deck();
            self.random.shuffle(&mut fresh);
            self.deck.extend(fresh);
        }
    }

    fn group(&mut self) -> Group {
        let count = match self.random.below(100) {
            0..55 => 1,
            55..85 => 2,
            _ => 3,
        };
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..count {
            let kind = self.deal(&faults);
            let lasts = self.random.time(kind.span());
            // Sometimes at once, mostly while the one before is at work.
            let after = match faults.last() {
                None => Duration::ZERO,
                Some(before) if self.random.percent(25) => before.after,
                Some(before) => before.after + self.random.time(200..=6_000),
            };
            faults.push(Fault { kind, after, lasts });
        }
        self.groups += 1;
        let quiet = self.random.time(500..=5_000);
        Group { number: self.groups, faults, quiet }
    }
}

impl Iterator for Plan {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        Some(self.group())
    }
}

/// Two faults that together leave nobody to stop neard are no part of the promise: the guard stands
/// still while kneard stands still or is dead, and neard runs on (docs/failover-algorithm.md).
pub fn may_overlap(one: Kind, other: Kind) -> bool {
    let stops_guard = |kind| matches!(kind, Kind::Stop(Part::Guard, _));
    let takes_kneard =
        |kind| matches!(kind, Kind::Stop(Part::Kneard, _) | Kind::Kill(Part::Kneard, _));
    !(stops_guard(one) && takes_kneard(other) || stops_guard(other) && takes_kneard(one))
}

/// Every fault once; the holder is hit more often than the others.
fn deck() -> Vec<Kind> {
    use Node::{Holder, Standby};
    use Part::{Guard, Kneard, Neard};
    use Server::{Follower, Leader};
    const DAY: i64 = 86_400;
    vec![
        Kind::Kill(Kneard, Holder),
        Kind::Kill(Kneard, Standby(0)),
        Kind::Kill(Guard, Holder),
        Kind::Kill(Neard, Holder),
        Kind::Kill(Neard, Standby(1)),
        Kind::KillKneardAndGuard(Holder),
        Kind::LoseHost(Holder),
        Kind::LoseHost(Standby(1)),
        Kind::Stop(Kneard, Holder),
        Kind::Stop(Kneard, Standby(0)),
        Kind::Stop(Guard, Holder),
        Kind::Stop(Neard, Holder),
        Kind::Stop(Neard, Standby(1)),
        Kind::PauseHost(Holder),
        Kind::PauseHost(Standby(0)),
        Kind::PauseHostLong(Holder),
        Kind::PauseHostLong(Standby(1)),
        Kind::Terminate(Holder),
        Kind::Terminate(Standby(0)),
        Kind::CutOff(From::Consul, Way::Both, Holder),
        Kind::CutOff(From::Consul, Way::In, Holder),
        Kind::CutOff(From::Consul, Way::Out, Holder),
        Kind::CutOff(From::Consul, Way::Lossy(30), Holder),
        Kind::CutOff(From::Consul, Way::Both, Standby(0)),
        Kind::CutOff(From::Chain, Way::Both, Holder),
        Kind::CutOff(From::Chain, Way::In, Holder),
        Kind::CutOff(From::Chain, Way::Out, Holder),
        Kind::CutOff(From::Chain, Way::Both, Standby(1)),
        Kind::CutOff(From::Everyone, Way::Both, Holder),
        Kind::CutOff(From::Everyone, Way::In, Holder),
        Kind::CutOff(From::Everyone, Way::Out, Holder),
        Kind::CutOff(From::Everyone, Way::Lossy(20), Holder),
        Kind::CutOff(From::Everyone, Way::Both, Standby(0)),
        Kind::Neard(Trouble::Silent, Holder),
        Kind::Neard(Trouble::Silent, Standby(0)),
        Kind::Neard(Trouble::DeafToReloads, Holder),
        Kind::Neard(Trouble::DeafToReloads, Standby(1)),
        Kind::Neard(Trouble::SlowToReload, Holder),
        Kind::Neard(Trouble::SlowToReload, Standby(0)),
        Kind::Neard(Trouble::SlowToStart, Holder),
        Kind::Neard(Trouble::SlowToStart, Standby(1)),
        Kind::FullDisk(Holder),
        Kind::FullDisk(Standby(0)),
        Kind::ReadOnlyHome(Holder),
        Kind::ReadOnlyHome(Standby(1)),
        Kind::StepClock(3_600, Holder),
        Kind::StepClock(-10, Holder),
        Kind::StepClock(400 * DAY, Standby(0)),
        Kind::StepClock(-30 * DAY, Standby(1)),
        Kind::KillServer(Leader),
        Kind::KillServer(Follower(0)),
        Kind::StopServer(Leader),
        Kind::StopServer(Follower(1)),
        Kind::CutOffServer(Way::Both, Leader),
        Kind::CutOffServer(Way::In, Leader),
        Kind::CutOffServer(Way::Out, Leader),
        Kind::CutOffServer(Way::Lossy(20), Leader),
        Kind::CutOffServer(Way::Both, Follower(0)),
        Kind::KillQuorum,
        Kind::StopQuorum,
        Kind::EndSession,
        Kind::DeleteKey,
        Kind::GarbageKey,
    ]
}

impl Kind {
    /// For how many milliseconds it may last.
    fn span(self) -> RangeInclusive<u64> {
        match self {
            Self::Kill(Part::Guard | Part::Neard, _)
            | Self::EndSession
            | Self::DeleteKey
            | Self::GarbageKey => 2_000..=5_000,
            Self::Kill(Part::Kneard, _) | Self::KillKneardAndGuard(_) | Self::Terminate(_) => {
                500..=15_000
            }
            Self::LoseHost(_) => 2_000..=25_000,
            Self::Stop(Part::Kneard, _) => 1_000..=20_000,
            Self::Stop(_, _) => 1_000..=10_000,
            Self::PauseHost(_) => 300..=4_500,
            Self::PauseHostLong(_) => 8_000..=20_000,
            // Past the 30 s after which a neard that is out of sync gives the key away.
            Self::CutOff(From::Chain, _, _) => 5_000..=45_000,
            Self::CutOff(_, _, _) => 2_000..=25_000,
            Self::Neard(_, _) => 3_000..=20_000,
            Self::FullDisk(_) | Self::ReadOnlyHome(_) => 5_000..=20_000,
            Self::StepClock(_, _) => 3_000..=15_000,
            Self::KillServer(_) | Self::StopServer(_) | Self::CutOffServer(_, _) => 2_000..=20_000,
            Self::KillQuorum | Self::StopQuorum => 2_000..=25_000,
        }
    }

    /// The row of the report that it belongs to: the fault, and the role that it hits.
    pub fn name(self) -> String {
        match self {
            Self::Kill(part, node) => format!("kill {part}, {node}"),
            Self::KillKneardAndGuard(node) => format!("kill kneard and guard, {node}"),
            Self::LoseHost(node) => format!("kill all of a host, {node}"),
            Self::Stop(part, node) => format!("freeze {part}, {node}"),
            Self::PauseHost(node) => format!("pause host within the lease, {node}"),
            Self::PauseHostLong(node) => format!("pause host beyond the lease, {node}"),
            Self::Terminate(node) => format!("stop kneard with SIGTERM, {node}"),
            Self::CutOff(from, way, node) => format!("cut off from {from}, {way}, {node}"),
            Self::Neard(trouble, node) => format!("neard {trouble}, {node}"),
            Self::FullDisk(node) => format!("full disk, {node}"),
            Self::ReadOnlyHome(node) => format!("read-only home, {node}"),
            Self::StepClock(_, node) => format!("step of the wall clock, {node}"),
            Self::KillServer(server) => format!("kill Consul server, {server}"),
            Self::StopServer(server) => format!("freeze Consul server, {server}"),
            Self::CutOffServer(way, server) => format!("cut off Consul server, {way}, {server}"),
            Self::KillQuorum => "kill two Consul servers".to_owned(),
            Self::StopQuorum => "freeze two Consul servers".to_owned(),
            Self::EndSession => "end the holder's session".to_owned(),
            Self::DeleteKey => "delete the key".to_owned(),
            Self::GarbageKey => "garbage in the key".to_owned(),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holder => "holder",
            Self::Standby(_) => "standby",
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Follower(_) => "follower",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kneard => "kneard",
            Self::Guard => "guard",
            Self::Neard => "neard",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "does not answer",
            Self::DeafToReloads => "ignores reloads",
            Self::SlowToReload => "is slow to reload",
            Self::SlowToStart => "is slow to start",
        })
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consul => "Consul",
            Self::Chain => "the chain",
            Self::Everyone => "everyone",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both => f.write_str("both ways"),
            Self::In => f.write_str("inwards"),
            Self::Out => f.write_str("outwards"),
            Self::Lossy(percent) => write!(f, "{percent} % lost"),
        }
    }
}
