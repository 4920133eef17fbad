//! Faults on demand: what a neard can do wrong, by environment or by a file that is re-read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::keys::PublicKey;

/// The environment variable with the faults, as JSON.
pub const ENV: &str = "NEARD_SIM_FAULTS";
/// The file in the home with the faults; while it is there it counts instead of the variable.
pub const FILE: &str = "faults.json";

/// What `/status` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusFault {
    /// The request is taken and never answered.
    Hang,
    /// The answer is HTTP 500.
    Fail,
}

/// What SIGHUP does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadFault {
    /// Nothing at all.
    Broken,
    /// Nothing, and the version is that of a neard before hot reloads.
    Unsupported,
    /// The next one is lost, all others are obeyed.
    LoseOne,
}

/// The faults in force. README.md describes each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    pub start_ms: Option<u64>,
    pub exit_at_start: Option<i32>,
    pub never_synced: bool,
    pub in_sync_without_peers: bool,
    pub status: Option<StatusFault>,
    pub report_key: Option<PublicKey>,
    pub ignore_term: bool,
    pub stop_ms: Option<u64>,
    pub sign_after_term_ms: Option<u64>,
    pub crash_at: Option<u64>,
    pub reload: Option<ReloadFault>,
    pub reload_ms: u64,
}

impl Faults {
    fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }
}

/// Where the faults come from, and what they were when last read.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    env: Faults,
    seen: Option<(u64, i64, i64, u64)>,
    pub now: Faults,
}

impl Source {
    /// Reads the environment variable and the file of `home`.
    ///
    /// # Errors
    /// One line that names the variable or the file.
    pub fn open(home: &Path) -> Result<Self, String> {
        let env = match std::env::var(ENV) {
            Ok(text) if !text.trim().is_empty() => {
                Faults::parse(&text).map_err(|e| format!("{ENV}: {e}"))?
            }
            _ => Faults::default(),
        };
        let mut source = Self { file: home.join(FILE), now: env.clone(), env, seen: None };
        source.refresh()?;
        Ok(source)
    }

    /// Reads the file again if it changed; says whether it did.
    ///
    /// # Errors
    /// One line that names the file; the former faults stay in force.
    pub fn refresh(&mut self) -> Result<bool, String> {
        let meta = fs::metadata(&self.file).ok();
        let seen = meta.map(|m| (m.ino(), m.mtime(), m.mtime_nsec(), m.size()));
        if seen == self.seen {
            return Ok(false);
        }
        self.seen = seen;
        self.now = match fs::read_to_string(&self.file) {
            Ok(text) => {
                Faults::parse(&text).map_err(|e| format!("{}: {e}", self.file.display()))?
            }
            Err(_) => self.env.clone(),
        };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_again_when_it_changes_and_its_end_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source::open(dir.path()).unwrap();
        assert!(!source.refresh().unwrap());
        fs::write(dir.path().join(FILE), r#"{"status": "hang", "stop_ms": 5}"#).unwrap();
        assert!(source.refresh().unwrap());
        assert_eq!(source.now.status, Some(StatusFault::Hang));
        assert_eq!(source.now.stop_ms, Some(5));
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(source.refresh().unwrap());
        assert_eq!(source.now, Faults::default());
    }

    #[test]
    fn a_misspelt_fault_is_an_error_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source::open(dir.path()).unwrap();
        fs::write(dir.path().join(FILE), r#"{"statuss": "hang"}"#).unwrap();
        assert!(source.refresh().unwrap_err().contains("statuss"));
        assert_eq!(source.now, Faults::default());
    }
}
