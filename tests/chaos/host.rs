//! One kneard's host: its namespace, disk, clock and freezer, and what keeps kneard running.

use std::{
    fs, io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    disk::Disk,
    plan::{Part, Trouble},
    support::{
        freezer::Freezer,
        kneard::{Kneard, Setup, errors},
        netns::NetNs,
        process::Process,
        tail::Tail,
        wait::boot_time,
    },
    wall_clock::WallClock,
};

/// As long as systemd is told to wait (`RestartSec`).
const RESTART_AFTER: Duration = Duration::from_secs(1);

pub struct Host {
    pub name: String,
    pub namespace: NetNs,
    pub setup: Setup,
    pub disk: Disk,
    pub clock: WallClock,
    pub tail: Tail,
    pub freezer: Freezer,
    troubles: Vec<Trouble>,
    kneard: Option<Kneard>,
    /// Faults that keep kneard from being started.
    down: usize,
    /// A fault has killed or stopped the kneard that runs.
    taken_down: bool,
    start_at: Instant,
    paused: usize,
    paused_from: Duration,
}

/// How a kneard ended.
pub struct End {
    pub status: ExitStatus,
    /// Its last error.
    pub error: Option<String>,
    /// A fault wanted it.
    pub wanted: bool,
}

impl Host {
    pub fn new(
        setup: Setup,
        namespace: NetNs,
        disk: Disk,
        clock: WallClock,
        freezer: Freezer,
    ) -> Self {
        Self {
            name: setup.node_id.clone(),
            namespace,
            // Where the disk puts it: readable also while the home is not.
            tail: Tail::new(setup.home.with_extension("signatures.log")),
            setup,
            disk,
            clock,
            freezer,
            troubles: Vec::new(),
            kneard: None,
            down: 0,
            taken_down: false,
            start_at: Instant::now(),
            paused: 0,
            paused_from: Duration::ZERO,
        }
    }

    /// What an init does: starts kneard when it shall run, and notes when it has ended.
    pub fn keep(&mut self) -> Option<End> {
        if let Some(status) = self.kneard.as_mut().and_then(Kneard::exit) {
            let kneard = self.kneard.take().expect("just looked at");
            let error = last_error(&kneard);
            // What it left behind goes on: its guard kills neard and gives the lock back.
            std::mem::forget(kneard);
            self.start_at = Instant::now() + RESTART_AFTER;
            return Some(End { status, error, wanted: self.taken_down });
        }
        if self.kneard.is_none() && self.down == 0 && Instant::now() >= self.start_at {
            let kneard = self.setup.clone().start_in(Some(&self.namespace));
            self.freezer.add(&kneard.process);
            self.kneard = Some(kneard);
            self.taken_down = false;
        }
        None
    }

    /// A fault has killed kneard or asked it to stop; it is not started again for now.
    pub fn take_down(&mut self) {
        self.down += 1;
        self.taken_down = true;
    }

    /// The other end of [`Host::take_down`]; started again at once when it is healed.
    pub fn allow_start(&mut self) {
        self.down -= 1;
        self.start_at = Instant::now();
    }

    pub fn is_running(&self) -> bool {
        self.kneard.is_some()
    }

    pub fn process(&self, part: Part) -> Option<Process> {
        let kneard = &self.kneard.as_ref()?.process;
        let is_guard = |p: &Process| p.arguments().get(1).is_some_and(|a| a == "guard");
        let guard = || kneard.children().into_iter().find(is_guard);
        let is_neard = |p: &Process| p.program().as_deref() == Some("neard");
        let found = match part {
            Part::Kneard => Some(kneard.clone()),
            Part::Guard => guard(),
            Part::Neard => guard()?.children().into_iter().find(is_neard),
        };
        found.filter(Process::is_alive)
    }

    pub fn processes(&self) -> Vec<Process> {
        [Part::Guard, Part::Neard, Part::Kneard]
            .into_iter()
            .filter_map(|p| self.process(p))
            .collect()
    }

    pub fn begin_trouble(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
        self.order_troubles();
    }

    pub fn end_trouble(&mut self, trouble: Trouble) {
        if let Some(at) = self.troubles.iter().position(|one| *one == trouble) {
            self.troubles.remove(at);
        }
        self.order_troubles();
    }

    /// Tells the stand-in, which looks ten times a second.
    fn order_troubles(&self) {
        let mut faults = serde_json::Map::new();
        for trouble in &self.troubles {
            let (name, value) = match trouble {
                Trouble::Silent => ("status", json!("hang")),
                Trouble::DeafToReloads => ("reload", json!("broken")),
                Trouble::SlowToReload => ("reload_ms", json!(1_500)),
                Trouble::SlowToStart => ("start_ms", json!(4_000)),
            };
            faults.insert(name.to_owned(), value);
        }
        let file = self.setup.home.with_extension("faults.json");
        let new = self.setup.home.with_extension("faults.new");
        fs::write(&new, serde_json::Value::Object(faults).to_string()).unwrap();
        fs::rename(&new, &file).unwrap();
    }

    /// All of the host stands still.
    pub fn pause(&mut self) -> io::Result<()> {
        self.paused += 1;
        if self.paused == 1 {
            let processes = self.processes();
            self.freezer.freeze(&processes)?;
            self.paused_from = boot_time();
        }
        Ok(())
    }

    /// Goes on; from when to when it stood still, in boot time, once the last pause is over.
    pub fn resume(&mut self) -> io::Result<Option<(Duration, Duration)>> {
        self.paused -= 1;
        if self.paused > 0 {
            return Ok(None);
        }
        let to = boot_time();
        self.freezer.thaw()?;
        Ok(Some((self.paused_from, to)))
    }

    /// Kills these parts at one instant.
    pub fn kill_at_once(&mut self, parts: &[Part]) -> io::Result<()> {
        self.pause()?;
        for process in parts.iter().filter_map(|part| self.process(*part)) {
            signal(&process, Signal::SIGKILL);
        }
        self.resume().map(|_| ())
    }
}

/// Of this run of kneard, not of earlier ones of the node.
fn last_error(kneard: &Kneard) -> Option<String> {
    let pid = format!("pid={} ", kneard.process.pid);
    let own = |line: &String| line.starts_with("kneard: ") || line.contains(&pid);
    errors(&kneard.log()).into_iter().rfind(own)
}

/// To a process that may end at any moment.
pub fn signal(process: &Process, signal: Signal) {
    if process.is_alive() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), signal);
    }
}
