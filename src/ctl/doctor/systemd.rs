//! The systemd unit that kneard runs under, as `systemctl show` describes it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::report::Report;
use crate::settings::Settings;

pub const DEFAULT: &str = "kneard.service";
const PROPERTIES: &str = "LoadState,ActiveState,SubState,MainPID,User,Type,KillMode,WatchdogUSec,\
                          WatchdogSignal,TimeoutStopUSec,LimitNOFILE,LimitMEMLOCK,Environment,\
                          EnvironmentFiles,ExecStart";

/// A unit that systemd knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    properties: BTreeMap<String, String>,
    /// Of kneard, while it runs.
    pub main_pid: Option<i32>,
}

impl Unit {
    /// The unit, or none when there is no systemd or it does not know the unit.
    pub fn find(name: &str) -> Option<Self> {
        let output = Command::new("systemctl")
            .args(["show", "--property", PROPERTIES, "--", name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        Self::parse(name, &String::from_utf8_lossy(&output.stdout))
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut properties = BTreeMap::new();
        for (property, value) in text.lines().filter_map(|line| line.split_once('=')) {
            // Of a property with several values there are several lines.
            let all: &mut String = properties.entry(property.to_owned()).or_default();
            if !all.is_empty() {
                all.push('\n');
            }
            all.push_str(value);
        }
        let main_pid = properties.get("MainPID").and_then(|pid| pid.parse().ok());
        let unit =
            Unit { name: name.to_owned(), properties, main_pid: main_pid.filter(|pid| *pid > 0) };
        (unit.property("LoadState") == Some("loaded")).then_some(unit)
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

pub fn check(report: &mut Report, unit: &Unit, settings: Option<&Settings>) {
    let name = &unit.name;
    let state = unit.property("ActiveState").unwrap_or("unknown");
    match state {
        "active" | "activating" | "reloading" => report.ok("unit", format!("{name} is {state}")),
        _ => report.warning(
            "unit",
            format!("{name} is {state}"),
            &format!("systemctl start {name}; journalctl -u {name} says why it ended"),
        ),
    }
    if unit.property("KillMode") != Some("mixed") {
        report.problem(
            "unit-kill-mode",
            "KillMode is not mixed: when kneard dies, neard may live on until TimeoutStopSec",
            "set KillMode=mixed, as in the unit that comes with kneard",
        );
    } else {
        report.ok("unit-kill-mode", "mixed");
    }
    let lease = settings.map(|settings| settings.election.lease);
    let watchdog = unit.property("WatchdogUSec").and_then(time_span);
    match (watchdog, lease) {
        (None | Some(Duration::ZERO), _) => report.warning(
            "unit-watchdog",
            "there is no watchdog: a kneard that hangs is not restarted",
            "set WatchdogSec to less than the lease",
        ),
        (Some(watchdog), Some(lease)) if watchdog >= lease => report.warning(
            "unit-watchdog",
            format!(
                "WatchdogSec ({}) is not below the lease ({})",
                humantime::format_duration(watchdog),
                humantime::format_duration(lease)
            ),
            "lower WatchdogSec: past the lease the guard has acted already",
        ),
        (Some(watchdog), _) => {
            report.ok("unit-watchdog", humantime::format_duration(watchdog));
        }
    }
    if !matches!(unit.property("Type"), Some("notify" | "notify-reload")) {
        report.warning(
            "unit-type",
            "Type is not notify: systemd does not learn when kneard is ready, nor of its watchdog",
            "set Type=notify",
        );
    }
}

/// systemd.time(7) as `systemctl show` prints it: `1min 30s`, `500ms`, `0`, `infinity`.
fn time_span(text: &str) -> Option<Duration> {
    match text {
        "0" => Some(Duration::ZERO),
        "infinity" => None,
        text => humantime::parse_duration(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    const GOOD: &str = "LoadState=loaded\nActiveState=active\nMainPID=17\nType=notify\n\
                        KillMode=mixed\nWatchdogUSec=5s\nEnvironmentFiles=/a (ignore_errors=no)\n\
                        EnvironmentFiles=/b (ignore_errors=yes)\n";

    fn levels(text: &str) -> Vec<(&'static str, Level)> {
        let args = <crate::settings::Args as clap::Parser>::parse_from([
            "kneard",
            "--validator-key=/nowhere/key.json",
        ]);
        let instance = crate::election::InstanceId("i".to_owned());
        let settings = Settings::new(&args, instance, "host").unwrap();
        let mut report = Report::default();
        check(&mut report, &Unit::parse("kneard.service", text).unwrap(), Some(&settings));
        let bad = report.checks.iter().filter(|check| check.level != Level::Ok);
        bad.map(|check| (check.check, check.level)).collect()
    }

    #[test]
    fn the_unit_that_comes_with_kneard_is_good() {
        assert_eq!(levels(GOOD), []);
        let unit = Unit::parse("kneard.service", GOOD).unwrap();
        assert_eq!(unit.main_pid, Some(17));
        let files = unit.property("EnvironmentFiles").unwrap();
        assert_eq!(files.lines().count(), 2, "{files}");
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_unit_is_found() {
        for (good, bad, check, level) in [
            ("ActiveState=active", "ActiveState=failed", "unit", Level::Warning),
            ("KillMode=mixed", "KillMode=control-group", "unit-kill-mode", Level::Problem),
            ("WatchdogUSec=5s", "WatchdogUSec=0", "unit-watchdog", Level::Warning),
            ("WatchdogUSec=5s", "WatchdogUSec=infinity", "unit-watchdog", Level::Warning),
            ("WatchdogUSec=5s", "WatchdogUSec=1min 30s", "unit-watchdog", Level::Warning),
            ("Type=notify", "Type=simple", "unit-type", Level::Warning),
        ] {
            assert_eq!(levels(&GOOD.replace(good, bad)), [(check, level)], "{bad}");
        }
    }

    #[test]
    fn a_unit_that_is_not_there_is_none() {
        assert_eq!(Unit::parse("x", "LoadState=not-found\nMainPID=0\n"), None);
        assert_eq!(Unit::parse("x", ""), None);
    }
}
