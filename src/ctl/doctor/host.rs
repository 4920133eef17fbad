//! The host: clock, limits, ports and folders.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{AccessFlags, access};

use super::home::Found;
use super::report::Report;
use super::systemd::Unit;
use crate::election::Promotion;
use crate::settings::Settings;

const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// neard's store alone may open 10,000 files, and each peer is a connection.
const FEW_FILES: u64 = 10_000;
const ENOUGH_FILES: u64 = 65_536;
/// The guard touches and locks about one megabyte.
const ENOUGH_LOCKED: u64 = 8 << 20;

pub fn check(report: &mut Report, settings: Option<&Settings>, unit: Option<&Unit>) {
    clock(report, Path::new(CLOCK_SOURCE));
    limits(report, &daemon_limits(unit));
    let Some(settings) = settings else { return };
    folder(report, "runtime-dir", "--runtime-dir", &settings.runtime_dir);
    if let Some(parent) = settings.control_socket.parent() {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        folder(report, "control-socket", "--control-socket", parent);
    }
}

/// Leases are counted on the boot clock; whether the wall clock is right does not matter.
fn clock(report: &mut Report, source: &Path) {
    if let Err(errno) = clock_gettime(ClockId::CLOCK_BOOTTIME) {
        report.problem("clock", format!("no CLOCK_BOOTTIME: {errno}"), "use a newer kernel");
        return;
    }
    match fs::read_to_string(source) {
        Ok(name) if name.trim() == "jiffies" => report.problem(
            "clock",
            "the kernel counts time in timer ticks (clock source jiffies), which drifts",
            "boot with a hardware clock source such as tsc",
        ),
        Ok(name) => report.ok("clock", format!("CLOCK_BOOTTIME from {}", name.trim())),
        Err(_) => report.ok("clock", "CLOCK_BOOTTIME; its source is not shown here"),
    }
}

/// The limits that count for neard and the guard, from the daemon if it runs.
struct Limits {
    whose: String,
    files: Option<u64>,
    locked: Option<u64>,
}

fn daemon_limits(unit: Option<&Unit>) -> Limits {
    let pid = unit.and_then(|unit| unit.main_pid);
    let running = pid.and_then(|pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        Some(parse_limits(&text, format!("kneard ({pid})")))
    });
    if let Some(limits) = running {
        return limits;
    }
    if let Some(unit) = unit {
        let limit = |name| unit.property(name).and_then(|value| value.parse().ok());
        return Limits {
            whose: unit.name.clone(),
            files: limit("LimitNOFILE"),
            locked: limit("LimitMEMLOCK"),
        };
    }
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    parse_limits(&text, "this shell".to_owned())
}

/// Hard limits of proc_pid_limits(5); "unlimited" as the largest number.
fn parse_limits(text: &str, whose: String) -> Limits {
    let hard = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().nth(1)? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    };
    let (files, locked) = (hard("Max open files"), hard("Max locked memory"));
    Limits { whose, files, locked }
}

fn limits(report: &mut Report, limits: &Limits) {
    let Limits { whose, files, locked } = limits;
    let remedy = "set LimitNOFILE=1048576 in the unit, or ulimit -Hn";
    match files {
        Some(files) if *files < FEW_FILES => {
            report.problem(
                "open-files",
                format!("{whose} may open {files} files, too few for neard"),
                remedy,
            );
        }
        Some(files) if *files < ENOUGH_FILES => {
            report.warning("open-files", format!("{whose} may open {files} files"), remedy);
        }
        Some(files) => report.ok("open-files", format!("{whose} may open {files} files")),
        None => {}
    }
    match locked {
        Some(locked) if *locked < ENOUGH_LOCKED => report.warning(
            "locked-memory",
            format!(
                "{whose} may lock {} KiB: the guard may be swapped out when it has to act",
                locked / 1024
            ),
            "set LimitMEMLOCK=infinity in the unit",
        ),
        Some(u64::MAX) => report.ok("locked-memory", format!("{whose} may lock all memory")),
        Some(locked) => {
            report.ok("locked-memory", format!("{whose} may lock {} MiB", locked >> 20))
        }
        None => {}
    }
}

fn folder(report: &mut Report, name: &'static str, flag: &str, path: &Path) {
    match access(path, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if path.is_dir() => report.ok(name, path.display()),
        Ok(()) => report.problem(
            name,
            format!("{flag} {}: not a directory", path.display()),
            "name a directory",
        ),
        Err(errno) => report.problem(
            name,
            format!("{flag} {}: {}", path.display(), std::io::Error::from(errno)),
            "it must be a directory that kneard can write to",
        ),
    }
}

/// Addresses that kneard and neard have to listen on: free, or taken by them.
pub fn ports(report: &mut Report, settings: &Settings, found: &Found) {
    let mut wanted = vec![
        ("port-exporter", "--exporter-address", settings.exporter_address),
        ("port-network", "--validator-network-addr", settings.validator_network_addr),
    ];
    // Both are neard's, at different times, and may be one.
    if settings.election.promotion == Promotion::Restart
        && settings.voter_network_addr != settings.validator_network_addr
    {
        wanted.push(("port-voter", "--voter-network-addr", settings.voter_network_addr));
    }
    if let Some(rpc) = found.rpc {
        wanted.push(("port-rpc", "rpc.addr in config.json", rpc));
    }
    for (name, flag, address) in wanted {
        port(report, name, flag, address, found.in_use);
    }
}

fn port(report: &mut Report, name: &'static str, flag: &str, address: SocketAddr, in_use: bool) {
    match TcpListener::bind(address) {
        Ok(_) => report.ok(name, format!("{address}, free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && in_use => {
            report.ok(name, format!("{address}, in use, as it should be while kneard runs"));
        }
        Err(error) => report.problem(
            name,
            format!("{flag} {address}: {error}"),
            "stop what uses it (ss -ltnp shows it) or choose another",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    fn level(check: impl FnOnce(&mut Report)) -> Level {
        let mut report = Report::default();
        check(&mut report);
        report.checks.iter().map(|check| check.level).max_by_key(|level| *level as u8).unwrap()
    }

    #[test]
    fn a_clock_that_counts_ticks_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("current_clocksource");
        for (name, expected) in [("tsc\n", Level::Ok), ("jiffies\n", Level::Problem)] {
            fs::write(&source, name).unwrap();
            assert_eq!(level(|report| clock(report, &source)), expected, "{name}");
        }
        // A container may hide it.
        assert_eq!(level(|report| clock(report, &dir.path().join("nowhere"))), Level::Ok);
    }

    #[test]
    fn limits_are_read_and_judged() {
        let text = |files: &str, locked: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max open files            1024                 {files}              files\n\
                 Max locked memory         8388608              {locked}             bytes\n"
            )
        };
        for (files, locked, expected) in [
            ("1048576", "unlimited", Level::Ok),
            ("20000", "unlimited", Level::Warning),
            ("4096", "unlimited", Level::Problem),
            ("1048576", "65536", Level::Warning),
        ] {
            let parsed = parse_limits(&text(files, locked), "kneard".to_owned());
            let found = level(|report| limits(report, &parsed));
            assert_eq!(found, expected, "{files} files, {locked} bytes");
        }
    }
}
