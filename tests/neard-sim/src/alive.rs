//! The stamp that says when a process that held a key was last seen running.
//!
//! SIGKILL leaves no time for a last word. So a thread of its own writes the boot time into
//! `signatures.alive` every few milliseconds while a key is loaded. The page cache outlives the
//! process, hence the last stamp does too.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock;

/// The file's name in the home.
pub const FILE: &str = "signatures.alive";
/// How often the stamp is renewed. A killed process lived at most about this long after its
/// last stamp, and [`crate::check`] adds it to be on the safe side.
pub const PERIOD: Duration = Duration::from_millis(5);

const MAGIC: [u8; 8] = *b"alive-1\n";
const LENGTH: usize = 32;
const STAMP_AT: u64 = 24;

/// What `signatures.alive` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub pid: u32,
    /// Boot time at which the process began, in nanoseconds; with the pid it names the run.
    pub started: u64,
    /// Boot time of the last stamp, in nanoseconds; 0 while no key is loaded.
    pub last: u64,
}

impl Stamp {
    /// Reads the stamp of a home; `None` when there is none or it was never completed.
    pub fn read(home: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(home.join(FILE)) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        if bytes.len() != LENGTH || bytes[..8] != MAGIC {
            return Ok(None);
        }
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Ok(Some(Self { pid: word(8) as u32, started: word(16), last: word(24) }))
    }
}

/// Keeps the stamp of this process.
#[derive(Debug)]
pub struct Alive {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: File,
    held: Mutex<bool>,
    changed: Condvar,
}

impl Alive {
    /// Begins a new stamp file for this process and starts the thread that keeps it.
    pub fn start(home: &Path, pid: u32, started: u64) -> io::Result<Self> {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&u64::from(pid).to_le_bytes());
        bytes[16..24].copy_from_slice(&started.to_le_bytes());
        let new = home.join(format!("{FILE}.new"));
        fs::write(&new, bytes)?;
        // Renamed into place: a reader never finds half a header.
        let file = File::options().write(true).open(&new)?;
        fs::rename(&new, home.join(FILE))?;
        let shared = Arc::new(Shared { file, held: Mutex::new(false), changed: Condvar::new() });
        let keeper = Arc::clone(&shared);
        thread::Builder::new()
            .name("alive".into())
            .stack_size(64 * 1024)
            .spawn(move || keeper.keep())?;
        Ok(Self { shared })
    }

    /// From now on a key is in memory. Call it before the key can be used.
    pub fn hold(&self) {
        self.shared.stamp(clock::boot_ns());
        self.set(true);
    }

    /// The key is out of memory. Call it after that is so.
    pub fn let_go(&self) {
        let mut held = self.shared.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = false;
        // Under the lock: the keeper cannot put a stamp behind this one.
        self.shared.stamp(0);
    }

    fn set(&self, value: bool) {
        *self.shared.held.lock().unwrap_or_else(PoisonError::into_inner) = value;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn stamp(&self, now: u64) {
        if let Err(e) = self.file.write_all_at(&now.to_le_bytes(), STAMP_AT) {
            // Without the stamp nobody could tell how long this process lived.
            crate::log::die(file!(), format_args!("{FILE} cannot be written: {e}"));
        }
    }

    fn keep(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if *held {
                self.stamp(clock::boot_ns());
                let waited = self.changed.wait_timeout(held, PERIOD);
                held = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                held = self.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_stamp_moves_while_a_key_is_held_and_is_gone_after() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Alive::start(dir.path(), 7, 99).unwrap();
        let read = || Stamp::read(dir.path()).unwrap().unwrap();
        assert_eq!(read(), Stamp { pid: 7, started: 99, last: 0 });
        alive.hold();
        let first = read().last;
        assert!(first > 0);
        let deadline = Instant::now() + Duration::from_secs(5);
        while read().last == first {
            assert!(Instant::now() < deadline, "the stamp did not move");
            thread::yield_now();
        }
        alive.let_go();
        assert_eq!(read().last, 0);
    }

    #[test]
    fn a_home_without_a_stamp_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Stamp::read(dir.path()).unwrap(), None);
        fs::write(dir.path().join(FILE), b"half").unwrap();
        assert_eq!(Stamp::read(dir.path()).unwrap(), None);
    }
}
