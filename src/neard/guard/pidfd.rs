//! A file descriptor that stands for one process (pidfd_open(2)): signals through it can never
//! reach another process that was given the same number, and it becomes readable when the process
//! has exited with all its threads.
#![allow(unsafe_code)]

use super::client::NeardStatus;
use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// # Errors
    /// `ESRCH` if there is no such process, `ENOSYS` before Linux 5.3.
    pub fn open(pid: i32) -> Result<Self, Errno> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just given us this descriptor (close-on-exec); nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// For waiting without blocking: readable once the process has exited. Within a runtime only.
    ///
    /// # Errors
    /// The runtime cannot take one more descriptor.
    pub fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: we own the descriptor, and nothing in this type closes or changes it before it
        // is dropped with the `AsyncFd`.
        unsafe { AsyncFd::register(self) }.map_err(io::Error::from)
    }

    /// Sends `signo`; 0 only checks that it could be sent.
    ///
    /// # Errors
    /// `ESRCH` once the process has been reaped; `EPERM`, `EINVAL` as in kill(2).
    pub fn signal(&self, signo: i32) -> Result<(), Errno> {
        // SAFETY: a null siginfo is allowed and means what kill(2) would send; no other pointers.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signo,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        Errno::result(result).map(drop)
    }

    /// Reaps the process if it is a child of ours and has exited; `None` while it runs.
    ///
    /// # Errors
    /// `ECHILD` if it is no child of ours (any more): somebody else has reaped it or will.
    pub fn try_reap(&self) -> Result<Option<NeardStatus>, Errno> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        loop {
            return match waitid(Id::PIDFd(self.0.as_fd()), flags) {
                Ok(WaitStatus::Exited(_, code)) => Ok(Some(NeardStatus::Code(code))),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    Ok(Some(NeardStatus::Signal(signal as i32)))
                }
                Ok(_) => Ok(None),
                Err(Errno::EINTR) => continue,
                // Reaped, but nix has no name for what it died of (a real-time signal).
                Err(Errno::EINVAL) => Ok(Some(NeardStatus::Unknown)),
                Err(errno) => Err(errno),
            };
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
