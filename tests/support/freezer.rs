//! A whole host stands still at one instant: the kernel's freezer, of control groups of either
//! version; SIGSTOP to one process after the other where there is none.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::process::Process;

/// Where freezers are, and the file that freezes there, with its words for yes and no.
const PLACES: [(&str, &str, [&str; 2]); 3] = [
    ("/sys/fs/cgroup/freezer", "freezer.state", ["FROZEN", "THAWED"]),
    ("/sys/fs/cgroup", "cgroup.freeze", ["1", "0"]),
    ("/sys/fs/cgroup/unified", "cgroup.freeze", ["1", "0"]),
];

pub enum Freezer {
    Group { directory: PathBuf, file: &'static str, words: [&'static str; 2] },
    Signals { stopped: Vec<Process> },
}

impl Freezer {
    /// A freezer for one host. `run` names the run, for [`remove_all`].
    pub fn new(run: &str, host: &str) -> Self {
        for (root, file, words) in PLACES {
            let directory = Path::new(root).join(run).join(host);
            if fs::create_dir_all(&directory).is_ok() {
                if directory.join(file).exists() {
                    return Self::Group { directory, file, words };
                }
                remove(Path::new(root), run);
            }
        }
        Self::Signals { stopped: Vec::new() }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Group { file: "freezer.state", .. } => "the freezer of control groups, version 1",
            Self::Group { .. } => "the freezer of control groups, version 2",
            Self::Signals { .. } => "SIGSTOP",
        }
    }

    /// The process, and what it starts from now on, belongs to the host.
    pub fn add(&self, process: &Process) {
        if let Self::Group { directory, .. } = self {
            // One that has just ended needs no freezing.
            let _ = fs::write(directory.join("cgroup.procs"), process.pid.to_string());
        }
    }

    /// Returns once all of `processes` stand still.
    pub fn freeze(&mut self, processes: &[Process]) -> io::Result<()> {
        for process in processes {
            self.add(process);
        }
        match self {
            Self::Group { directory, file, words } => {
                fs::write(directory.join(*file), words[0])?;
                let end = Instant::now() + Duration::from_secs(5);
                while !is_frozen(directory, file) && Instant::now() < end {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Self::Signals { stopped } => {
                // The guard first: nothing may act on the standstill of another.
                for process in processes {
                    let _ = kill(Pid::from_raw(process.pid), Signal::SIGSTOP);
                }
                stopped.extend_from_slice(processes);
            }
        }
        Ok(())
    }

    pub fn thaw(&mut self) -> io::Result<()> {
        match self {
            Self::Group { directory, file, words } => fs::write(directory.join(*file), words[1]),
            Self::Signals { stopped } => {
                for process in stopped.drain(..).filter(Process::is_alive) {
                    let _ = kill(Pid::from_raw(process.pid), Signal::SIGCONT);
                }
                Ok(())
            }
        }
    }
}

fn is_frozen(directory: &Path, file: &str) -> bool {
    if file == "freezer.state" {
        return fs::read_to_string(directory.join(file)).is_ok_and(|s| s.trim() == "FROZEN");
    }
    let events = fs::read_to_string(directory.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "frozen 1")
}

/// Removes the groups of a run whose processes are all gone.
pub fn remove_all(run: &str) {
    for (root, _, _) in PLACES {
        remove(Path::new(root), run);
    }
}

fn remove(root: &Path, run: &str) {
    let directory = root.join(run);
    let hosts = fs::read_dir(&directory).into_iter().flatten().flatten();
    for host in hosts.filter(|entry| entry.path().is_dir()) {
        let end = Instant::now() + Duration::from_secs(5);
        // The kernel takes a moment to forget the dead.
        while fs::remove_dir(host.path()).is_err() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = fs::remove_dir(directory);
}
