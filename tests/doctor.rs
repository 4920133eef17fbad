//! `kneard-ctl doctor`: finds nothing wrong with a good set-up, and in a broken one what was broken.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use support::{
    binaries::{self, Ended, run_to_end},
    chain::{read_json, write_secret},
    consul::Consul,
    fake_server::{Behaviour, FakeServer},
    ports::free_port,
    snapshot::{assert_unchanged, snapshot},
    wait::{millis, secs, wait_until},
};

/// What depends on the machine that the test runs on.
const OF_THE_MACHINE: [&str; 2] = ["open-files", "locked-memory"];

/// The check, its level, the message with the remedy.
type Finding = (String, String, String);

/// A set-up that is as it should be, given as kneard's variables.
struct Scene {
    directory: tempfile::TempDir,
    home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Scene {
    fn new(consul: &Consul) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        let mut neard = binaries::clean(binaries::neard());
        neard.arg("--home").arg(&made).args(["localnet", "--shards", "1", "--v", "3"]);
        let ended = run_to_end(neard, secs(30));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        for file in ["config.json", "genesis.json"] {
            fs::copy(made.join("node1").join(file), home.join(file)).unwrap();
        }
        let run = directory.path().join("run");
        fs::create_dir(&run).unwrap();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut scene = Scene {
            environment: vec![
                ("KUUTAMO_NODE_ID", "host-a".to_owned()),
                ("KUUTAMO_CONSUL_URL", consul.urls().join(",")),
                ("KUUTAMO_EXPORTER_ADDRESS", format!("127.0.0.1:{}", free_port())),
                ("KUUTAMO_VALIDATOR_KEY", path(&made.join("node1/validator_key.json"))),
                ("KUUTAMO_VALIDATOR_NODE_KEY", path(&made.join("node1/node_key.json"))),
                ("KUUTAMO_VOTER_NODE_KEY", path(&made.join("node2/node_key.json"))),
                ("KUUTAMO_NEARD_HOME", path(&home)),
                ("KUUTAMO_NEARD_BINARY", path(&binaries::neard())),
                ("KUUTAMO_VALIDATOR_NETWORK_ADDR", format!("0.0.0.0:{}", free_port())),
                ("KUUTAMO_VOTER_NETWORK_ADDR", format!("0.0.0.0:{}", free_port())),
                ("KUUTAMO_RUNTIME_DIR", path(&run)),
            ],
            directory,
            home,
        };
        scene.edit("config.json", |config| {
            config["rpc"]["addr"] = json!(format!("127.0.0.1:{}", free_port()));
        });
        scene.set("KUUTAMO_PROMOTION", "hot-swap");
        if consul.servers().len() > 1 {
            consul.wait_until_it_can_lose_one();
        }
        scene
    }

    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.environment.retain(|(set, _)| *set != name);
        self.environment.push((name, value.to_string()));
    }

    fn get(&self, name: &str) -> String {
        self.environment.iter().find(|(set, _)| *set == name).unwrap().1.clone()
    }

    fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.home.join(file);
        let mut json = read_json(&path);
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
    }

    /// Chain and configuration of a public chain.
    fn on_testnet(&self, change: impl FnOnce(&mut Value)) {
        self.edit("genesis.json", |genesis| genesis["chain_id"] = json!("testnet"));
        self.edit("config.json", |config| {
            for field in ["tracked_shards", "tracked_accounts", "tracked_shadow_validator"] {
                config.as_object_mut().unwrap().remove(field);
            }
            config["tracked_shards_config"] = json!({"ShadowValidator": "node1"});
            config["store"] = json!({"load_mem_tries_for_tracked_shards": true});
            change(config);
        });
    }

    fn command(&self) -> Command {
        let mut command = binaries::clean(binaries::kneard_ctl());
        // No systemctl of this machine.
        command.env("PATH", self.directory.path());
        command.envs(self.environment.iter().cloned());
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = self.command();
        command.args(args);
        let ended = run_to_end(command, secs(60));
        for key in ["KUUTAMO_VALIDATOR_KEY", "KUUTAMO_VOTER_NODE_KEY"] {
            let Ok(text) = fs::read_to_string(self.get(key)) else { continue };
            let Ok(key) = serde_json::from_str::<Value>(&text) else { continue };
            let secret = key["secret_key"].as_str().unwrap().trim_start_matches("ed25519:");
            assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(secret), "a secret");
        }
        ended
    }

    /// The checks that are not ok.
    fn findings(&self) -> Vec<Finding> {
        let ended = self.run(&["--json", "doctor"]);
        let report: Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
        let text = |check: &Value, field: &str| check[field].as_str().unwrap_or("").to_owned();
        let found: Vec<_> = report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| {
                let said = format!("{}; {}", text(check, "message"), text(check, "remedy"));
                (text(check, "check"), text(check, "level"), said)
            })
            .filter(|(check, level, _)| level != "ok" && !OF_THE_MACHINE.contains(&check.as_str()))
            .collect();
        let problems =
            report["checks"].as_array().unwrap().iter().any(|check| check["level"] == "problem");
        assert_eq!(ended.code, Some(i32::from(problems)), "the exit code: {found:?}");
        found
    }

    /// These checks and levels are found, and nothing else. Asked again for a while: on a busy machine
    /// Consul takes a server for lost now and then, and says so.
    fn assert_finds_all(&self, case: &str, expected: &[(&str, &str)]) -> Vec<Finding> {
        let end = Instant::now() + secs(20);
        loop {
            let found = self.findings();
            let names: Vec<_> = found.iter().map(|(name, level, _)| (&**name, &**level)).collect();
            if names == expected {
                return found;
            }
            assert!(Instant::now() < end, "{case}: {expected:?} was expected, not {found:#?}");
        }
    }

    /// The one thing that is found says these words.
    fn assert_finds(&self, case: &str, check: &str, level: &str, words: &[&str]) {
        let found = self.assert_finds_all(case, &[(check, level)]);
        let said = &found[0].2;
        for word in words {
            assert!(said.contains(word), "{case}: no {word:?} in: {said}");
        }
        assert!(!said.contains('\n'), "{case}: more than one line: {said}");
    }
}

