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
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn keypair(seed: u8) -> (String, String) {
        let mut secret = [seed; 64];
        secret[32..].fill(seed ^ 0xff);
        let encode = |bytes: &[u8]| format!("ed25519:{}", bs58::encode(bytes).into_string());
        (encode(&secret[32..]), encode(&secret))
    }

    fn good() -> serde_json::Value {
        let (public, secret) = keypair(1);
        serde_json::json!({"account_id": "node.near", "public_key": public, "secret_key": secret})
    }

    fn load(text: &str, kind: KeyKind, mode: u32) -> Result<KeyFile, KeyError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        KeyFile::load_beside(&path, kind, false, None)
    }

    fn refused(text: &str, kind: KeyKind) -> String {
        let error = load(text, kind, 0o600).unwrap_err().to_string();
        assert!(!error.contains('\n'), "more than a line: {error}");
        assert!(error.contains("key.json"), "does not name the file: {error}");
        error
    }

    #[test]
    fn a_validator_key_gives_account_and_public_key() {
        let key = load(&good().to_string(), KeyKind::ValidatorKey, 0o600).unwrap();
        assert_eq!(key.account_id.unwrap().as_str(), "node.near");
        assert_eq!(key.public_key.as_str(), keypair(1).0);
    }

    #[test]
    fn the_older_field_name_and_a_missing_type_are_read_as_neard_reads_them() {
        let (public, secret) = keypair(1);
        let text = serde_json::json!({
            "account_id": "a.near", "public_key": public.strip_prefix("ed25519:").unwrap(),
            "private_key": secret
        });
        let key = load(&text.to_string(), KeyKind::ValidatorKey, 0o400).unwrap();
        assert_eq!(key.public_key.as_str(), public.as_str());
        assert!(refused(&text.to_string(), KeyKind::NodeKey).contains("secret_key"));
    }

    #[test]
    fn comments_are_no_part_of_a_key_for_neard_allows_them() {
        let text = format!("// of 2026\n{} # a {{\n/* \" */", good());
        for kind in [KeyKind::ValidatorKey, KeyKind::NodeKey] {
            let key = load(&text, kind, 0o600).unwrap();
            assert_eq!(key.public_key.as_str(), keypair(1).0);
        }
    }

    #[test]
    fn secp256k1_lengths_are_checked() {
        let encode =
            |length| format!("secp256k1:{}", bs58::encode(vec![9_u8; length]).into_string());
        let key = |public, secret| {
            serde_json::json!({
                "account_id": "", "public_key": encode(public), "secret_key": encode(secret)
            })
            .to_string()
        };
        load(&key(64, 32), KeyKind::NodeKey, 0o600).unwrap();
        assert!(refused(&key(33, 32), KeyKind::NodeKey).contains("33 bytes where 64"));
        assert!(refused(&key(64, 31), KeyKind::NodeKey).contains("31 bytes where 32"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = KeyFile::load(Path::new("/nonexistent/v.json"), KeyKind::ValidatorKey, false)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "validator key /nonexistent/v.json: no such file; check the path"
        );
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        for mode in [0o640, 0o604, 0o620, 0o644] {
            let error =
                load(&good().to_string(), KeyKind::ValidatorKey, mode).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode {mode:04o}); run: chmod 600 /")), "{error}");
        }
    }

    #[test]
    fn wide_permissions_are_accepted_when_allowed_and_from_systemd_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("validator_key.json");
        fs::write(&path, good().to_string()).unwrap();
        let load = |mode, allow, credentials| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            KeyFile::load_beside(&path, KeyKind::ValidatorKey, allow, credentials).is_ok()
        };
        assert!(load(0o644, true, None));
        assert!(load(0o440, false, Some(dir.path())));
        assert!(!load(0o444, false, Some(dir.path())));
        assert!(!load(0o440, false, Some(Path::new("/run/credentials/other"))));
    }

    #[test]
    fn files_that_are_no_keys_are_refused_without_quoting_them() {
        let (public, secret) = keypair(1);
        let with = |field: &str, value: serde_json::Value| {
            let mut key = good();
            key[field] = value;
            key.to_string()
        };
        let without = |field: &str| {
            let mut key = good();
            key.as_object_mut().unwrap().remove(field);
            key.to_string()
        };
        let cases = [
            (String::new(), "not a JSON object"),
            (format!("\"{secret}\""), "not a JSON object"),
            ("[]".to_owned(), "not a JSON object"),
            (format!("{{\"secret_key\": \"{secret}\""), "not JSON"),
            (with("secret_key", serde_json::json!([secret])), "not a plain string"),
            (without("account_id"), "no field \"account_id\""),
            (without("public_key"), "no field \"public_key\""),
            (without("secret_key"), "no field \"secret_key\""),
            (with("account_id", "Not A Name".into()), "is not a NEAR account name"),
            (with("public_key", keypair(2).0.into()), "does not belong to secret_key"),
            (with("public_key", "rsa:abc".into()), "public_key: neither ed25519"),
            (with("secret_key", "ed25519:0OIl".into()), "secret_key: not 64 bytes in base58"),
            (with("secret_key", public.into()), "secret_key: 32 bytes where 64"),
        ];
        for (text, expected) in cases {
            let error = refused(&text, KeyKind::ValidatorKey);
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
            assert!(!error.contains(&secret[8..]), "the secret is in {error:?}");
        }
    }

    #[test]
    fn a_directory_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let error = KeyFile::load(dir.path(), KeyKind::NodeKey, true).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }

    #[test]
    fn copies_are_recognised_whatever_their_formatting() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let one = write("one", good().to_string());
        let copy = write("copy", serde_json::to_string_pretty(&good()).unwrap());
        let mut other = good();
        other["secret_key"] = keypair(2).1.into();
        let other = write("other", other.to_string());
        assert!(same_secret(&one, &copy));
        assert!(!same_secret(&one, &other));
        assert!(!same_secret(&one, &write("none", "{}".to_owned())));
        assert!(!same_secret(&write("x", "{}".to_owned()), &write("y", "{}".to_owned())));
    }

    #[test]
    fn account_names_follow_the_protocol() {
        for good in ["ab", "node.near", "a-b_c.d", &"a".repeat(64)] {
            assert!(good.parse::<AccountId>().is_ok(), "{good}");
        }
        for bad in ["", "a", "A.near", ".near", "near.", "a..b", "a_-b", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }
}
