//! What neard reads at its start and again at SIGHUP, with nearcore's rules.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, strip_comments};
use crate::keys::KeyFile;
use crate::{info, warn};

/// The file that sets the log's filter; the stand-in checks that it can be read.
pub const LOG_CONFIG_FILE: &str = "log_config.json";
/// The node's configuration.
pub const CONFIG_FILE: &str = "config.json";

/// What a reload may change.
#[derive(Debug)]
pub struct Dynamic {
    pub expected_shutdown: Option<u64>,
    /// `None` when there is no key file: an unload, not an error.
    pub key: Option<KeyFile>,
}

/// Reads `config.json`, `log_config.json` and the validator key file.
///
/// # Errors
/// When any of the three is invalid; then nothing may change. The list is logged here, as
/// nearcore does it.
pub fn read(home: &Path) -> Result<Dynamic, String> {
    let mut errors = Vec::new();
    if let Err(e) = read_log_config(&home.join(LOG_CONFIG_FILE)) {
        errors.push(e);
    }
    let mut dynamic = Dynamic { expected_shutdown: None, key: None };
    match Config::load(&home.join(CONFIG_FILE)) {
        Ok(config) => {
            dynamic.expected_shutdown = config.expected_shutdown;
            let file = home.join(&config.validator_key_file);
            match load_validator_key(&file) {
                Ok(Some(key)) => {
                    info!("neard", "Hot loading validator key {}.", file.display());
                    dynamic.key = Some(key);
                }
                Ok(None) => info!("neard", "No validator key {}.", file.display()),
                Err(e) => {
                    errors.push(format!("ValidatorKeyFileError {{ file: {file:?}, err: {e} }}"))
                }
            }
        }
        Err(e) => errors.push(format!("ConfigFileError {{ file: \"{CONFIG_FILE}\", err: {e} }}")),
    }
    if errors.is_empty() {
        return Ok(dynamic);
    }
    let errors = errors.join(", ");
    warn!(
        "neard",
        "Dynamically updatable configs are not valid. Please fix this ASAP otherwise the node \
         will be unable to restart: [{errors}]"
    );
    Err(errors)
}

/// Reads the validator key; a missing file is no key. Links are followed, and one that leads
/// nowhere counts as missing, as in nearcore.
///
/// # Errors
/// In nearcore's words: why the file is wrong is not said.
pub fn load_validator_key(file: &Path) -> Result<Option<KeyFile>, String> {
    if !file.exists() {
        return Ok(None);
    }
    KeyFile::load(file)
        .map(Some)
        .map_err(|_| format!("Failed initializing validator signer from {}", file.display()))
}

fn read_log_config(path: &PathBuf) -> Result<(), String> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let value: serde_json::Value = serde_json::from_str(&strip_comments(&text))
                .map_err(|e| format!("Parse {{ file: {path:?}, err: {e} }}"))?;
            if value.is_object() { Ok(()) } else { Err(format!("Parse {{ file: {path:?} }}")) }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            info!("neard", "Reset the config {path:?} because the config file doesn't exist.");
            Ok(())
        }
        Err(e) => Err(format!("OpenAndRead {{ file: {path:?}, err: {e} }}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn home() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG_FILE), r#"{"expected_shutdown": 9}"#).unwrap();
        dir
    }

    fn write_key(path: &Path) {
        let key = SecretKey::random().unwrap();
        KeyFile { account_id: "a".into(), key }.write(path).unwrap();
    }

    #[test]
    fn a_key_that_appears_is_read_through_a_link_and_one_that_is_gone_is_none() {
        let dir = home();
        write_key(&dir.path().join("elsewhere.json"));
        let link = dir.path().join("validator_key.json");
        assert!(read(dir.path()).unwrap().key.is_none());
        std::os::unix::fs::symlink(dir.path().join("elsewhere.json"), &link).unwrap();
        let dynamic = read(dir.path()).unwrap();
        assert_eq!(dynamic.expected_shutdown, Some(9));
        assert_eq!(dynamic.key.unwrap().account_id, "a");
        fs::remove_file(dir.path().join("elsewhere.json")).unwrap();
        assert!(read(dir.path()).unwrap().key.is_none());
    }

    #[test]
    fn any_invalid_file_makes_the_whole_reload_invalid() {
        for (file, content) in
            [(CONFIG_FILE, "{"), (LOG_CONFIG_FILE, "[]"), ("validator_key.json", "{}")]
        {
            let dir = home();
            write_key(&dir.path().join("validator_key.json"));
            fs::write(dir.path().join(file), content).unwrap();
            assert!(read(dir.path()).unwrap_err().contains(file), "{file}");
        }
    }
}
