//! Ed25519 keys as NEAR writes them, and key files.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::strip_comments;

const PREFIX: &str = "ed25519:";

/// An ed25519 public key, `ed25519:<base58>` in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// An ed25519 signature, `ed25519:<base58>` in text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl PublicKey {
    /// Whether `signature` is this key's signature of `message`.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, &signature.0).is_ok()
    }

    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

macro_rules! base58_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{PREFIX}{}", bs58::encode(self.0).into_string())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

base58_text!(PublicKey);
base58_text!(Signature);

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        match s.strip_prefix(PREFIX).map(|s| bs58::decode(s).onto(&mut bytes)) {
            Some(Ok(32)) => Ok(Self(bytes)),
            _ => Err(format!("`{s}` is not an ed25519 public key")),
        }
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

/// Between stand-ins and on disk signatures are hexadecimal: base58 of 64 bytes costs more
/// than all the rest of a message.
impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(128);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        s.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let digits = digits.filter(|digits| digits.len() == 128);
        let digits = digits.ok_or_else(|| de::Error::custom("not a signature"))?;
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl Signature {
    /// The signature's 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An ed25519 key pair.
pub struct SecretKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public())
    }
}

impl SecretKey {
    fn from_bytes(seed: [u8; 32]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| e.to_string())?;
        Ok(Self { seed, pair })
    }

    /// A new key from the system's randomness.
    pub fn random() -> Result<Self, String> {
        Self::from_bytes(random_bytes()?)
    }

    /// The key that nearcore derives from a test seed: the seed's bytes, padded with spaces.
    pub fn from_test_seed(seed: &str) -> Result<Self, String> {
        let mut bytes = [b' '; 32];
        for (to, from) in bytes.iter_mut().zip(seed.bytes()) {
            *to = from;
        }
        Self::from_bytes(bytes)
    }

    /// Reads `ed25519:<base58 of the seed and the public key>`.
    ///
    /// # Errors
    /// When the text is not 64 bytes of base58, or its two halves do not belong together.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 64];
        match text.strip_prefix(PREFIX).map(|s| bs58::decode(s).onto(&mut bytes)) {
            Some(Ok(64)) => {}
            _ => return Err("not an ed25519 secret key".to_owned()),
        }
        let (seed, public) = bytes.split_at(32);
        let mut seed_bytes = [0; 32];
        seed_bytes.copy_from_slice(seed);
        let key = Self::from_bytes(seed_bytes)?;
        if key.public().0 != public {
            return Err("the secret key's public half does not match".to_owned());
        }
        Ok(key)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Signature(bytes)
    }

    fn to_text(&self) -> String {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.seed);
        bytes[32..].copy_from_slice(&self.public().0);
        format!("{PREFIX}{}", bs58::encode(bytes).into_string())
    }
}

/// 32 random bytes.
pub fn random_bytes() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "no randomness from the system".to_owned())?;
    Ok(bytes)
}

/// A key file: account, public key and secret key.
#[derive(Debug)]
pub struct KeyFile {
    pub account_id: String,
    pub key: SecretKey,
}

#[derive(Serialize, Deserialize)]
struct KeyFileText {
    account_id: String,
    public_key: PublicKey,
    // Older tools of NEAR write `private_key`.
    #[serde(alias = "private_key")]
    secret_key: String,
}

impl KeyFile {
    /// Reads a key file; links are followed.
    ///
    /// # Errors
    /// One line that says what is wrong with the content; it never quotes the secret.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let file: KeyFileText =
            serde_json::from_str(&strip_comments(&text)).map_err(|e| e.to_string())?;
        let key = SecretKey::parse(&file.secret_key)?;
        if key.public() != file.public_key {
            return Err("the public key does not belong to the secret key".to_owned());
        }
        Ok(Self { account_id: file.account_id, key })
    }

    /// Writes the file, readable by its owner alone, as nearcore does.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = KeyFileText {
            account_id: self.account_id.clone(),
            public_key: self.key.public(),
            secret_key: self.key.to_text(),
        };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(serde_json::to_string_pretty(&text)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn test_seeds_give_the_keys_that_nearcore_gives() {
        // The key of `node0` in every localnet of nearcore.
        let key = SecretKey::from_test_seed("node0").unwrap();
        assert_eq!(
            key.public().to_string(),
            "ed25519:7PGseFbWxvYVgZ89K1uTJKYoKetWs7BJtbyXDzfbAcqX"
        );
    }

    #[test]
    fn a_key_file_survives_a_round_trip_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("validator_key.json");
        let key = SecretKey::random().unwrap();
        let public = key.public();
        KeyFile { account_id: "a.near".into(), key }.write(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = KeyFile::load(&path).unwrap();
        assert_eq!((read.account_id.as_str(), read.key.public()), ("a.near", public));
    }

    #[test]
    fn a_key_file_with_halves_of_two_keys_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.json");
        let text = KeyFileText {
            account_id: "a".into(),
            public_key: SecretKey::random().unwrap().public(),
            secret_key: SecretKey::random().unwrap().to_text(),
        };
        fs::write(&path, serde_json::to_string(&text).unwrap()).unwrap();
        assert!(KeyFile::load(&path).unwrap_err().contains("does not belong"));
    }

    #[test]
    fn a_signature_is_verified_against_its_message_and_key() {
        let key = SecretKey::random().unwrap();
        let signature = key.sign(b"block");
        assert!(key.public().verifies(b"block", &signature));
        assert!(!key.public().verifies(b"other", &signature));
        assert!(!SecretKey::random().unwrap().public().verifies(b"block", &signature));
    }
}
