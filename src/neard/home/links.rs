//! The keys in a home: links to where the operator has them.

use super::{Home, HomeError, io_error, remove_if_there, sync_directory};
use crate::neard::keys::{self, KeyError, KeyKind};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

impl Home {
    /// The absolute path of a configured key, which must be there and must not be the name in the
    /// home that is going to point to it.
    pub(super) fn key_source(
        &self,
        kind: KeyKind,
        key: &Path,
        name: &str,
    ) -> Result<PathBuf, HomeError> {
        let path = std::path::absolute(key).map_err(io_error("find", key))?;
        let in_home = self.path.join(name);
        let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
        let resolved = fs::canonicalize(&path);
        if folder.zip(path.file_name()).is_some_and(|(folder, file)| folder.join(file) == in_home)
            || resolved.as_ref().is_ok_and(|resolved| *resolved == in_home)
        {
            return Err(HomeError::KeyInPlace { kind, path });
        }
        match resolved {
            Ok(_) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(KeyError::Missing { kind, path }.into())
            }
            Err(source) => Err(KeyError::Unreadable { kind, path, source }.into()),
        }
    }

    /// Whether nothing is lost when the validator key `name` in the home is removed.
    pub(super) fn check_replaceable(&self, name: &str, configured: &Path) -> Result<(), HomeError> {
        let in_home = self.path.join(name);
        match fs::symlink_metadata(&in_home) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(io_error("examine", &in_home)(source)),
            Ok(metadata) if metadata.is_symlink() => Ok(()),
            Ok(metadata) if metadata.is_file() && keys::same_secret(&in_home, configured) => Ok(()),
            Ok(_) => Err(HomeError::ForeignKey { in_home, configured: configured.to_owned() }),
        }
    }

    /// Renames a node key file of the home's own, if it is not a copy of the configured one.
    pub(super) fn save_own_node_key(&self, name: &str, configured: &Path) -> Result<(), HomeError> {
        let in_home = self.path.join(name);
        let own = fs::symlink_metadata(&in_home).is_ok_and(|metadata| !metadata.is_symlink());
        if !own || keys::same_secret(&in_home, configured) {
            return Ok(());
        }
        let mut saved = self.path.join(format!("{name}.saved"));
        for number in 2.. {
            if fs::symlink_metadata(&saved).is_err() {
                break;
            }
            saved = self.path.join(format!("{name}.saved-{number}"));
        }
        fs::rename(&in_home, &saved).map_err(io_error("rename", &in_home))
    }

    /// Makes `name` in the home a symlink to `source`, in one step.
    pub(super) fn link(&self, name: &str, source: &Path) -> Result<(), HomeError> {
        let link = self.path.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == source) {
            return Ok(());
        }
        let new = self.new_name(name);
        remove_if_there(&new)?;
        symlink(source, &new).map_err(io_error("create", &new))?;
        fs::rename(&new, &link).map_err(io_error("replace", &link))?;
        sync_directory(&self.path)
    }

    /// Removes a key from the home for certain, with what an interrupted [`Self::link`] left.
    pub(super) fn unlink(&self, name: &str) -> Result<(), HomeError> {
        remove_if_there(&self.path.join(name))?;
        remove_if_there(&self.new_name(name))?;
        sync_directory(&self.path)
    }

    fn new_name(&self, name: &str) -> PathBuf {
        self.path.join(format!(".{name}.new"))
    }
}
