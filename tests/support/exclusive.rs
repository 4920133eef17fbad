//! One heavy test at a time, across test processes too: two cores cannot carry two chains and
//! keep the times that are promised.

use std::fs::File;

use nix::fcntl::{Flock, FlockArg};

use super::binaries;

pub struct Exclusive(#[allow(dead_code, reason = "held for its lock")] Flock<File>);

/// Waits for its turn; the turn ends when the value is dropped.
pub fn exclusive() -> Exclusive {
    let path = binaries::directory().join("heavy-test.lock");
    let file = File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Exclusive(Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, e)| panic!("{e}")))
}
