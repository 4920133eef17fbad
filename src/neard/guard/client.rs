//! kneard's side of the guard: start it, tell it until when neard may run, learn what became of
//! neard.
//!
//! Sending is one non-blocking system call; everything that waits lives in one task, which ends
//! with exactly one of [`GuardEvent::Exited`] and [`GuardEvent::SpawnFailed`], and not before
//! neard is certainly dead.

use super::launch::spawn_guard;
use super::pidfd::PidFd;
use super::protocol::{ExitReason, FromGuard, ToGuard};
use super::socket;
use crate::neard::home_lock::HomeLock;
use crate::neard::process::ProcessIdentity;
use nix::errno::Errno;
use nix::libc;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

/// How long a guard that may well be healthy gets to report neard's exit status after neard was
/// killed on request. neard is already dead then: this only bounds how long the status is awaited.
const REPORT_GRACE: Duration = Duration::from_millis(50);
/// Pause between attempts when the process table cannot be asked (no file descriptors left).
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// What to start, and what may end it.
#[derive(Clone, Debug)]
pub struct SpawnOptions {
    /// The program that becomes the guard, called as `<program> guard …`. In the daemon
    /// [`SpawnOptions::OWN_PROGRAM`]: it is the same binary even after an upgrade replaced the file.
    pub guard: PathBuf,
    /// neard: a path, or a name that is looked up in `PATH`. It must be neard or something that
    /// *becomes* neard (execve), not a wrapper that runs neard as its child.
    pub neard: PathBuf,
    pub args: Vec<OsString>,
    /// Goes on to the guard and to neard, so that the home stays locked while any of them lives.
    pub home_lock: HomeLock,
    /// Boot clock, nanoseconds; in force before neard starts. `None` only for a neard that gets
    /// no validator key.
    pub deadline: Option<u64>,
    /// What the guard becomes after kneard's death, once neard is reaped: a program's path and its
    /// arguments, in the daemon [`SpawnOptions::OWN_PROGRAM`] `release --runtime-dir DIR`. It
    /// keeps the home's lock. Empty: nothing is run.
    pub release_argv: Vec<OsString>,
}

impl SpawnOptions {
    /// The running binary, as [`SpawnOptions::guard`] wants it.
    pub const OWN_PROGRAM: &str = "/proc/self/exe";
}

/// How neard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeardStatus {
    /// It called exit with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It is dead, but the guard died between reaping it and saying how it ended.
    Unknown,
    /// It never ran: the deadline had passed before its start, or the guard could not start.
    NeverStarted,
}

impl fmt::Display for NeardStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signo) => match nix::sys::signal::Signal::try_from(*signo) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {signo}"),
            },
            Self::Unknown => write!(f, "ended in an unknown way"),
            Self::NeverStarted => write!(f, "never started"),
        }
    }
}

/// The end of one neard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub status: NeardStatus,
    pub reason: ExitReason,
}

impl Exit {
    /// neard ended as a program that has done its work.
    pub fn is_success(&self) -> bool {
        self.status == NeardStatus::Code(0) && self.reason == ExitReason::ByItself
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            ExitReason::ByItself => "",
            ExitReason::Deadline => ": its deadline passed",
            ExitReason::KneardGone => ": kneard was gone",
            ExitReason::Asked => ": as asked",
            ExitReason::GuardLost => ": its guard was lost",
        };
        write!(f, "neard {}{why}", self.status)
    }
}

/// What the supervisor hears of one neard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// neard's program runs.
    Started(ProcessIdentity),
    /// Answer to [`Neard::arm`] and [`Neard::disarm`].
    Armed { seq: u64 },
    /// Answer to [`Neard::ping`].
    Pong { seq: u64 },
    /// Last event: neard is dead and reaped, and cannot sign any more.
    Exited(Exit),
    /// Last event: neard never ran. One line that names the program.
    SpawnFailed { error: String },
}

/// One neard under its guard. Dropping it kills neard.
#[derive(Debug)]
pub struct Neard {
    socket: socket::Sender,
    kill: mpsc::Sender<()>,
    last_seq: AtomicU64,
}

