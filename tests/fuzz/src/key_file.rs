//! Key files: read or refused, and a refusal says nothing of the secret.

use kneard::fuzzing::neard::{key_file, same_secret};
use kneard::neard::keys::KeyKind;
use serde_json::Value;

pub fn run(data: &[u8]) {
    for kind in [KeyKind::ValidatorKey, KeyKind::NodeKey] {
        match key_file(data, kind) {
            Ok((public_key, account)) => {
                let (curve, base58) = public_key.as_str().split_once(':').expect("a type");
                assert!(["ed25519", "secp256k1"].contains(&curve), "{curve}");
                assert!(base58.chars().all(|c| c.is_ascii_alphanumeric()), "{base58}");
                assert!(account.is_some() || kind == KeyKind::NodeKey);
                if let Some(account) = account {
                    assert_eq!(account.as_str().parse(), Ok(account.clone()));
                }
                if let Ok(value) = serde_json::from_slice::<Value>(data) {
                    assert!(value["secret_key"].is_string() || value["private_key"].is_string());
                }
                if kind == KeyKind::ValidatorKey {
                    assert!(same_secret(data, data));
                }
            }
            Err(why) => {
                super::assert_one_line(&why);
                assert_keeps_the_secret(data, &why);
            }
        }
    }
    let half = data.len() / 2;
    assert_eq!(
        same_secret(&data[..half], &data[half..]),
        same_secret(&data[half..], &data[..half])
    );
}

/// A piece of eight characters is more than chance.
fn assert_keeps_the_secret(data: &[u8], why: &str) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    for field in ["secret_key", "private_key"] {
        let Some(secret) = value[field].as_str() else { continue };
        let elsewhere = |piece: &str| {
            // The account's name is told, and a message has words of its own.
            value["account_id"].as_str().is_some_and(|name| name.contains(piece))
                || piece.contains([' ', ':'])
                || "public_key secret_key account_id secp256k1 different".contains(piece)
        };
        let chars: Vec<char> = secret.chars().collect();
        for piece in chars.windows(8).map(|piece| piece.iter().collect::<String>()) {
            assert!(!why.contains(&piece) || elsewhere(&piece), "{why:?} tells {piece:?}");
        }
    }
}
