//! Naming a process so that its number's next owner is not taken for it.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A process by its number and the instant it started; together they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// Clock ticks between boot and the start of the process: field 22 of `/proc/<pid>/stat`
    /// (proc_pid_stat(5)).
    pub start_time: u64,
}

impl ProcessIdentity {
    /// The identity of the process that has this number now; `None` if there is none, or if it
    /// is a zombie (it holds no memory any more and only waits to be reaped).
    pub fn of(pid: i32) -> Option<Self> {
        let (state, start_time) = read_stat(pid)?;
        (!is_dead(pid, state)).then_some(Self { pid, start_time })
    }

    /// This process. `None` only where `/proc` is not mounted.
    pub fn current() -> Option<Self> {
        Self::of(std::process::id().cast_signed())
    }

    /// Whether this very process still runs. Where `/proc` does not tell (it may hide the processes
    /// of others), whoever has its number counts as it: locks are given back by this answer.
    pub fn is_alive(&self) -> bool {
        match read_stat(self.pid) {
            Some((state, start_time)) => start_time == self.start_time && !is_dead(self.pid, state),
            None => kill(Pid::from_raw(self.pid), None) != Err(Errno::ESRCH),
        }
    }

    /// Whether the number still belongs to this process, be it a zombie.
    pub fn is_unreaped(&self) -> bool {
        read_stat(self.pid).is_some_and(|(_, start_time)| start_time == self.start_time)
    }
}

fn read_stat(pid: i32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A leader that has exited shows as `Z` although other threads of it may go on, keys in memory;
/// it is dead only when it is the last.
fn is_dead(pid: i32, state: char) -> bool {
    match state {
        'X' | 'x' => true,
        'Z' => fs::read_dir(format!("/proc/{pid}/task")).map_or(true, |tasks| tasks.count() <= 1),
        _ => false,
    }
}

/// State (field 3) and start time (field 22). The name, field 2, may itself hold spaces and
/// parentheses, so fields are counted from the last `)`.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "7 (a) R 1 (b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2";
        assert_eq!(parse_stat(stat), Some(('S', 98765)));
        assert_eq!(parse_stat("7 (cut off"), None);
        assert_eq!(parse_stat("7 (short) S 1"), None);
    }

    #[test]
    fn a_process_is_alive_until_it_exits_and_a_zombie_is_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id().cast_signed()).unwrap();
        assert!(identity.is_alive());
        let reused = ProcessIdentity { start_time: identity.start_time + 1, ..identity };
        assert!(!reused.is_alive());

        child.kill().unwrap();
        let bound = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while identity.is_alive() {
            assert!(std::time::Instant::now() < bound, "killed but still counted as alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(ProcessIdentity::of(identity.pid), None);
    }
}
