//! The ACL token: read from its file at start and on request, never shown.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use reqwest::header::HeaderValue;

use super::error::{Error, Kind};

/// The token of a file, if one is configured.
pub(super) struct Token {
    file: Option<PathBuf>,
    value: RwLock<Option<HeaderValue>>,
}

impl Token {
    pub(super) fn read(file: Option<PathBuf>) -> Result<Self, Error> {
        let token = Self { file, value: RwLock::new(None) };
        token.reload()?;
        Ok(token)
    }

    /// Read the file again. An error leaves the token as it was.
    pub(super) fn reload(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let invalid = |what: String| Error {
            address: format!("consul token file {}", file.display()),
            what,
            kind: Kind::Invalid,
        };
        let text = fs::read_to_string(file)
            .map_err(|error| invalid(format!("cannot be read: {error}")))?;
        let text = text.trim();
        if text.is_empty() {
            return Err(invalid("is empty; write the token's secret id into it".to_owned()));
        }
        let mut value = HeaderValue::from_str(text)
            .ok()
            .filter(|_| !text.contains(char::is_whitespace))
            .ok_or_else(|| invalid("must hold one token and nothing else".to_owned()))?;
        value.set_sensitive(true);
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}
