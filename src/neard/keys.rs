//! Key files as neard reads them, checked before neard does so with less helpful words.
//!
//! Fields and lengths as in nearcore's `core/crypto`: `ed25519:` is assumed where no type is
//! written, a secret ed25519 key is 64 bytes of which the last 32 are the public key, secp256k1
//! keys are 64 (public) and 32 (secret) bytes.

use super::config::blank_comments_in;
use serde::{Deserialize, Serialize};
use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More than any key file needs; a device or a log given by mistake is not read to its end.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// The name of a NEAR account, in the form that the protocol allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

impl AccountId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountId {
    type Error = String;

    /// 2 to 64 of `a-z 0-9 - _ .`, separators neither first, last nor doubled (NEAR
    /// specification, "Account ID rules").
    fn try_from(name: String) -> Result<Self, Self::Error> {
        let separator = |byte: &u8| matches!(byte, b'-' | b'_' | b'.');
        let bytes = name.as_bytes();
        let valid = (2..=64).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || separator(b))
            && !bytes.first().is_some_and(separator)
            && !bytes.last().is_some_and(separator)
            && !bytes.windows(2).any(|pair| pair.iter().all(separator));
        if valid { Ok(Self(name)) } else { Err(format!("{name:?} is not a NEAR account name")) }
    }
}

impl std::str::FromStr for AccountId {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.to_owned().try_into()
    }
}

