//! A few heavy tests at a time, across test processes too: they mostly wait, but two cores cannot
//! carry any number of chains and keep the times that are promised.

use std::{fs::File, thread};

use nix::fcntl::Flock;

use super::{binaries, lock::try_lock, wait::millis};

/// Heavy tests that run at the same time.
const AT_ONCE: usize = 3;

pub struct Turn(#[allow(dead_code, reason = "held for its lock")] Flock<File>);

/// Waits for its turn; the turn ends when the value is dropped.
pub fn turn() -> Turn {
    loop {
        if let Some(lock) = (0..AT_ONCE).find_map(place) {
            return Turn(lock);
        }
        thread::sleep(millis(50));
    }
}

fn place(number: usize) -> Option<Flock<File>> {
    try_lock(&binaries::directory().join(format!("heavy-test-{number}.lock")))
}
