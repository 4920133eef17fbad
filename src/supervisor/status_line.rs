//! The line that `systemctl status` shows.

use std::fmt::Write as _;

use super::Snapshot;
use crate::control::NodeReport;
use crate::election::State;

/// This node in words. `nodes` are all that vote, as last heard; `None` if nobody could be asked.
pub fn status_line(snapshot: &Snapshot, account: &str, nodes: Option<&[NodeReport]>) -> String {
    let mut line = match snapshot.state {
        State::Validating => format!("Validating as {account}"),
        state => format!("{state}: {}", state.sentence()),
    };
    let record = snapshot.record.as_ref();
    if snapshot.state == State::Validating
        && let Some(time) = record.and_then(|record| time_of_day(&record.since))
    {
        let _ = write!(line, " since {time} UTC");
    }
    if let Some(head) = snapshot.report.head {
        let _ = write!(line, ", height {head}");
    }
    let mut of_others = |what: &str, state: State| {
        let Some(nodes) = nodes else { return };
        let names: Vec<_> = nodes
            .iter()
            .filter(|node| node.instance != snapshot.report.instance)
            .filter(|node| node.state == state.to_string())
            .map(|node| node.node_id.as_str())
            .collect();
        let _ = match names.as_slice() {
            [] => write!(line, ", no {what}"),
            names => write!(line, ", {what}: {}", names.join(", ")),
        };
    };
    match snapshot.state {
        State::Validating => of_others("standby", State::Voting),
        State::Voting => of_others("validator", State::Validating),
        State::Startup | State::Syncing | State::Registering | State::Shutdown => {}
    }
    line
}

/// `12:03:11` of `2026-01-31T12:03:11.123Z`.
fn time_of_day(rfc3339: &str) -> Option<&str> {
    rfc3339.split_once('T')?.1.get(..8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::election::{InstanceId, Machine, Record, RecordState, Settings, Time};

    fn snapshot(state: State) -> Snapshot {
        let settings = Settings::new("host-a", InstanceId("a".to_owned()), "machine-a");
        let machine = Machine::new(settings, Time::from_nanos(0));
        let mut snapshot = Snapshot::take(&machine, None, 0, None, None);
        snapshot.state = state;
        snapshot
    }

    fn node(id: &str, state: State) -> NodeReport {
        let mut report = snapshot(state).report;
        id.clone_into(&mut report.node_id);
        id.clone_into(&mut report.instance);
        report.state = state.to_string();
        report
    }

    fn record(since: &str) -> Record {
        let json = format!(
            r#"{{"version":1,"holder":"host-a","instance":"a","hostname":"machine-a","term":1,
            "beat":1,"lease_ms":7000,"head":1,"state":"active","reason":"","since":"{since}"}}"#
        );
        let record: Record = serde_json::from_str(&json).unwrap();
        assert_eq!(record.state, RecordState::Active);
        record
    }

    #[test]
    fn a_validator_says_as_whom_since_when_and_who_stands_by() {
        let mut snapshot = snapshot(State::Validating);
        snapshot.record = Some(record("2026-11-24T12:03:11.123Z"));
        snapshot.report.head = Some(1234);
        let mut own = node("host-a", State::Validating);
        own.instance.clone_from(&snapshot.report.instance);
        let nodes = [own, node("host-b", State::Voting), node("host-c", State::Syncing)];
        let line = |nodes| status_line(&snapshot, "pool.near", nodes);
        let said = "Validating as pool.near since 12:03:11 UTC, height 1234";
        assert_eq!(line(Some(&nodes)), format!("{said}, standby: host-b"));
        assert_eq!(line(Some(&nodes[..1])), format!("{said}, no standby"));
        assert_eq!(line(None), said);
    }

    #[test]
    fn everyone_else_says_what_it_is_at() {
        let mut snapshot = snapshot(State::Voting);
        let line = |snapshot: &Snapshot| {
            status_line(snapshot, "pool.near", Some(&[node("host-b", State::Validating)]))
        };
        assert_eq!(line(&snapshot), "Voting: standing by, ready to take over, validator: host-b");
        for state in [State::Startup, State::Syncing, State::Registering, State::Shutdown] {
            snapshot.state = state;
            assert_eq!(line(&snapshot), format!("{state}: {}", state.sentence()));
        }
    }

    #[test]
    fn a_time_that_is_none_is_left_out() {
        for since in ["", "yesterday", "2026-11-24T12"] {
            let mut snapshot = snapshot(State::Validating);
            snapshot.record = Some(record(since));
            assert_eq!(status_line(&snapshot, "pool.near", None), "Validating as pool.near");
        }
    }
}