fn keys_in(consul: &Consul) -> String {
    let server = &consul.servers()[0];
    let keys = server.get("/v1/kv/?keys", None).unwrap();
    let sessions = server.get("/v1/session/list", None).unwrap();
    format!("{keys:?} {sessions:?}")
}

#[test]
fn a_good_set_up_is_found_good_and_left_as_it_is() {
    let consul = Consul::cluster(3);
    let scene = Scene::new(&consul);
    let before = (snapshot(scene.directory.path()), keys_in(&consul));
    scene.assert_finds_all("a good set-up", &[]);
    assert_unchanged(&before.0, scene.directory.path(), "doctor");
    assert_eq!(keys_in(&consul), before.1, "something was left in Consul");

    let ended = scene.run(&["doctor"]);
    for part in [
        "ok       validator-key ",
        "ok       account            node1",
        "ok       acl-session ",
        "ok       consul-latency     a write takes ",
        "ok       hot-swap           neard can be given the key while it runs",
    ] {
        assert!(ended.stdout.contains(part), "no {part:?} in:\n{}", ended.stdout);
    }
    // As `--policy`: the names of this node.
    let policy = scene.run(&["doctor", "--policy"]).stdout;
    for part in ["session \"consul0\"", "session \"consul2\"", "kuutamod-leader/node1\""] {
        assert!(policy.contains(part), "no {part:?} in:\n{policy}");
    }
}

