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
    let encode = |length| format!("secp256k1:{}", bs58::encode(vec![9_u8; length]).into_string());
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
    let error =
        KeyFile::load(Path::new("/nonexistent/v.json"), KeyKind::ValidatorKey, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "validator key /nonexistent/v.json: no such file; check the path"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    for mode in [0o640, 0o604, 0o620, 0o644] {
        let error = load(&good().to_string(), KeyKind::ValidatorKey, mode).unwrap_err().to_string();
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
