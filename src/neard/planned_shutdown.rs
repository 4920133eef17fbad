//! A note of what kneard has changed in `config.json` for a planned end of neard, to undo it after
//! a crash too.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic_file;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlannedShutdown {
    /// What `expected_shutdown` was set to.
    pub height: u64,
    /// Its value before, as it was written; `None`: there was none.
    pub before: Option<String>,
}

impl PlannedShutdown {
    pub const NAME: &str = "kneard-planned-shutdown.json";

    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        atomic_file::write(path, &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// # Errors
    /// Not there, not readable, or not what [`PlannedShutdown::write`] writes.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::from)
    }
}
