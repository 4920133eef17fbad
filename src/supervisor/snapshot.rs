//! What the exporter and the control socket may know of the supervisor.

use std::time::Duration;

use crate::control::NodeReport;
use crate::election::{Machine, Record, SessionId, State, Time};
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
    lease_expires: Option<Time>,
    pub report: NodeReport,
}

impl Snapshot {
    pub fn take(
        machine: &Machine,
        neard_pid: Option<i32>,
        neard_restarts: u64,
        neard_version: Option<&str>,
    ) -> Self {
        let settings = machine.settings();
        Snapshot {
            state: machine.state(),
            neard_pid,
            neard_restarts,
            may_sign: machine.may_sign(),
            signs_elsewhere: machine.signs_elsewhere(),
            record: machine.record().cloned(),
            locked: machine.lock_holder().is_some(),
            session: machine.session().cloned(),
            lease_expires: machine.lease_expires(),
            report: NodeReport {
                node_id: settings.node_id.clone(),
                instance: settings.instance.0.clone(),
                hostname: settings.hostname.clone(),
                state: machine.state().to_string(),
                lease_ms: settings.lease.as_millis() as u64,
                head: machine.head(),
                kneard_version: env!("CARGO_PKG_VERSION").to_owned(),
                neard_version: neard_version.map(str::to_owned),
            },
        }
    }

    /// What is left of this node's lease.
    pub fn lease_left(&self) -> Option<Duration> {
        let now = Time::from_nanos(boot_clock::now());
        self.lease_expires.map(|expires| expires.since(now))
    }
}