impl From<AccountId> for String {
    fn from(account: AccountId) -> Self {
        account.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key in the form in which neard prints it, `<type>:<base58>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(String);

impl PublicKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key file is for, and so what it must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Signs blocks; names its account.
    ValidatorKey,
    /// A node's identity in the network; an account name in it means nothing.
    NodeKey,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ValidatorKey => "validator key",
            Self::NodeKey => "node key",
        })
    }
}

/// What is known of a key file after it was found good. The secret is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Always there for a validator key.
    pub account_id: Option<AccountId>,
    pub public_key: PublicKey,
    pub path: PathBuf,
}

/// Why a key file is refused. One line each, never with anything out of the file but names.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{kind} {}: no such file; check the path", path.display())]
    Missing { kind: KeyKind, path: PathBuf },
    #[error("{kind} {}: cannot be read: {source}", path.display())]
    Unreadable { kind: KeyKind, path: PathBuf, source: io::Error },
    #[error(
        "{kind} {}: readable or writable by others (mode {mode:04o}); run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed { kind: KeyKind, path: PathBuf, mode: u32 },
    #[error("{kind} {}: {why}; give the file that neard or near-cli wrote", path.display())]
    Malformed { kind: KeyKind, path: PathBuf, why: String },
}

impl KeyFile {
    /// Reads and checks a key file. Symlinks are followed; the mode is that of the file itself.
    ///
    /// A file that systemd put into `$CREDENTIALS_DIRECTORY` may show group-read: that bit is the
    /// mask of the access list by which systemd gives the file to the service's user, and the
    /// directory is closed to everyone else.
    ///
    /// # Errors
    /// See [`KeyError`]; nothing is changed in any case.
    pub fn load(
        path: &Path,
        kind: KeyKind,
        allow_wide_permissions: bool,
    ) -> Result<Self, KeyError> {
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::load_beside(path, kind, allow_wide_permissions, credentials.as_deref())
    }

    fn load_beside(
        path: &Path,
        kind: KeyKind,
        allow_wide_permissions: bool,
        credentials: Option<&Path>,
    ) -> Result<Self, KeyError> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { kind, path: path.to_owned() },
            _ => KeyError::Unreadable { kind, path: path.to_owned(), source },
        };
        let malformed = |why: String| KeyError::Malformed { kind, path: path.to_owned(), why };

        let metadata = path.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(malformed("not a regular file".to_owned()));
        }
        let mode = metadata.mode() & 0o7777;
        let tolerated =
            if credentials.is_some_and(|dir| path.starts_with(dir)) { 0o040 } else { 0 };
        if mode & 0o077 & !tolerated != 0 && !allow_wide_permissions {
            return Err(KeyError::Exposed { kind, path: path.to_owned(), mode });
        }

        let text = Wiped(read_limited(path).map_err(unreadable)?);
        let (public_key, account_id) = read_text(&text.0, kind).map_err(malformed)?;
        Ok(Self { account_id, public_key, path: path.to_owned() })
    }
}

/// What a key file holds. An error tells nothing out of the file but names.
pub(super) fn read_text(
    text: &[u8],
    kind: KeyKind,
) -> Result<(PublicKey, Option<AccountId>), String> {
    Fields::parse(text)?.check(kind)
}

/// Whether both files hold one and the same secret key, however they are formatted. `false` if
/// either cannot be read as a key file.
pub(super) fn same_secret(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (read_limited(one), read_limited(other)) else { return false };
    let (one, other) = (Wiped(one), Wiped(other));
    same_secret_text(&one.0, &other.0)
}

pub(super) fn same_secret_text(one: &[u8], other: &[u8]) -> bool {
    match (Fields::parse(one), Fields::parse(other)) {
        (Ok(one), Ok(other)) => {
            one.secret(KeyKind::ValidatorKey).is_some()
                && one.secret(KeyKind::ValidatorKey) == other.secret(KeyKind::ValidatorKey)
                && one.account_id == other.account_id
        }
        _ => false,
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Enough at once, so that no copy of a secret is left behind by a buffer that had to grow.
    let length = file.metadata()?.len().min(MAX_KEY_FILE);
    let mut text = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 64);
    file.take(MAX_KEY_FILE).read_to_end(&mut text)?;
    // neard allows them here, too.
    blank_comments_in(&mut text);
    Ok(text)
}

/// Bytes with a secret in them, overwritten when no longer needed.
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Keeps the compiler from leaving out a write that nobody reads.
    std::hint::black_box(bytes);
}

/// A key file's fields, borrowed from its text so that no copy of the secret is made.
#[derive(Deserialize)]
struct Fields<'a> {
    account_id: Option<&'a str>,
    public_key: Option<&'a str>,
    secret_key: Option<&'a str>,
    /// Older tools' name for `secret_key`.
    private_key: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, String> {
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err("not a JSON object".to_owned());
        }
        // The parser's own message may quote the value that it did not like.
        serde_json::from_slice(text).map_err(|error| {
            let what = if error.is_data() { "a field is not a plain string" } else { "not JSON" };
            format!("{what} (line {} column {})", error.line(), error.column())
        })
    }

    /// neard reads the older name in validator keys only (nearcore
    /// `core/crypto/src/key_file.rs` and `nearcore/src/config.rs`).
    fn secret(&self, kind: KeyKind) -> Option<&'a str> {
        match kind {
            KeyKind::ValidatorKey => self.secret_key.or(self.private_key),
            KeyKind::NodeKey => self.secret_key,
        }
    }

    fn check(&self, kind: KeyKind) -> Result<(PublicKey, Option<AccountId>), String> {
        let public = self.public_key.ok_or("no field \"public_key\"")?;
        let secret = self.secret(kind).ok_or("no field \"secret_key\"")?;
        let name = self.account_id.ok_or("no field \"account_id\"")?;
        let account_id = match kind {
            KeyKind::ValidatorKey => {
                Some(name.parse().map_err(|why| format!("account_id: {why}"))?)
            }
            // `neard init` writes "node" here, or an empty string.
            KeyKind::NodeKey => name.parse().ok(),
        };

        let (curve, public_base58) = split(public).map_err(|why| format!("public_key: {why}"))?;
        let (secret_curve, secret_base58) =
            split(secret).map_err(|why| format!("secret_key: {why}"))?;
        if curve != secret_curve {
            return Err("public_key and secret_key are of different types".to_owned());
        }
        let mut public_bytes = [0; 64];
        let public_bytes = decode(public_base58, curve.public_length(), &mut public_bytes)
            .map_err(|why| format!("public_key: {why}"))?;
        let mut secret_bytes = [0; 64];
        let matches = decode(secret_base58, curve.secret_length(), &mut secret_bytes)
            .map_err(|why| format!("secret_key: {why}"))
            .map(|secret| curve != Curve::Ed25519 || secret[32..] == *public_bytes);
        wipe(&mut secret_bytes);
        if !matches? {
            return Err("public_key does not belong to secret_key".to_owned());
        }
        Ok((PublicKey(format!("{}:{public_base58}", curve.name())), account_id))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    Ed25519,
    Secp256k1,
}

impl Curve {
    fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Secp256k1 => "secp256k1",
        }
    }

    fn public_length(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::Secp256k1 => 64,
        }
    }

    fn secret_length(self) -> usize {
        match self {
            Self::Ed25519 => 64,
            Self::Secp256k1 => 32,
        }
    }
}

fn split(key: &str) -> Result<(Curve, &str), &'static str> {
    match key.split_once(':') {
        None => Ok((Curve::Ed25519, key)),
        Some((name, data)) if name.eq_ignore_ascii_case("ed25519") => Ok((Curve::Ed25519, data)),
        Some((name, data)) if name.eq_ignore_ascii_case("secp256k1") => {
            Ok((Curve::Secp256k1, data))
        }
        Some(_) => Err("neither ed25519: nor secp256k1:"),
    }
}

fn decode<'b>(base58: &str, length: usize, into: &'b mut [u8; 64]) -> Result<&'b [u8], String> {
    let decoded = bs58::decode(base58)
        .onto(&mut into[..])
        .map_err(|_| format!("not {length} bytes in base58"))?;
    if decoded != length {
        return Err(format!("{decoded} bytes where {length} are needed"));
    }
    Ok(&into[..length])
}

#[cfg(test)]
mod tests;
