//! The guard itself: one thread, one loop, no allocation once neard runs.

use super::client::NeardStatus;
use super::launch::{become_program, ignore_signals, keep_only, spawn_neard};
use super::pidfd::PidFd;
use super::priority;
use super::protocol::{ExitReason, FRAME_LEN, FromGuard, ToGuard};
use crate::neard::boot_clock;
use crate::neard::process::ProcessIdentity;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Duration;

/// What `kneard guard …` was told, as [`super::launch::spawn_guard`] writes it.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    socket: RawFd,
    home_lock: RawFd,
    deadline: Option<u64>,
    release_argv: Vec<OsString>,
    neard: OsString,
    neard_args: Vec<OsString>,
}

impl Arguments {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let socket = value(&mut args, "--socket")?.parse().ok()?;
        let home_lock = value(&mut args, "--home-lock")?.parse().ok()?;
        let deadline = match value(&mut args, "--deadline")?.as_str() {
            "none" => None,
            at => Some(at.parse().ok()?),
        };
        let count: usize = value(&mut args, "--release-argv")?.parse().ok()?;
        let release_argv: Vec<OsString> = args.by_ref().take(count).collect();
        let complete = args.next()? == "--" && release_argv.len() == count;
        let neard = args.next()?;
        let neard_args = args.collect();
        complete.then_some(Self { socket, home_lock, deadline, release_argv, neard, neard_args })
    }
}

fn value(args: &mut impl Iterator<Item = OsString>, flag: &str) -> Option<String> {
    if args.next()? != flag {
        return None;
    }
    args.next()?.into_string().ok()
}

