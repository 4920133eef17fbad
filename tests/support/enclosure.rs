//! The run's own PID and mount namespaces: whatever ends the run, even SIGKILL, the kernel then
//! ends every process that it started and takes its mounts back.
//!
//! Three processes of this program: the one that was called, which forwards ctrl-c and removes the
//! control groups at the end; the first of the new namespace, which buries orphans as an init
//! does; and the run itself.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{binaries, freezer};

const STAGE: &str = "KNEARD_TEST_STAGE";
const RUN: &str = "KNEARD_TEST_RUN";

pub struct Enclosure {
    /// Names the run, for what is outside of its namespaces.
    pub run: String,
    /// Somebody asked to stop.
    pub stop: Arc<AtomicBool>,
}

/// Calls `main` inside, and ends as it does.
pub fn enclosed(main: impl FnOnce(Enclosure) -> u8) -> ExitCode {
    match env::var(STAGE).as_deref() {
        Err(_) => ExitCode::from(outside()),
        Ok("init") => ExitCode::from(init()),
        Ok(_) => ExitCode::from(main(inside())),
    }
}

/// Kept from killing; taken in turn by `wait`.
fn block(signals: &[Signal]) -> SigSet {
    let signals: SigSet = signals.iter().copied().collect();
    signals.thread_block().expect("signals can be blocked");
    signals
}

fn again(stage: &str, run: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(env::args_os().skip(1)).env(STAGE, stage).env(RUN, run);
    command
}

fn outside() -> u8 {
    let signals = block(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD]);
    let run = format!("kneard-test-{}", std::process::id());
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .unwrap_or_else(|e| panic!("no namespaces: {e}; run it as root"));
    // Not in the terminal's foreground group: ctrl-c comes once, from here.
    let child = again("init", &run).process_group(0).spawn().expect("this program starts");
    let code = forward_and_wait(&signals, child);
    freezer::remove_all(&run);
    code
}

fn init() -> u8 {
    set_pdeathsig(Signal::SIGKILL).expect("a parent-death signal");
    let signals = block(&[Signal::SIGTERM, Signal::SIGCHLD]);
    for arguments in [&["--make-rprivate", "/"][..], &["-t", "proc", "proc", "/proc"]] {
        let status = binaries::clean("mount").args(arguments).status().expect("mount runs");
        assert!(status.success(), "mount {arguments:?} failed");
    }
    let run = env::var(RUN).expect("set by the first stage");
    let child = again("run", &run).spawn().expect("this program starts");
    forward_and_wait(&signals, child)
}

/// Passes signals on to `child` and reaps whoever ends, until `child` does: its exit code.
fn forward_and_wait(signals: &SigSet, child: Child) -> u8 {
    let child = Pid::from_raw(child.id() as i32);
    loop {
        if signals.wait().expect("a signal comes") != Signal::SIGCHLD {
            let _ = kill(child, Signal::SIGTERM);
            continue;
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            match status {
                WaitStatus::StillAlive => break,
                WaitStatus::Exited(pid, code) if pid == child => {
                    return u8::try_from(code).unwrap_or(1);
                }
                WaitStatus::Signaled(pid, signal, _) if pid == child => {
                    eprintln!("the run was ended by {signal}");
                    return 1;
                }
                _ => {}
            }
        }
    }
}

fn inside() -> Enclosure {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&stop);
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime").block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
            sender.send(()).expect("somebody waits");
            while terminate.recv().await.is_some() {
                heard.store(true, Ordering::Relaxed);
            }
        });
    });
    ready.recv().expect("SIGTERM is handled");
    // What is blocked stays so in children, and kneard has to hear its signals.
    SigSet::all().thread_unblock().expect("signals can be unblocked");
    Enclosure { run: env::var(RUN).expect("set by the first stage"), stop }
}