#[test]
fn what_is_wrong_with_keys_is_found() {
    let consul = Consul::cluster(3);
    let mut scene = Scene::new(&consul);
    let key = PathBuf::from(scene.get("KUUTAMO_VALIDATOR_KEY"));
    let good = fs::read(&key).unwrap();
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();

    mode(0o644);
    scene.assert_finds("open key", "validator-key", "problem", &["chmod 600", "0644"]);
    scene.set("KUUTAMO_ALLOW_READABLE_KEYS", "true");
    scene.assert_finds("allowed open key", "validator-key", "warning", &["chmod 600"]);
    scene.set("KUUTAMO_ALLOW_READABLE_KEYS", "false");
    mode(0o600);

    let folder = key.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    // The validator's node key lies there too.
    let both = [("validator-key", "warning"), ("validator-node-key", "warning")];
    let found = scene.assert_finds_all("open folder", &both);
    assert!(found[0].2.contains("chmod go-w"), "{found:?}");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();

    let mut json = read_json(&key);
    let other = read_json(&scene.directory.path().join("made/node0/validator_key.json"));
    json["public_key"] = other["public_key"].clone();
    fs::write(&key, json.to_string()).unwrap();
    scene.assert_finds("two halves", "validator-key", "problem", &["public_key", "secret_key"]);
    fs::write(&key, &good).unwrap();

    scene.set("KUUTAMO_ACCOUNT_ID", "other.near");
    scene.assert_finds("account", "account", "problem", &["other.near", "node1"]);
    scene.set("KUUTAMO_ACCOUNT_ID", "node1");

    let voter = scene.get("KUUTAMO_VOTER_NODE_KEY");
    scene.set("KUUTAMO_VOTER_NODE_KEY", scene.get("KUUTAMO_VALIDATOR_NODE_KEY"));
    scene.assert_finds("one node key", "node-keys", "problem", &["voter node key of its own"]);
    scene.set("KUUTAMO_VOTER_NODE_KEY", voter);

    let token = scene.directory.path().join("token");
    write_secret(&token, b"some-token");
    scene.set("KUUTAMO_CONSUL_TOKEN_FILE", token.display());
    scene.assert_finds_all("a token of one's own", &[]);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    scene.assert_finds("open token", "consul-token", "warning", &["chmod 600", "0640"]);

    fs::remove_file(&key).unwrap();
    fs::remove_file(&token).unwrap();
    let found = scene.findings();
    let names: Vec<_> = found.iter().map(|(name, _, _)| &**name).collect();
    assert_eq!(names[..2], ["validator-key", "consul-token"], "{found:?}");
}

