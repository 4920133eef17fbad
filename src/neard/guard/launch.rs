//! Starting the guard (in kneard) and neard (in the guard): what each inherits, and what not.
#![allow(unsafe_code)]

use super::client::SpawnOptions;
use super::protocol::FromGuard;
use crate::neard::process::ProcessIdentity;
use crate::systemd;
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{Pid, getppid};
use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Runs `<options.guard> guard …` with the lock and one end of the socketpair inherited.
pub(super) fn spawn_guard(options: &SpawnOptions, socket: &OwnedFd) -> io::Result<Child> {
    let inherited: [RawFd; 2] = [socket.as_raw_fd(), options.home_lock.as_fd().as_raw_fd()];
    let mut command = Command::new(&options.guard);
    command
        .arg0("kneard")
        .arg("guard")
        .args(["--socket", &inherited[0].to_string()])
        .args(["--home-lock", &inherited[1].to_string()])
        .args(["--deadline", &options.deadline.map_or("none".to_owned(), |at| at.to_string())])
        .args(["--release-argv", &options.release_argv.len().to_string()])
        .args(&options.release_argv)
        .arg("--")
        .arg(&options.neard)
        .args(&options.args)
        .stdin(Stdio::null());
    for variable in systemd::VARIABLES {
        command.env_remove(variable);
    }
    // SAFETY: runs between fork and execve of a process with threads, where only
    // async-signal-safe calls are allowed: fcntl is one, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            for fd in inherited {
                Errno::result(libc::fcntl(fd, libc::F_SETFD, 0))?;
            }
            Ok(())
        });
    }
    command.spawn()
}

/// In the guard: takes over the inherited socket, which neard must not get, and closes everything
/// that was inherited by mistake (a socket of systemd's, say, that neard would keep open). The
/// lock stays as it is and so goes on to neard.
///
/// # Errors
/// The descriptor is not open.
pub(super) fn keep_only(socket: RawFd, home_lock: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl on a number; it fails if the number is no descriptor.
    Errno::result(unsafe { libc::fcntl(socket, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    let (low, high) = (socket.min(home_lock), socket.max(home_lock));
    for (first, last) in [(3, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        if first <= last {
            // SAFETY: called first thing in the guard's main function, when nothing in this
            // process owns a descriptor above 2 but the two that are left out.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
    // SAFETY: kneard left it to us, and nothing else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Replaces this process; returns only if that fails. Signals are as for any program then, with
/// those that came in before forgotten.
pub(super) fn become_program(program: &CStr, argv: &[CString]) -> Errno {
    default_signals();
    match nix::unistd::execv(program, argv) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Runs neard as a child of this (single-threaded) process. It dies when this process does.
pub(super) fn spawn_neard(
    program: &OsString,
    args: &[OsString],
    socket: &OwnedFd,
) -> io::Result<Child> {
    let guard = Pid::this();
    let socket = socket.as_raw_fd();
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    // SAFETY: the guard has one thread, so its child may do anything between fork and execve.
    unsafe {
        command.pre_exec(move || {
            // First of all, so that kneard knows of us however the guard ends. The guard's end of
            // the socket stays open here until execve.
            let identity = ProcessIdentity::current()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/proc is not mounted"))?;
            let frame = FromGuard::Starting(identity).encode();
            send(socket, &frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;

            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != guard {
                // It died before the line above; nobody will tell us again.
                return Err(Errno::ESRCH.into());
            }
            // A set-user-id program or one with file capabilities would lose the line above.
            prctl::set_no_new_privs()?;
            default_signals();
            // neard goes first when memory is short. Raising the value is always permitted.
            let _ = fs::write("/proc/self/oom_score_adj", neard_oom_score());
            Ok(())
        });
    }
    command.spawn()
}

/// The value that was inherited, but not below the default.
fn neard_oom_score() -> String {
    let inherited = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    inherited.trim().parse::<i32>().unwrap_or(0).max(0).to_string()
}

/// Undoes [`ignore_signals`] and whatever else was inherited, for this process and its children.
pub(super) fn default_signals() {
    for signo in 1..=libc::SIGRTMAX() {
        // SAFETY: the default disposition installs no handler of ours. Fails, without harm, for
        // SIGKILL, SIGSTOP and the numbers that the C library keeps to itself.
        unsafe { libc::signal(signo, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Signals sent to the whole process group (a terminal's ctrl-c and ctrl-z, systemd's TERM) reach
/// kneard and neard but must not end or stop the guard, which still has to kill neard in time.
pub(super) fn ignore_signals() {
    for signo in 1..=libc::SIGRTMAX() {
        match signo {
            // An ignored SIGCHLD would let the kernel reap neard and lose its status; an ignored
            // fault would only repeat.
            libc::SIGCHLD
            | libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGILL
            | libc::SIGFPE
            | libc::SIGABRT
            | libc::SIGTRAP
            | libc::SIGSYS => {}
            // SAFETY: ignoring installs no handler of ours. Fails, without harm, for SIGKILL,
            // SIGSTOP and the numbers that the C library keeps to itself.
            _ => unsafe {
                libc::signal(signo, libc::SIG_IGN);
            },
        }
    }
}
