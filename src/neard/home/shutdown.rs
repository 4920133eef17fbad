//! The height at which a neard that runs is to end, in its `config.json`.

use super::{Home, HomeError, io_error, remove_if_there};
use crate::neard::config;
use crate::neard::planned_shutdown::PlannedShutdown;
use std::io;
use std::path::PathBuf;

impl Home {
    /// Sets the height at which a neard that runs ends by itself, once it has reloaded its
    /// configuration. Undone by [`Home::cancel_shutdown`], and before the next start: one that is
    /// left behind would end that neard at once.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub fn plan_shutdown(&self, height: u64) -> Result<(), HomeError> {
        let _editing = self.editing();
        self.forget_shutdown()?;
        let (_, text) = self.read_config()?;
        let (edited, before) =
            config::with_shutdown(&text, height).map_err(|why| self.config_error(why))?;
        let note = self.shutdown_note();
        // First: what is noted and not done yet is as easily undone.
        PlannedShutdown { height, before }.write(&note).map_err(io_error("write", &note))?;
        self.write_config(&edited)
    }

    /// Undoes [`Home::plan_shutdown`], also that of an earlier kneard. A height that somebody else
    /// has written since stays. Fine if there is nothing to undo.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub fn cancel_shutdown(&self) -> Result<(), HomeError> {
        let _editing = self.editing();
        self.forget_shutdown()
    }

    pub(super) fn forget_shutdown(&self) -> Result<(), HomeError> {
        let note = self.shutdown_note();
        let planned = match PlannedShutdown::read(&note) {
            Ok(planned) => planned,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(io_error("read", &note)(source)),
        };
        let (_, text) = self.read_config()?;
        let edited = config::without_shutdown(&text, planned.height, planned.before.as_deref())
            .map_err(|why| self.config_error(why))?;
        if edited != text {
            self.write_config(&edited)?;
        }
        remove_if_there(&note)
    }

    fn shutdown_note(&self) -> PathBuf {
        // Beside what it is about, so that neither outlives the other.
        self.path.join(PlannedShutdown::NAME)
    }
}
