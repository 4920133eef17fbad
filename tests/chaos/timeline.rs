//! What happened when: printed as it happens if so wanted, and kept in a file.

use std::{fmt::Display, fs::File, io::Write, path::Path, sync::Mutex, time::Duration};

use crate::support::wait::boot_time;

pub struct Timeline {
    start: Duration,
    file: Mutex<File>,
    live: bool,
}

impl Timeline {
    pub fn new(directory: &Path, live: bool) -> Self {
        let file = File::create(directory.join("timeline.txt")).unwrap();
        Self { start: boot_time(), file: Mutex::new(file), live }
    }

    pub fn note(&self, text: impl Display) {
        let now = boot_time();
        let at = now.saturating_sub(self.start).as_secs_f64();
        // The boot time too: the signature logs have it.
        let line = format!("{at:9.3} s ({:.3})  {text}", now.as_secs_f64());
        let mut file = self.file.lock().unwrap();
        let _ = writeln!(file, "{line}");
        if self.live {
            eprintln!("{line}");
        }
    }
}