#[test]
fn what_is_wrong_with_home_and_neard_is_found() {
    let consul = Consul::cluster(3);
    let mut scene = Scene::new(&consul);
    let config = fs::read(scene.home.join("config.json")).unwrap();
    let genesis = fs::read(scene.home.join("genesis.json")).unwrap();
    let restore = |scene: &Scene| {
        fs::write(scene.home.join("config.json"), &config).unwrap();
        fs::write(scene.home.join("genesis.json"), &genesis).unwrap();
    };

    fs::write(scene.home.join("config.json"), "{").unwrap();
    scene.assert_finds("broken config", "home", "problem", &["config.json", "not JSON"]);
    restore(&scene);
    scene.edit("config.json", |config| config["rpc"] = Value::Null);
    scene.assert_finds("no rpc", "config", "problem", &["rpc"]);
    restore(&scene);

    scene.on_testnet(|_| ());
    scene.assert_finds_all("as a standby on testnet should be", &[]);
    scene.on_testnet(|config| config["tracked_shards_config"] = json!("AllShards"));
    let words = ["panics on testnet", r#"{"ShadowValidator": "node1"}"#];
    scene.assert_finds("all shards", "tracked-shards", "problem", &words);
    scene.set("KUUTAMO_PROMOTION", "restart");
    scene.assert_finds("all shards, restarted", "tracked-shards", "problem", &words);
    scene.set("KUUTAMO_PROMOTION", "hot-swap");
    scene.on_testnet(|config| config["tracked_shards"] = json!([]));
    let words = ["does not start", r#"remove "tracked_shards""#];
    scene.assert_finds("two generations", "tracked-shards", "problem", &words);
    scene.on_testnet(|config| config["store"] = json!({}));
    let words = ["restarted at a takeover", "load_mem_tries_for_tracked_shards"];
    scene.assert_finds("no memory tries", "hot-swap", "warning", &words);
    restore(&scene);

    fs::remove_file(scene.home.join("genesis.json")).unwrap();
    scene.assert_finds("no genesis", "chain", "warning", &["neard init"]);
    restore(&scene);

    let own = scene.home.join("validator_key.json");
    fs::copy(scene.directory.path().join("made/node0/validator_key.json"), &own).unwrap();
    scene.assert_finds("foreign key", "config", "problem", &["a validator key of its own"]);
    fs::remove_file(&own).unwrap();

    // Somebody has the home, and it is no kneard that answers.
    let directory = fs::File::open(&scene.home).unwrap();
    let lock = nix::fcntl::Flock::lock(directory, nix::fcntl::FlockArg::LockExclusive).unwrap();
    scene.assert_finds("a home in use", "kneard", "problem", &["does not answer"]);
    drop(lock);

    let body = json!({"sync_info": {"syncing": false, "latest_block_height": 7}}).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let stranger = FakeServer::start(Behaviour::Answers(answer));
    scene.edit("config.json", |config| config["rpc"]["addr"] = json!(stranger.address.to_string()));
    scene.assert_finds_all("a stranger", &[("neard", "problem"), ("port-rpc", "problem")]);
    drop(stranger);
    restore(&scene);

    let script = |scene: &Scene, text: &str| {
        let path = scene.directory.path().join("old-neard");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    scene.set("KUUTAMO_NEARD_BINARY", script(&scene, "echo 'neard (release 1.40.0) (build 1)'"));
    scene.assert_finds_all("an old neard", &[("neard-binary", "warning"), ("hot-swap", "warning")]);
    scene.set("KUUTAMO_NEARD_BINARY", script(&scene, "exit 3"));
    scene.assert_finds("no neard", "neard-binary", "problem", &["is it neard"]);
    scene.set("KUUTAMO_NEARD_BINARY", "/nowhere/neard");
    scene.assert_finds("no program", "neard-binary", "problem", &["install neard"]);
    scene.set("KUUTAMO_NEARD_BINARY", binaries::neard().display());

    fs::remove_dir_all(&scene.home).unwrap();
    let found = scene.findings();
    let (name, _, said) = &found[found.len() - 1];
    assert!(name == "home" && said.contains("no such directory"), "{found:?}");
}

#[test]
fn what_is_wrong_with_the_host_is_found() {
    let consul = Consul::cluster(3);
    let mut scene = Scene::new(&consul);
    for (name, check) in [
        ("KUUTAMO_EXPORTER_ADDRESS", "port-exporter"),
        ("KUUTAMO_VALIDATOR_NETWORK_ADDR", "port-network"),
    ] {
        let before = scene.get(name);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        scene.set(name, taken.local_addr().unwrap());
        scene.assert_finds(check, check, "problem", &["in use", "ss -ltnp"]);
        scene.set(name, before);
    }
    let run = scene.get("KUUTAMO_RUNTIME_DIR");
    scene.set("KUUTAMO_RUNTIME_DIR", "/nowhere");
    scene.assert_finds("no folder", "runtime-dir", "problem", &["--runtime-dir /nowhere"]);
    scene.set("KUUTAMO_RUNTIME_DIR", run);
    scene.set("KUUTAMO_CONTROL_SOCKET", "/nowhere/socket");
    scene.assert_finds("no folder", "control-socket", "problem", &["/nowhere"]);
    scene.set("KUUTAMO_CONTROL_SOCKET", scene.home.join("socket").display());
    scene.set("KUUTAMO_LEASE", "1s");
    scene.assert_finds("a lease too short", "settings", "problem", &["lease"]);
}

#[test]
fn what_is_wrong_with_consul_is_found() {
    let mut consul = Consul::cluster(3);
    let mut scene = Scene::new(&consul);
    let urls = consul.urls();
    let set = |scene: &mut Scene, urls: &[String]| scene.set("KUUTAMO_CONSUL_URL", urls.join(","));

    set(&mut scene, &urls[..1]);
    scene.assert_finds("one address", "consul-addresses", "warning", &["--consul-url"]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    set(&mut scene, &[urls[0].clone(), nobody.clone()]);
    scene.assert_finds("a dead address", "consul", "problem", &[&nobody, "cannot connect"]);

    let lone = Consul::start();
    set(&mut scene, &[urls[0].clone(), lone.url()]);
    scene.assert_finds("two clusters", "consul-servers", "problem", &["different Consul clusters"]);
    set(&mut scene, &[lone.url(), lone.url()]);
    scene.assert_finds("one server", "consul-servers", "warning", &["three or five"]);

    for (settings, words) in [
        (json!({"performance": {"raft_multiplier": 5}}), ["waits 5s", "raft_multiplier = 1"]),
        (json!({"leave_on_terminate": true}), ["leaves the cluster", "leave_on_terminate = false"]),
    ] {
        let lone = Consul::start_with(settings);
        set(&mut scene, &[lone.url()]);
        let found = scene.findings();
        let said = found.iter().find(|(name, _, _)| name == "consul-agent").map(|found| &found.2);
        let said = said.unwrap_or_else(|| panic!("not found: {words:?} in {found:?}"));
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }

    let slow = slow_proxy(consul.servers()[0].http_addr());
    set(&mut scene, &[format!("http://{slow}"), urls[1].clone()]);
    scene.assert_finds("far away", "consul-latency", "warning", &["a write takes", "nearer by"]);

    set(&mut scene, &urls[..2]);
    let forgets = |forgets: bool| {
        let path = "/v1/operator/autopilot/configuration";
        let settings = json!({"CleanupDeadServers": forgets}).to_string();
        assert_eq!(consul.servers()[0].put(path, None, &settings).unwrap().0, 200);
    };
    forgets(true);
    let words = ["forget one of them", "set-config -cleanup-dead-servers=false"];
    scene.assert_finds("forgetful", "consul-servers", "warning", &words);
    forgets(false);
    scene.assert_finds_all("remembered again", &[]);

    consul.server(2).kill();
    wait_until(secs(30), "a leader has noticed", || {
        let answer = consul.servers()[0].get("/v1/operator/autopilot/health", None);
        answer.filter(|(status, body)| *status == 429 && body.contains("consul2"))
    });
    let words = ["3 with a vote", "none of them may fail now", "not yet in step", "consul2"];
    scene.assert_finds("one is lost", "consul-servers", "warning", &words);

    consul.server(1).kill();
    wait_until(secs(30), "the server that is left notices that it is alone", || {
        let leader = consul.servers()[0].get("/v1/status/leader", None)?.1;
        (leader.trim() == "\"\"").then_some(())
    });
    let both = [("consul", "problem"), ("consul-servers", "problem")];
    let found = scene.assert_finds_all("two are lost", &both);
    assert!(found[1].2.contains("none of the 3 servers is the leader"), "{found:?}");
}

/// Passes everything on, what the client says 300 ms late.
fn slow_proxy(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { return };
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(client, server, millis(300)));
            thread::spawn(move || pass(back.0, back.1, millis(0)));
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, late: std::time::Duration) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        thread::sleep(late);
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn settings_are_found_where_an_operator_has_them() {
    let consul = Consul::cluster(3);
    let mut scene = Scene::new(&consul);
    let lines: String =
        scene.environment.drain(..).map(|(name, value)| format!("{name}=\"{value}\"\n")).collect();
    let file = scene.directory.path().join("kneard.env");
    fs::write(&file, format!("# kneard's settings\n{lines}")).unwrap();
    let run = |args: &[&str]| {
        let mut command = scene.command();
        command.args(args);
        run_to_end(command, secs(60))
    };

    let ended = run(&["doctor", "--env-file", file.to_str().unwrap()]);
    let from = format!("settings from {}\n", file.display());
    assert!(ended.stdout.starts_with(&from), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("ok       account            node1"), "{}", ended.stdout);
    let ended = run(&["doctor", "--env-file", "/nowhere/kneard.env"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("/nowhere/kneard.env"), "{}", ended.stderr);
    let ended = run(&["doctor", "--unit", "kneard"]);
    assert!(ended.stderr.contains("no unit kneard"), "{}", ended.stderr);

    // A systemd that knows the unit.
    let systemctl = scene.directory.path().join("systemctl");
    let properties = format!(
        "LoadState=loaded\\nActiveState=inactive\\nMainPID=0\\nType=notify\\nKillMode=mixed\\n\
         WatchdogUSec=3s\\nLimitNOFILE=4096\\nLimitMEMLOCK=infinity\\n\
         EnvironmentFiles={} (ignore_errors=no)\\n\
         ExecStart={{ path=/x ; argv[]=/usr/bin/kneard --max-lag 7 ; ignore_errors=no }}",
        file.display()
    );
    let text = format!("#!/bin/sh\n/usr/bin/printf '{properties}\\n'\n");
    fs::write(&systemctl, text).unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    // Named or not.
    for args in [&["doctor"][..], &["doctor", "--unit", "kneard.service"]] {
        let ended = run(args);
        let said = ended.stdout;
        assert!(said.starts_with("settings from kneard.service\n"), "{said}{}", ended.stderr);
        for part in [
            "warning  unit               kneard.service is inactive; systemctl start",
            "ok       unit-kill-mode     mixed",
            "ok       unit-watchdog      3s",
            "problem  open-files         kneard.service may open 4096 files",
            "ok       account            node1",
        ] {
            assert!(said.contains(part), "no {part:?} in:\n{said}");
        }
        assert_eq!(ended.code, Some(1));
    }
}
