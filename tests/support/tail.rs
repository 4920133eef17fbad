//! The newest signature of a home, while its log grows.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;

use super::signatures::SIGNATURES;

pub struct Tail {
    log: PathBuf,
    offset: u64,
    newest: Option<Duration>,
}

impl Tail {
    pub fn new(log: PathBuf) -> Self {
        Self { log, offset: 0, newest: None }
    }

    /// When this home last signed, in boot time.
    pub fn newest(&mut self) -> Option<Duration> {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            let _ = file.seek(SeekFrom::Start(self.offset));
            let _ = file.read_to_end(&mut text);
        }
        // Whole lines only; the rest is read the next time.
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        for line in text[..whole].split(|b| *b == b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
            if SIGNATURES.contains(&line["event"].as_str().unwrap_or("")) {
                self.newest = line["t"].as_u64().map(Duration::from_nanos).max(self.newest);
            }
        }
        self.newest
    }
}
