//! One kneard per neard home: an exclusive flock(2) on the home directory.
//!
//! The lock belongs to the open directory, which the guard and neard inherit. It is free only when
//! kneard, guard and neard are all dead, so a new kneard cannot start a second neard on the home of
//! a first that is left over.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::libc;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// The lock on a home; free when the last copy, and the last process that inherited it, is gone.
#[derive(Clone, Debug)]
pub struct HomeLock(Arc<File>);

impl HomeLock {
    /// Takes the lock, `None` if another process holds it.
    ///
    /// # Errors
    /// The directory cannot be opened, or its file system has no locks.
    pub fn try_take(home: &Path) -> io::Result<Option<Self>> {
        let directory =
            fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(home)?;
        loop {
            // SAFETY: a descriptor that we own and a constant; no memory is involved. (The
            // wrapper in nix unlocks when dropped, which would take the lock from a neard that
            // inherited it.)
            let result =
                unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
            return match Errno::result(result) {
                Ok(_) => Ok(Some(Self(Arc::new(directory)))),
                Err(Errno::EWOULDBLOCK) => Ok(None),
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }
}

impl AsFd for HomeLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who has the home directory open, as `name (pid)`, comma separated: the holders of the lock, as
/// far as this user may see them.
pub(super) fn holders(home: &Path) -> String {
    let Ok(home) = fs::canonicalize(home) else { return String::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return String::new() };
    let own = std::process::id();
    let mut holders: Vec<String> = processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && has_open(*pid, &home))
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} ({pid})", name.trim())
        })
        .collect();
    holders.sort();
    holders.join(", ")
}

fn has_open(pid: u32, path: &Path) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
}
