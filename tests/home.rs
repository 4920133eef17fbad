//! neard's home as it is prepared for each start: the passive node never has the validator key,
//! the active one has what the tutorial shows, and bad input changes nothing.

use kneard::neard::home::{Home, HomeError, Role};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CONFIG: &str = r#"{
  "genesis_file": "genesis.json",
  "rpc": { "addr": "0.0.0.0:3030" },
  "network": { "addr": "0.0.0.0:1", "boot_nodes": "" },
  "gas_limit": 1000000000000000000000
}
"#;

/// A home and, beside it, the keys of the operator.
struct Scene(TempDir);

fn key(seed: u8) -> String {
    let mut secret = [seed; 64];
    secret[32..].fill(seed + 100);
    let encode = |bytes: &[u8]| format!("ed25519:{}", bs58::encode(bytes).into_string());
    format!(
        r#"{{"account_id":"node3","public_key":"{}","secret_key":"{}"}}"#,
        encode(&secret[32..]),
        encode(&secret)
    )
}

impl Scene {
    fn new() -> Self {
        Self::with_config(CONFIG)
    }

    fn with_config(config: &str) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.home()).unwrap();
        fs::write(scene.in_home("config.json"), config).unwrap();
        for (name, seed) in [("validator", 1), ("validator_node", 2), ("voter_node", 3)] {
            fs::write(scene.key(name), key(seed)).unwrap();
        }
        scene
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    fn in_home(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    fn key(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}_key.json"))
    }

    fn standby(&self) -> Role {
        Role::Standby {
            validator_key: self.key("validator"),
            node_key: Some(self.key("voter_node")),
            network_addr: "0.0.0.0:24568".parse().unwrap(),
            public_address: None,
        }
    }

    fn validator(&self, public_address: Option<&str>) -> Role {
        Role::Validator {
            validator_key: self.key("validator"),
            node_key: Some(self.key("validator_node")),
            network_addr: "0.0.0.0:24567".parse().unwrap(),
            public_address: public_address.map(|address| address.parse::<IpAddr>().unwrap()),
        }
    }

    fn prepare(&self, role: &Role) -> Result<(), HomeError> {
        Home::open(&self.home())?.prepare(role)
    }

    fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(self.in_home(name)).ok()
    }

    fn config(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.in_home("config.json")).unwrap()).unwrap()
    }

    /// Every file of the home: a link's target, or the content and inode.
    fn everything(&self) -> BTreeMap<PathBuf, String> {
        let describe = |path: &Path| match fs::read_link(path) {
            Ok(target) => target.display().to_string(),
            Err(_) => {
                format!("{} {:?}", fs::metadata(path).unwrap().ino(), fs::read_to_string(path).ok())
            }
        };
        fs::read_dir(self.home())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), describe(&path)))
            .collect()
    }

    /// The error line, and that nothing changed.
    fn refused(&self, role: &Role) -> String {
        let before = self.everything();
        let error = self.prepare(role).unwrap_err().to_string();
        assert_eq!(self.everything(), before, "changed in spite of: {error}");
        assert!(!error.contains('\n'), "more than a line: {error}");
        error
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn promotion_and_demotion_swap_the_links_and_addresses() {
    let scene = Scene::new();
    for _ in 0..2 {
        scene.prepare(&scene.standby()).unwrap();
        assert!(!exists(&scene.in_home("validator_key.json")));
        assert_eq!(scene.link("node_key.json"), Some(scene.key("voter_node")));
        assert_eq!(scene.config()["network"]["addr"], "0.0.0.0:24568");
        assert!(scene.config()["network"]["public_addrs"].as_array().is_none_or(Vec::is_empty));

        scene.prepare(&scene.validator(Some("203.0.113.5"))).unwrap();
        assert_eq!(scene.link("validator_key.json"), Some(scene.key("validator")));
        assert_eq!(scene.link("node_key.json"), Some(scene.key("validator_node")));
        assert_eq!(scene.config()["network"]["addr"], "0.0.0.0:24567");
        let node_key: serde_json::Value = serde_json::from_str(&key(2)).unwrap();
        let announced = format!("{}@203.0.113.5:24567", node_key["public_key"].as_str().unwrap());
        assert_eq!(scene.config()["network"]["public_addrs"], serde_json::json!([announced]));
    }
    let names: Vec<_> = scene.everything().into_keys().collect();
    assert_eq!(names.len(), 3, "something is left over: {names:?}");
    let text = fs::read_to_string(scene.in_home("config.json")).unwrap();
    assert!(text.contains("\"gas_limit\": 1000000000000000000000\n"), "{text}");
}

#[test]
fn relative_key_paths_become_absolute_links() {
    let scene = Scene::new();
    let cwd = std::env::current_dir().unwrap();
    let up: PathBuf = cwd.components().skip(1).map(|_| "..").collect();
    let relative = up.join(scene.key("validator").strip_prefix("/").unwrap());
    Home::open(&scene.home()).unwrap().insert_validator_key(&relative).unwrap();
    let target = scene.link("validator_key.json").unwrap();
    assert!(target.is_absolute());
    assert_eq!(
        fs::canonicalize(target).unwrap(),
        fs::canonicalize(scene.key("validator")).unwrap()
    );
}

#[test]
fn nothing_is_written_when_nothing_changes_and_the_mode_stays_when_something_does() {
    let scene = Scene::new();
    let config = scene.in_home("config.json");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    scene.prepare(&scene.standby()).unwrap();
    assert_eq!(fs::metadata(&config).unwrap().mode() & 0o7777, 0o640);
    let before = scene.everything();
    scene.prepare(&scene.standby()).unwrap();
    assert_eq!(scene.everything(), before);
}

#[test]
fn a_config_that_is_a_link_stays_one() {
    let scene = Scene::new();
    let real = scene.0.path().join("real_config.json");
    fs::rename(scene.in_home("config.json"), &real).unwrap();
    symlink(&real, scene.in_home("config.json")).unwrap();
    scene.prepare(&scene.standby()).unwrap();
    assert_eq!(scene.link("config.json"), Some(real));
    assert_eq!(scene.config()["network"]["addr"], "0.0.0.0:24568");
}

#[test]
fn the_standby_loses_any_link_or_copy_of_the_validator_key() {
    let scene = Scene::new();
    let in_home = scene.in_home("validator_key.json");
    let pretty: serde_json::Value = serde_json::from_str(&key(1)).unwrap();
    fs::write(&in_home, serde_json::to_string_pretty(&pretty).unwrap()).unwrap();
    scene.prepare(&scene.standby()).unwrap();
    assert!(!exists(&in_home));

    symlink("/elsewhere/old_key.json", &in_home).unwrap();
    symlink(scene.key("validator"), scene.in_home(".validator_key.json.new")).unwrap();
    scene.prepare(&scene.standby()).unwrap();
    assert!(!exists(&in_home));
    assert!(!exists(&scene.in_home(".validator_key.json.new")));
    assert!(scene.key("validator").exists());
}

#[test]
fn a_validator_key_that_exists_nowhere_else_is_not_destroyed() {
    let scene = Scene::new();
    fs::write(scene.in_home("validator_key.json"), key(9)).unwrap();
    for role in [scene.standby(), scene.validator(None)] {
        let error = scene.refused(&role);
        assert!(error.contains("is a validator key of its own"), "{error}");
    }
    let home = Home::open(&scene.home()).unwrap();
    assert!(home.remove_validator_key(&scene.key("validator")).is_err());
    assert!(home.insert_validator_key(&scene.key("validator")).is_err());
    assert_eq!(fs::read_to_string(scene.in_home("validator_key.json")).unwrap(), key(9));
}

#[test]
fn the_homes_own_node_key_is_renamed_and_a_copy_is_not() {
    let scene = Scene::new();
    fs::write(scene.in_home("node_key.json"), key(8)).unwrap();
    fs::write(scene.in_home("node_key.json.saved"), "an older one").unwrap();
    scene.prepare(&scene.standby()).unwrap();
    assert_eq!(scene.link("node_key.json"), Some(scene.key("voter_node")));
    assert_eq!(fs::read_to_string(scene.in_home("node_key.json.saved-2")).unwrap(), key(8));

    fs::remove_file(scene.in_home("node_key.json")).unwrap();
    fs::write(scene.in_home("node_key.json"), key(3)).unwrap();
    scene.prepare(&scene.standby()).unwrap();
    assert!(!exists(&scene.in_home("node_key.json.saved-3")));
}

#[test]
fn without_a_configured_node_key_the_home_keeps_its_own() {
    let scene = Scene::new();
    fs::write(scene.in_home("node_key.json"), key(8)).unwrap();
    scene
        .prepare(&Role::Validator {
            validator_key: scene.key("validator"),
            node_key: None,
            network_addr: "0.0.0.0:24567".parse().unwrap(),
            public_address: Some("2001:db8::1".parse().unwrap()),
        })
        .unwrap();
    assert_eq!(fs::read_to_string(scene.in_home("node_key.json")).unwrap(), key(8));
    let announced = scene.config()["network"]["public_addrs"][0].as_str().unwrap().to_owned();
    assert!(announced.ends_with("@[2001:db8::1]:24567"), "{announced}");
}

#[test]
fn key_file_names_of_the_config_are_followed() {
    let config = CONFIG.replace("\"genesis_file\"", "\"validator_key_file\": \"v.json\", \"g\"");
    let scene = Scene::with_config(&config);
    scene.prepare(&scene.validator(None)).unwrap();
    assert_eq!(scene.link("v.json"), Some(scene.key("validator")));
    scene.prepare(&scene.standby()).unwrap();
    assert!(!exists(&scene.in_home("v.json")));
}

#[test]
fn a_configured_key_must_not_be_the_file_that_is_replaced() {
    let scene = Scene::new();
    fs::write(scene.in_home("validator_key.json"), key(1)).unwrap();
    let mut roles = Vec::new();
    symlink(scene.in_home("validator_key.json"), scene.0.path().join("alias.json")).unwrap();
    for path in [scene.in_home("../home/validator_key.json"), scene.0.path().join("alias.json")] {
        let Role::Standby { node_key, network_addr, .. } = scene.standby() else { unreachable!() };
        roles.push(Role::Standby {
            validator_key: path,
            node_key,
            network_addr,
            public_address: None,
        });
    }
    for role in roles {
        let error = scene.refused(&role);
        assert!(error.contains("is the very file that neard reads"), "{error}");
    }
}

#[test]
fn a_missing_key_changes_nothing() {
    for name in ["validator", "validator_node"] {
        let scene = Scene::new();
        scene.prepare(&scene.standby()).unwrap();
        fs::remove_file(scene.key(name)).unwrap();
        let error = scene.refused(&scene.validator(None));
        assert!(error.contains(&format!("{name}_key.json: no such file")), "{error}");
    }
}

#[test]
fn addresses_that_neard_would_refuse_are_refused_before_it_is_started() {
    let scene = Scene::new();
    for address in ["127.0.0.1", "10.1.2.3", "192.168.0.1", "0.0.0.0", "::1"] {
        let error = scene.refused(&scene.validator(Some(address)));
        assert!(error.contains(&format!("public address {address} is not public")), "{error}");
    }
    let allowing = "\"network\": { \"allow_private_ip_in_public_addrs\": true,";
    let scene = Scene::with_config(&CONFIG.replace("\"network\": {", allowing));
    scene.prepare(&scene.validator(Some("127.0.0.1"))).unwrap();
    let error = scene.refused(&scene.validator(Some("0.0.0.0")));
    assert!(error.contains("0.0.0.0"), "{error}");
}

#[test]
fn a_home_that_neard_could_not_use_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let open = |home: &Path| Home::open(home).unwrap_err().to_string();
    let missing = folder.path().join("none");
    assert!(open(&missing).contains("no such directory; run: neard --home"));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(open(&file).contains("not a directory"));
    assert!(open(folder.path()).contains("config.json: no such file; run: neard --home"));
    for (config, expected) in [
        ("", "config.json is not JSON"),
        ("[]", "config.json is not a JSON object"),
        ("{}", "config.json has no object \"network\""),
        ("{\"network\": 1}", "config.json has no object \"network\""),
    ] {
        fs::write(folder.path().join("config.json"), config).unwrap();
        let error = open(folder.path());
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
    fs::write(folder.path().join("config.json"), [0xff, 0xfe]).unwrap();
    assert!(open(folder.path()).contains("is not JSON (not UTF-8)"));
}

#[test]
fn the_rpc_address_is_one_that_can_be_connected_to() {
    let scene = Scene::new();
    let home = Home::open(&scene.home()).unwrap();
    assert_eq!(home.rpc_addr().unwrap().to_string(), "127.0.0.1:3030");
    // neard's own default when nothing is said.
    fs::write(scene.in_home("config.json"), r#"{"network":{}}"#).unwrap();
    assert_eq!(home.rpc_addr().unwrap().to_string(), "127.0.0.1:3030");
    fs::write(scene.in_home("config.json"), r#"{"network":{},"rpc":null}"#).unwrap();
    let error = home.rpc_addr().unwrap_err().to_string();
    assert!(error.contains("has no object \"rpc\""), "{error}");
}

#[tokio::test]
async fn a_home_is_locked_by_one_only() {
    let scene = Scene::new();
    let home = Home::open(&scene.home()).unwrap();
    let lock = home.lock(std::time::Duration::ZERO).await.unwrap();
    let error = home.lock(std::time::Duration::from_millis(60)).await.unwrap_err().to_string();
    assert!(error.contains("in use by"), "{error}");

    let copy = lock.clone();
    drop(lock);
    assert!(home.lock(std::time::Duration::ZERO).await.is_err(), "a copy does not count");
    // Waits for it to become free.
    let waiting = home.lock(std::time::Duration::from_secs(20));
    let (got, ()) = tokio::join!(waiting, async {
        tokio::task::yield_now().await;
        drop(copy);
    });
    got.unwrap();
}