/// `kneard guard …`; `args` are those after `guard`. Not for people: kneard calls itself so.
///
/// Returns when neard is dead and reaped and kneard has been told. If kneard is gone, the process
/// becomes the release instead.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(args) = Arguments::parse(args) else {
        eprintln!("kneard guard is started by kneard only; run: kneard --help");
        return ExitCode::from(2);
    };
    ignore_signals();
    let socket = match keep_only(args.socket, args.home_lock) {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("kneard guard was not given its socket by kneard: {error}");
            return ExitCode::from(2);
        }
    };
    let release = Command::new(args.release_argv);
    priority::raise();
    match Guard::new(socket, args.deadline) {
        Ok(mut guard) => {
            guard.run(&args.neard, &args.neard_args);
            if guard.kneard_gone
                && let Some(Command { program, argv }) = release
            {
                priority::restore();
                let errno = become_program(&program, &argv);
                eprintln!("kneard guard cannot run the release, the lease has to run out: {errno}");
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kneard guard cannot make its timer, neard is not started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A program to become, made while memory may still be allocated.
struct Command {
    program: CString,
    argv: Vec<CString>,
}

impl Command {
    /// `None` if there is nothing to run. (An argument of a process never holds a zero byte, so
    /// nothing is lost here.)
    fn new(argv: Vec<OsString>) -> Option<Self> {
        let mut argv: Vec<CString> =
            argv.into_iter().map(|arg| CString::new(arg.into_vec()).ok()).collect::<Option<_>>()?;
        let program = std::mem::replace(argv.first_mut()?, c"kneard".to_owned());
        Some(Self { program, argv })
    }
}

struct Guard {
    socket: OwnedFd,
    timer: TimerFd,
    deadline: Option<u64>,
    kneard_gone: bool,
    /// neard has been killed, for this reason; it is not reaped yet.
    ending: Option<ExitReason>,
}

impl Guard {
    fn new(socket: OwnedFd, deadline: Option<u64>) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        let mut guard = Self { socket, timer, deadline: None, kneard_gone: false, ending: None };
        guard.set_deadline(deadline);
        Ok(guard)
    }

    /// One neard, from its start to its end.
    fn run(&mut self, program: &OsString, args: &[OsString]) {
        // What kneard sent while we started counts.
        self.read_frames(None);
        if let Some(reason) = self.reason_to_kill() {
            return self.report(FromGuard::Exited { status: NeardStatus::NeverStarted, reason });
        }
        let child = match spawn_neard(program, args, &self.socket) {
            Ok(child) => child,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                return self.report(FromGuard::SpawnFailed { errno });
            }
        };
        // Nobody else reaps it, so the number is still neard's.
        let pid = child.id().cast_signed();
        match PidFd::open(pid) {
            Ok(neard) => {
                if let Some(identity) = ProcessIdentity::of(pid) {
                    self.report(FromGuard::Started(identity));
                }
                let status = self.watch(&neard);
                let reason = self.ending.unwrap_or(ExitReason::ByItself);
                self.report(FromGuard::Exited { status, reason });
            }
            Err(errno) => {
                // Without it neard cannot be watched; it dies with this process.
                eprintln!("kneard guard cannot watch neard: {errno}");
            }
        }
    }

    /// Until neard is reaped.
    fn watch(&mut self, neard: &PidFd) -> NeardStatus {
        loop {
            // Frames first: a deadline that was moved in time is not missed because we read late.
            self.read_frames(Some(neard));
            if self.ending.is_none()
                && let Some(reason) = self.reason_to_kill()
            {
                self.kill(neard, reason);
            }
            match neard.try_reap() {
                Ok(None) => self.wait(neard),
                Ok(Some(status)) => return status,
                // Cannot be: it is our child and only we reap it. Dead it is in any case.
                Err(_) => return NeardStatus::Unknown,
            }
        }
    }

    fn reason_to_kill(&self) -> Option<ExitReason> {
        if self.kneard_gone {
            return Some(ExitReason::KneardGone);
        }
        // Not only when the timer says so: one reason less to trust it.
        let passed = self.deadline.is_some_and(|deadline| boot_clock::now() >= deadline);
        passed.then_some(ExitReason::Deadline).or(self.ending)
    }

    fn kill(&mut self, neard: &PidFd, reason: ExitReason) {
        // Fails only if it is dead already.
        let _ = neard.signal(libc::SIGKILL);
        self.ending.get_or_insert(reason);
    }

    /// Sleeps until there is something to do.
    fn wait(&self, neard: &PidFd) {
        let mut polled = [
            PollFd::new(neard.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
        ];
        // A socket whose other end is gone would be ready for ever.
        let count = if self.kneard_gone { 2 } else { 3 };
        // An interruption is no event; the loop looks at everything anyway.
        let _ = poll(&mut polled[..count], PollTimeout::NONE);
        let mut expirations = [0; 8];
        // Only clears the timer: whether the deadline has passed is read off the clock.
        let _ = nix::unistd::read(&self.timer, &mut expirations);
    }

    /// Reads and obeys all that kneard has sent.
    fn read_frames(&mut self, neard: Option<&PidFd>) {
        while !self.kneard_gone {
            let mut frame = [0; FRAME_LEN + 1];
            match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                // Killed with answers of ours unread: the kernel says so once, before the rest.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(Errno::EAGAIN) => return,
                Ok(0) | Err(_) => self.kneard_gone = true,
                Ok(length) => match ToGuard::decode(&frame[..length]) {
                    Some(frame) => self.obey(frame, neard),
                    // Whoever speaks there, it is not the kneard that we can rely on.
                    None => self.kneard_gone = true,
                },
            }
        }
    }

    fn obey(&mut self, frame: ToGuard, neard: Option<&PidFd>) {
        match frame {
            ToGuard::Arm { deadline_ns, seq } => {
                self.set_deadline(Some(deadline_ns));
                self.report(FromGuard::Armed { seq });
            }
            ToGuard::Disarm { seq } => {
                self.set_deadline(None);
                self.report(FromGuard::Armed { seq });
            }
            ToGuard::Ping { seq } => self.report(FromGuard::Pong { seq }),
            ToGuard::Signal { signo } => match neard {
                Some(neard) => {
                    let _ = neard.signal(signo);
                }
                // It was to stop a neard that has not been started yet: then it never is.
                None if signo == libc::SIGTERM => self.ending = Some(ExitReason::Asked),
                None => {}
            },
            ToGuard::Kill => match neard {
                Some(neard) => self.kill(neard, ExitReason::Asked),
                None => self.ending = Some(ExitReason::Asked),
            },
        }
        if let Some(neard) = neard {
            // Touches the code that kills, so that it is in memory when it is needed.
            let _ = neard.signal(0);
        }
    }

    fn set_deadline(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
        let result = match deadline {
            None => self.timer.unset(),
            Some(at) => {
                // Zero would disarm.
                let at = TimeSpec::from_duration(Duration::from_nanos(at.max(1)));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
        };
        if result.is_err() {
            // No alarm, no neard.
            self.deadline = Some(0);
        }
    }

    /// Tells kneard, never waiting for it. If it has not read for so long that there is no room,
    /// it learns of neard's end from the end of this process.
    fn report(&mut self, frame: FromGuard) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if let Err(Errno::EPIPE | Errno::ECONNRESET) =
            send(self.socket.as_raw_fd(), &frame.encode(), flags)
        {
            self.kneard_gone = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Option<Arguments> {
        Arguments::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn arguments_read_as_the_client_writes_them() {
        let args = parse(&[
            "--socket",
            "7",
            "--home-lock",
            "5",
            "--deadline",
            "123",
            "--release-argv",
            "3",
            "release",
            "--",
            "-x",
            "--",
            "/bin/neard",
            "--home",
            "H",
            "run",
        ]);
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            args,
            Some(Arguments {
                socket: 7,
                home_lock: 5,
                deadline: Some(123),
                release_argv: words(&["release", "--", "-x"]),
                neard: "/bin/neard".into(),
                neard_args: words(&["--home", "H", "run"]),
            })
        );
    }

    #[test]
    fn incomplete_arguments_are_refused() {
        let whole = [
            "--socket",
            "7",
            "--home-lock",
            "5",
            "--deadline",
            "none",
            "--release-argv",
            "1",
            "release",
            "--",
            "neard",
        ];
        assert!(parse(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{:?}", &whole[..length]);
        }
        assert_eq!(parse(&["--socket", "x"]), None);
    }
}
