//! What the exporter and the control socket may know of the supervisor.

use std::time::Duration;

use crate::control::{NodeReport, Pause};
use crate::election::{Machine, Promotion, Record, SessionId, State, Step, Time};
use crate::neard::boot_clock;

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub state: State,
    pub neard_pid: Option<i32>,
    pub neard_restarts: u64,
    /// A neard that was started with the validator key may be alive.
    pub may_sign: bool,
    /// Something that kneard does not manage signs with the key.
    pub signs_elsewhere: bool,
    pub record: Option<Record>,
    pub locked: bool,
    pub session: Option<SessionId>,
    /// How far this node's own tenure is.
    pub step: Option<Step>,
    /// Takeovers are forbidden.
    pub pause: Option<Pause>,
    /// The height at which neard is to end, to be started again as what it was.
    pub planned_restart: Option<u64>,
    lease_expires: Option<Time>,
    pub report: NodeReport,
}

impl Snapshot {
    pub fn take(
        machine: &Machine,
        neard_pid: Option<i32>,
        neard_restarts: u64,
        neard_version: Option<&str>,
        hot_swap_obstacle: Option<&str>,
    ) -> Self {
        let settings = machine.settings();
        let hot_swap = settings.promotion == Promotion::HotSwap;
        Snapshot {
            state: machine.state(),
            neard_pid,
            neard_restarts,
            may_sign: machine.may_sign(),
            signs_elsewhere: machine.signs_elsewhere(),
            record: machine.record().cloned(),
            locked: machine.lock_holder().is_some(),
            session: machine.session().cloned(),
            step: machine.step().cloned(),
            pause: None,
            planned_restart: machine.planned_restart(),
            lease_expires: machine.lease_expires(),
            report: NodeReport {
                node_id: settings.node_id.clone(),
                instance: settings.instance.0.clone(),
                hostname: settings.hostname.clone(),
                state: machine.state().to_string(),
                lease_ms: settings.lease.as_millis() as u64,
                head: machine.head(),
                lag: lag(machine),
                paused: false,
                kneard_version: env!("CARGO_PKG_VERSION").to_owned(),
                neard_version: neard_version.map(str::to_owned),
                hot_swap: Some(hot_swap),
                hot_swap_obstacle: hot_swap_obstacle.filter(|_| hot_swap).map(str::to_owned),
                consul_node: None,
            },
        }
    }

    /// This node holds the validator key, and its neard has confirmed it.
    pub fn validates(&self) -> bool {
        self.step == Some(Step::Active)
    }

    /// What is left of this node's lease.
    pub fn lease_left(&self) -> Option<Duration> {
        let now = Time::from_nanos(boot_clock::now());
        self.lease_expires.map(|expires| expires.since(now))
    }
}

/// Blocks that a standby's head lies behind the holder's.
fn lag(machine: &Machine) -> Option<u64> {
    let record = machine.record().filter(|_| machine.step().is_none())?;
    // A bound may never be reached.
    let head = if record.head_is_bound { 0 } else { record.head };
    Some(head.saturating_sub(machine.head()?))
}
