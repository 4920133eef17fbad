//! Locks between test processes; the kernel frees them when a process ends.

use std::{fs::File, path::Path};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// The lock on this file, which is made if it is not there; none while another process has it.
pub fn try_lock(path: &Path) -> Option<Flock<File>> {
    let file = File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Some(lock),
        Err((_, Errno::EWOULDBLOCK)) => None,
        Err((_, e)) => panic!("{}: {e}", path.display()),
    }
}