impl Neard {
    /// Starts the guard, and through it neard, in the background. Must be called in a tokio
    /// runtime with I/O and time enabled.
    ///
    /// Makes this process the reaper of its orphaned descendants, so that a neard whose guard died
    /// becomes our child and can be waited for. Nothing else in this process may reap children that
    /// it did not start, or ignore SIGCHLD.
    ///
    /// # Errors
    /// No socketpair could be made. That neard could not be run is an event, not an error.
    pub fn spawn(options: SpawnOptions) -> io::Result<(Self, mpsc::UnboundedReceiver<GuardEvent>)> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let (socket, frames, theirs) = socket::pair()?;
        let (events, receiver) = mpsc::unbounded_channel();
        let (kill, kill_requests) = mpsc::channel(1);
        let task = Task { frames, events, kill_requests, neard: None, asked: false };
        tokio::spawn(task.run(options, theirs));
        Ok((Self { socket, kill, last_seq: AtomicU64::new(0) }, receiver))
    }

    /// Sets the instant (boot clock, nanoseconds) at which the guard kills neard; returns the
    /// `seq` of the `Armed` to come.
    ///
    /// # Errors
    /// The guard is gone, or has not read for so long that the socket is full; then the deadline
    /// that was confirmed last stands.
    pub fn arm(&self, deadline_ns: u64) -> io::Result<u64> {
        let seq = self.next_seq();
        self.socket.send(ToGuard::Arm { deadline_ns, seq }).map(|()| seq)
    }

    /// Takes the deadline away; returns the `seq` of the `Armed` to come. Only for a neard that
    /// is known to hold no validator key.
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    pub fn disarm(&self) -> io::Result<u64> {
        let seq = self.next_seq();
        self.socket.send(ToGuard::Disarm { seq }).map(|()| seq)
    }

    /// Has the guard send neard a signal (SIGHUP to reload, SIGTERM to stop).
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> io::Result<()> {
        self.socket.send(ToGuard::Signal { signo: signal as i32 })
    }

    /// Asks the guard for a sign of life; returns the `seq` of the `Pong` to come.
    ///
    /// # Errors
    /// As [`arm`](Self::arm).
    pub fn ping(&self) -> io::Result<u64> {
        let seq = self.next_seq();
        self.socket.send(ToGuard::Ping { seq }).map(|()| seq)
    }

    /// SIGKILLs neard, through the guard and without it, and the guard too if it does not report
    /// at once. [`GuardEvent::Exited`] follows when neard is reaped. May be called repeatedly.
    pub fn kill(&self) {
        // Saves the turn of the task when the guard is well; if it is not, the task sees to it.
        let _ = self.socket.send(ToGuard::Kill);
        // Full means that a request is under way; closed, that neard is dead already.
        let _ = self.kill.try_send(());
    }

    fn next_seq(&self) -> u64 {
        self.last_seq.fetch_add(1, Ordering::Relaxed) + 1
    }
}

struct Task {
    frames: socket::Receiver,
    events: mpsc::UnboundedSender<GuardEvent>,
    kill_requests: mpsc::Receiver<()>,
    neard: Option<ProcessIdentity>,
    asked: bool,
}

/// What one turn of the task learnt.
enum Turn {
    Continue,
    /// The last event.
    Final(GuardEvent),
    /// The guard is dead, or must be treated so.
    Lost,
}

impl Task {
    async fn run(mut self, options: SpawnOptions, theirs: OwnedFd) {
        let neard = options.neard.clone();
        // fork and execve may wait for a disk.
        let spawned = tokio::task::spawn_blocking(move || {
            let child = spawn_guard(&options, &theirs)?;
            Ok::<_, io::Error>((PidFd::open(child.id().cast_signed()), child))
        });
        let error = match spawned.await {
            Ok(Ok((Ok(pidfd), guard))) => match pidfd.watch() {
                Ok(pidfd) => {
                    let last = self.supervise(guard, &pidfd, &neard).await;
                    self.emit(last);
                    return;
                }
                Err(error) => {
                    let gone = self.forsake(guard).await;
                    format!("cannot watch the guard of neard, which {gone}: {error}")
                }
            },
            Ok(Ok((Err(errno), guard))) => {
                let gone = self.forsake(guard).await;
                format!("cannot watch the guard of neard, which {gone} (needs Linux 5.4): {errno}")
            }
            Ok(Err(error)) => format!("cannot start the guard of neard: {error}"),
            Err(error) => format!("cannot start the guard of neard: {error}"),
        };
        self.emit(GuardEvent::SpawnFailed { error });
    }

    fn emit(&self, event: GuardEvent) {
        // Nobody listens any more: then the handle is dropped too, which kills neard.
        let _ = self.events.send(event);
    }

    async fn supervise(
        &mut self,
        mut guard: Child,
        pidfd: &AsyncFd<PidFd>,
        neard: &std::path::Path,
    ) -> GuardEvent {
        let last = loop {
            let turn = tokio::select! {
                biased;
                frame = self.frames.next() => self.on_frame(frame, neard),
                _ = self.kill_requests.recv(), if !self.asked => {
                    self.asked = true;
                    self.kill_neard();
                    self.await_report(neard).await
                }
                // Its last words may still be in the socket: `make_sure` reads them.
                _ = pidfd.readable() => Turn::Lost,
            };
            match turn {
                Turn::Continue => {}
                Turn::Final(event) => break event,
                Turn::Lost => {
                    self.kill_neard();
                    let _ = guard.kill();
                    let _ = pidfd.readable().await;
                    break self.make_sure(neard).await;
                }
            }
        };
        // The guard has nothing more to do; whatever holds it up must not hold the home's lock.
        let _ = guard.kill();
        let _ = pidfd.readable().await;
        let _ = guard.wait();
        last
    }

