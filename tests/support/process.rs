//! Processes as /proc shows them.

use std::{fs, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::wait::{boot_time, millis, secs, wait_until, watch_closely};

/// A process, told apart from a later one with the same number by its start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    start_time: u64,
}

/// What proc_pid_stat(5) says behind the command's name.
struct Stat {
    state: char,
    parent: i32,
    start_time: u64,
    ticks: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, parentheses too.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        start_time: number(19)?,
        ticks: number(11)? + number(12)?,
    })
}

impl Process {
    pub fn find(pid: i32) -> Option<Self> {
        let stat = stat(pid)?;
        (!matches!(stat.state, 'Z' | 'X')).then_some(Self { pid, start_time: stat.start_time })
    }

    /// A zombie counts as dead: it runs nothing any more.
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now == *self)
    }

    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.start_time == self.start_time && s.state == 'T')
    }

    /// The file name of the program that it runs.
    pub fn program(&self) -> Option<String> {
        let exe = fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        Some(exe.file_name()?.to_string_lossy().trim_end_matches(" (deleted)").to_owned())
    }

    pub fn arguments(&self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        bytes.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
    }

    pub fn children(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| stat(*pid).is_some_and(|s| s.parent == self.pid))
            .filter_map(Self::find)
            .collect()
    }

    pub fn signal(&self, signal: Signal) {
        assert!(self.is_alive(), "process {} is not there to get {signal}", self.pid);
        kill(Pid::from_raw(self.pid), signal).unwrap_or_else(|e| panic!("kill {}: {e}", self.pid));
    }

    /// The boot time at which it was seen dead, to within a fraction of a millisecond.
    pub fn wait_dead(&self, bound: Duration, what: &str) -> Duration {
        watch_closely(bound, &format!("{what} (pid {}) is dead", self.pid), || {
            let gone = match kill(Pid::from_raw(self.pid), None) {
                Err(Errno::ESRCH) => true,
                _ => !self.is_alive(),
            };
            gone.then(boot_time)
        })
    }

    /// Time on the processor so far, user and system, of all its threads.
    pub fn cpu_time(&self) -> Duration {
        // USER_HZ is 100 on every Linux architecture that Rust has.
        stat(self.pid).map_or(Duration::ZERO, |s| millis(s.ticks * 10))
    }

    /// Proportional set size in bytes: shared pages count by their share.
    pub fn proportional_set_size(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    }
}

/// Kills a process group and waits until nothing of it runs.
pub fn kill_group(group: i32) {
    let group = Pid::from_raw(group);
    let _ = killpg(group, Signal::SIGKILL);
    let left = || killpg(group, None).is_ok() && has_living_member(group.as_raw());
    wait_until(secs(10), &format!("process group {group} is gone"), || (!left()).then_some(()));
}

fn has_living_member(group: i32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|text| {
            let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
            Some((*fields.first()? != "Z", fields.get(2)?.parse::<i32>().ok()?))
        })
        .any(|(living, its_group)| living && its_group == group)
}
