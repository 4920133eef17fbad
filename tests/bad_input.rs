//! Input that kneard must refuse: its exit code, exactly one line that names the culprit and the
//! remedy, and nothing changed on disk.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use support::{
    binaries::{self, run_to_end},
    chain::{read_json, write_secret},
    kneard::Setup,
    ports::free_port,
    snapshot::{assert_unchanged, snapshot},
    wait::secs,
};

const USAGE: i32 = 2;
const FAILURE: i32 = 1;

/// A home with its keys, as an operator has it, and a command line that would work with a Consul.
struct Scene {
    directory: tempfile::TempDir,
    setup: Setup,
    user: Option<u32>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        let mut neard = binaries::clean(binaries::neard());
        neard.arg("--home").arg(&made).args(["localnet", "--shards", "1", "--v", "2"]);
        let ended = run_to_end(neard, secs(30));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        for file in ["config.json", "genesis.json"] {
            fs::rename(made.join("node1").join(file), home.join(file)).unwrap();
        }
        let voter_key = fs::read(made.join("node0/node_key.json")).unwrap();
        write_secret(&home.join("voter_node_key.json"), &voter_key);
        let rpc = ([127, 0, 0, 1], free_port()).into();
        let mut setup = Setup::new("node", home, rpc);
        // Nobody listens there; none of these cases may get so far as to mind.
        setup.consul_urls = vec![format!("http://127.0.0.1:{}", free_port())];
        setup.validator_key = made.join("node1/validator_key.json");
        setup.validator_node_key = made.join("node1/node_key.json");
        setup.boot_nodes = String::new();
        Self { directory, setup, user: None }
    }

    fn validator_key(&self) -> PathBuf {
        self.setup.validator_key.clone()
    }

    fn config(&self) -> PathBuf {
        self.setup.home.join("config.json")
    }

    fn edit(&self, path: &Path, change: impl FnOnce(&mut Value)) {
        let mut json = read_json(path);
        change(&mut json);
        fs::write(path, json.to_string()).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = self.setup.command();
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs kneard and checks how it refuses.
    fn assert_refused(&self, case: &str, code: i32, names: &[&str]) {
        fs::create_dir_all(self.setup.runtime_directory()).unwrap();
        let before = snapshot(self.directory.path());
        let ended = run_to_end(self.command(), secs(20));
        let said = [ended.stdout, ended.stderr].concat();
        assert_eq!(ended.code, Some(code), "{case}: the exit code; it said: {said}");
        let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("level=info")).collect();
        let [line] = lines[..] else { panic!("{case}: one line was to be said, not: {said}") };
        assert!(line.starts_with("kneard: ") || line.starts_with("level=error"), "{case}: {line}");
        for name in names {
            assert!(line.contains(name), "{case}: {name} is to be named in: {line}");
        }
        let secret = fs::read_to_string(&self.setup.validator_key).unwrap_or_default();
        let secret: Option<Value> = serde_json::from_str(&secret).ok();
        if let Some(secret) = secret.as_ref().and_then(|key| key["secret_key"].as_str()) {
            let bare = secret.trim_start_matches("ed25519:");
            assert!(bare.is_empty() || !line.contains(bare), "{case}: the key is in the message");
        }
        assert_unchanged(&before, self.directory.path(), case);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn missing_key() {
    for key in ["validator_key", "validator_node_key", "voter_node_key"] {
        let scene = Scene::new();
        let missing = match key {
            "validator_key" => scene.setup.validator_key.clone(),
            "validator_node_key" => scene.setup.validator_node_key.clone(),
            _ => scene.setup.home.join("voter_node_key.json"),
        };
        fs::remove_file(&missing).unwrap();
        let flag = format!("--{}", key.replace('_', "-"));
        scene.assert_refused(&format!("no {key}"), USAGE, &[path(&missing), &flag]);
    }
}

#[test]
fn unreadable_key() {
    let scene = Scene::new();
    let key = scene.validator_key();
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    scene.assert_refused("a directory as key", USAGE, &[path(&key)]);

    // Root reads everything, so somebody else has to fail.
    const NOBODY: u32 = 65534;
    let mut scene = Scene::new();
    let program = scene.directory.path().join("kneard");
    fs::copy(binaries::kneard(), &program).unwrap();
    fs::copy(binaries::neard(), scene.directory.path().join("neard")).unwrap();
    fs::create_dir_all(scene.setup.runtime_directory()).unwrap();
    for owned in snapshot(scene.directory.path()).keys() {
        chown(owned, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let key = scene.validator_key();
    chown(&key, Some(0), Some(0)).unwrap();
    scene.setup.neard = scene.directory.path().join("neard");
    scene.setup.program = program;
    scene.user = Some(NOBODY);
    scene.assert_refused("somebody else's key", USAGE, &[path(&key), "ermission denied"]);
}

#[test]
fn key_that_others_may_read() {
    for mode in [0o640, 0o604, 0o660, 0o644] {
        let scene = Scene::new();
        let key = scene.validator_key();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let remedy = format!("chmod 600 {}", path(&key));
        scene.assert_refused(&format!("key of mode {mode:o}"), USAGE, &[path(&key), &remedy]);
    }
}

#[test]
fn malformed_key() {
    let good = read_json(&Scene::new().validator_key());
    let without = |field: &str| {
        let mut key = good.clone();
        key.as_object_mut().unwrap().remove(field);
        key.to_string()
    };
    let with = |field: &str, value: Value| {
        let mut key = good.clone();
        key[field] = value;
        key.to_string()
    };
    let scene = Scene::new();
    let made = scene.validator_key().ancestors().nth(2).unwrap().to_owned();
    let stranger = read_json(&made.join("node0/validator_key.json"));
    let cases = [
        ("an empty file", String::new(), ""),
        ("no JSON", "ed25519:abc".to_owned(), "JSON"),
        ("half a file", good.to_string()[..good.to_string().len() / 2].to_owned(), "JSON"),
        ("a list", "[]".to_owned(), "object"),
        ("no account", without("account_id"), "account_id"),
        ("no public key", without("public_key"), "public_key"),
        ("no secret key", without("secret_key"), "secret_key"),
        ("a number as public key", with("public_key", json!(7)), "a field is not a plain string"),
        ("a curve that is none", with("public_key", json!("rsa:abc")), "public_key"),
        ("no base58", with("secret_key", json!("ed25519:0OIl")), "secret_key"),
        ("too short a key", with("secret_key", json!("ed25519:abc")), "secret_key"),
        ("another's public key", with("public_key", stranger["public_key"].clone()), "public_key"),
    ];
    for (case, content, names) in cases {
        let scene = Scene::new();
        let key = scene.validator_key();
        fs::write(&key, content).unwrap();
        scene.assert_refused(case, USAGE, &[path(&key), names]);
    }
}

#[test]
fn key_of_another_account() {
    let mut scene = Scene::new();
    scene.setup.more = vec!["--account-id".into(), "somebody.near".into()];
    let key = scene.validator_key();
    let names = [path(&key), "somebody.near", "node1", "--account-id"];
    scene.assert_refused("a key of another account", USAGE, &names);
}

#[test]
fn config_that_is_none() {
    let scene = Scene::new();
    fs::remove_file(scene.config()).unwrap();
    let config = scene.config();
    let names = [path(&config), "neard"];
    scene.assert_refused("no config.json", USAGE, &names);

    let cases = [
        ("an empty config.json", "", "JSON"),
        ("half a config.json", "{\"network\": {", "JSON"),
        ("a config.json that is no object", "[1, 2]", "object"),
        ("a config.json without network", "{\"rpc\": {\"addr\": \"127.0.0.1:1\"}}", "network"),
        ("a network that is no object", "{\"network\": 7}", "network"),
    ];
    for (case, content, names) in cases {
        let scene = Scene::new();
        fs::write(scene.config(), content).unwrap();
        let config = scene.config();
        scene.assert_refused(case, USAGE, &[path(&config), names]);
    }

    let scene = Scene::new();
    let config = scene.config();
    scene.edit(&config, |config| {
        config["rpc"] = serde_json::Value::Null;
    });
    scene.assert_refused("a config.json with rpc turned off", USAGE, &[path(&config), "rpc"]);
}

#[test]
fn home_that_is_none() {
    let mut scene = Scene::new();
    let nowhere = scene.directory.path().join("nowhere");
    scene.setup.voter_node_key = Some(scene.setup.home.join("voter_node_key.json"));
    scene.setup.home = nowhere.clone();
    scene.assert_refused("no home", USAGE, &[path(&nowhere), "--neard-home"]);
}

#[test]
fn exporter_port_in_use() {
    let scene = Scene::new();
    let _taken = TcpListener::bind(scene.setup.exporter).unwrap();
    let address = scene.setup.exporter.to_string();
    scene.assert_refused("port in use", FAILURE, &[&address, "--exporter-address"]);
}

#[test]
fn consul_url_that_is_none() {
    for url in ["", "localhost:8500", "http://", "ftp://localhost:8500", "http://local host:8500"] {
        let mut scene = Scene::new();
        scene.setup.consul_urls = vec![url.to_owned()];
        scene.assert_refused(&format!("Consul URL {url:?}"), USAGE, &["--consul-url", url]);
    }
}

#[test]
fn consul_token_file() {
    let cases =
        [("an empty token file", Some("")), ("only a line end", Some("\n")), ("none", None)];
    for (case, content) in cases {
        let mut scene = Scene::new();
        let file = scene.directory.path().join("token");
        if let Some(content) = content {
            write_secret(&file, content.as_bytes());
        }
        scene.setup.more = vec!["--consul-token-file".into(), file.clone().into()];
        scene.assert_refused(case, USAGE, &[path(&file), "--consul-token-file"]);
    }
}

#[test]
fn flags() {
    let cases: [(&[&str], &str); 5] = [
        (&["--lease=never"], "--lease"),
        (&["--exporter-address=here"], "--exporter-address"),
        (&["--validator-network-addr=24567"], "--validator-network-addr"),
        (&["--public-address=everywhere"], "--public-address"),
        (&["--promotion=sometimes"], "--promotion"),
    ];
    for (flags, names) in cases {
        let scene = Scene::new();
        let before = snapshot(scene.directory.path());
        // Only the flag in question: given twice, it would be refused for that.
        let mut command = binaries::clean(binaries::kneard());
        command.args(flags).current_dir(&scene.setup.home);
        let ended = run_to_end(command, secs(20));
        assert_eq!(ended.code, Some(USAGE), "{flags:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(names), "{flags:?}: {}", ended.stderr);
        assert_unchanged(&before, scene.directory.path(), &format!("{flags:?}"));
    }
}

#[test]
fn neard_that_is_not_there() {
    let mut scene = Scene::new();
    scene.setup.neard = scene.directory.path().join("no-such-neard");
    let neard = scene.setup.neard.clone();
    scene.assert_refused("no neard", USAGE, &[path(&neard), "--neard-binary"]);

    let mut scene = Scene::new();
    scene.setup.neard = scene.setup.home.join("config.json");
    let neard = scene.setup.neard.clone();
    scene.assert_refused("a neard that is no program", USAGE, &[path(&neard), "--neard-binary"]);
}