    fn on_frame(&mut self, frame: Option<FromGuard>, neard: &std::path::Path) -> Turn {
        match frame {
            None => return Turn::Lost,
            Some(FromGuard::Starting(identity)) => {
                self.neard = Some(identity);
                if self.asked {
                    self.kill_neard();
                }
            }
            Some(FromGuard::Started(identity)) => self.emit(GuardEvent::Started(identity)),
            Some(FromGuard::Armed { seq }) => self.emit(GuardEvent::Armed { seq }),
            Some(FromGuard::Pong { seq }) => self.emit(GuardEvent::Pong { seq }),
            Some(FromGuard::Exited { status, reason }) => {
                return Turn::Final(GuardEvent::Exited(Exit {
                    status,
                    reason: match reason {
                        // Our own kill reached neard before the guard read the request.
                        ExitReason::ByItself if self.asked => ExitReason::Asked,
                        reason => reason,
                    },
                }));
            }
            Some(FromGuard::SpawnFailed { errno }) => {
                let cause = io::Error::from_raw_os_error(errno);
                let error = format!("cannot run neard at {}: {cause}", neard.display());
                return Turn::Final(GuardEvent::SpawnFailed { error });
            }
        }
        Turn::Continue
    }

    /// neard was just killed on request: lets the guard say how it ended.
    async fn await_report(&mut self, neard: &std::path::Path) -> Turn {
        let until = tokio::time::Instant::now() + REPORT_GRACE;
        loop {
            match tokio::time::timeout_at(until, self.frames.next()).await {
                Err(_) => return Turn::Lost,
                Ok(frame) => match self.on_frame(frame, neard) {
                    Turn::Continue => {}
                    turn => return turn,
                },
            }
        }
    }

    /// SIGKILLs neard without the guard. A failure shows in [`Self::make_sure`], which insists.
    fn kill_neard(&self) {
        if let Some(identity) = self.neard
            && let Ok(Some(pidfd)) = open(identity)
        {
            let _ = pidfd.signal(libc::SIGKILL);
        }
    }

    /// The guard is dead. Waits until neard is too, and reaps it: it has become our child.
    async fn make_sure(&mut self, neard: &std::path::Path) -> GuardEvent {
        // neard's process keeps the guard's end of the socket until it becomes neard, and names
        // itself before: after the end of file there is no neard that we do not know of.
        while let Some(frame) = self.frames.next().await {
            if let Turn::Final(event) = self.on_frame(Some(frame), neard) {
                return event;
            }
        }
        let status = match self.neard {
            None => NeardStatus::NeverStarted,
            Some(identity) => end(identity).await,
        };
        let reason = if self.asked { ExitReason::Asked } else { ExitReason::GuardLost };
        GuardEvent::Exited(Exit { status, reason })
    }

    /// Ends a guard that cannot be watched.
    async fn forsake(&mut self, mut guard: Child) -> NeardStatus {
        let _ = guard.kill();
        let _ = tokio::task::spawn_blocking(move || guard.wait()).await;
        match self.make_sure(std::path::Path::new("neard")).await {
            GuardEvent::Exited(exit) => exit.status,
            _ => NeardStatus::NeverStarted,
        }
    }
}

/// SIGKILLs a neard whose kneard has ended. Nothing is done if it is dead.
///
/// # Errors
/// The kernel refuses: it is another user's, or there are no descriptors left.
pub fn kill_orphan(neard: ProcessIdentity) -> io::Result<()> {
    match open(neard)? {
        Some(pidfd) => Ok(pidfd.signal(libc::SIGKILL)?),
        None => Ok(()),
    }
}

/// A descriptor for this very process, `None` if it has been reaped.
fn open(identity: ProcessIdentity) -> Result<Option<PidFd>, Errno> {
    match PidFd::open(identity.pid) {
        // Asked after the open: the number's present owner is the one that the descriptor holds,
        // or a later one, whose start time differs.
        Ok(pidfd) => Ok(identity.is_unreaped().then_some(pidfd)),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// SIGKILLs and reaps a neard that has no guard any more.
async fn end(identity: ProcessIdentity) -> NeardStatus {
    loop {
        let pidfd = match open(identity) {
            Ok(None) => return NeardStatus::Unknown,
            Ok(Some(pidfd)) => pidfd.watch(),
            Err(errno) => Err(errno.into()),
        };
        if let Ok(pidfd) = pidfd {
            let _ = pidfd.get_ref().signal(libc::SIGKILL);
            if pidfd.readable().await.is_ok() {
                match pidfd.get_ref().try_reap() {
                    Ok(Some(status)) => return status,
                    Err(Errno::ECHILD) => return NeardStatus::Unknown,
                    Ok(None) | Err(_) => {}
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
