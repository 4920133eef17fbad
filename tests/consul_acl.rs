//! Consul with ACLs and default deny: with the documented policy everything works, and whichever
//! right is missing is named, by doctor and in the log.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use support::{
    binaries::{self, run_to_end},
    chain::{ACCOUNT, Chain, write_secret},
    consul::{Consul, http},
    kneard::{Kneard, LEASE, Setup},
    pair::{TAKEOVER, setup},
    signatures,
    turn::turn,
    wait::{secs, wait_until},
};

/// What the documentation tells operators to give each kneard.
const POLICY: &str = include_str!("../docs/consul-policy.hcl");
const MASTER: &str = "6f1c4a2e-9f0b-4f0e-8a3c-2b7d1e5c9a10";

struct Scene {
    consul: Consul,
    chain: Chain,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let acl = json!({"acl": {
            "enabled": true, "default_policy": "deny", "tokens": {"master": MASTER},
        }});
        let consul = Consul::start_with_token(acl, MASTER);
        let chain = Chain::start(directory.path());
        Self { consul, chain, directory }
    }

    fn put(&self, path: &str, body: &Value) -> Value {
        let address = self.consul.servers()[0].http_addr();
        let answer = http(address, "PUT", path, Some(MASTER), &body.to_string());
        let (status, text) = answer.expect("Consul answers");
        assert_eq!(status, 200, "PUT {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A token with these rules, in a file.
    fn token(&self, name: &str, rules: &str) -> PathBuf {
        let policy = self.put("/v1/acl/policy", &json!({"Name": name, "Rules": rules}));
        let token = self.put("/v1/acl/token", &json!({"Policies": [{"ID": policy["ID"]}]}));
        let file = self.directory.path().join(format!("{name}.token"));
        write_secret(&file, token["SecretID"].as_str().unwrap().as_bytes());
        file
    }

    fn setup(&self, name: &str, index: usize, token: &Path) -> Setup {
        let mut setup = setup(&self.chain, name, index);
        setup.consul_urls = self.consul.urls();
        setup.more = vec!["--consul-token-file".into(), token.into()];
        setup
    }
}

/// The documented policy's stanzas with the names of this Consul and chain.
fn stanzas() -> Vec<String> {
    let policy = POLICY.replace("\"host-a\"", "\"consul0\"").replace("validator.near", ACCOUNT);
    let code: Vec<&str> = policy.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = code.join("\n");
    let stanzas = stanzas.split("\n\n").map(str::trim).filter(|stanza| !stanza.is_empty());
    stanzas.map(str::to_owned).collect()
}

/// As doctor and the log write it.
fn on_one_line(stanza: &str) -> String {
    stanza.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn doctor(setup: &Setup) -> Vec<Value> {
    let kneard = setup.command();
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.args(["--json", "doctor"]).args(kneard.get_args());
    let ended = run_to_end(command, secs(60));
    let report: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    report["checks"].as_array().unwrap().clone()
}

/// The checks of rights that are not ok.
fn denied(setup: &Setup) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let checks = doctor(setup);
    let rights = checks.iter().filter(|check| text(&check["check"]).starts_with("acl-"));
    assert_eq!(rights.clone().count(), 6, "each right has its check: {checks:?}");
    rights
        .filter(|check| check["level"] != "ok")
        .map(|check| (text(&check["check"]), text(&check["message"])))
        .collect()
}

fn ask(kneard: &Kneard, args: &[&str]) -> binaries::Ended {
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.arg("--control-socket").arg(kneard.setup.home.join("kuutamod.sock")).args(args);
    run_to_end(command, secs(20))
}

#[test]
fn with_the_documented_policy_everything_works() {
    let _turn = turn();
    let scene = Scene::new();
    let rules = stanzas().join("\n");
    let [mut holder, mut standby] = [0, 1].map(|index| {
        let name = format!("kneard{index}");
        let token = scene.token(&name, &rules);
        let mut kneard = scene.setup(&name, index, &token).start();
        kneard.wait_for(["Validating", "Voting"][index], secs(40));
        kneard
    });
    assert_eq!(denied(&holder.setup), []);

    // Both know of each other, and of the Consul node of the holder.
    for kneard in [&holder, &standby] {
        wait_until(secs(15), "both nodes are listed", || {
            let status: Value =
                serde_json::from_str(&ask(kneard, &["--json", "status"]).stdout).ok()?;
            (status["nodes"].as_array()?.len() == 2).then_some(())
        });
        let validator = wait_until(secs(10), "the holder is known", || {
            let ended = ask(kneard, &["active-validator"]);
            (ended.code == Some(0)).then_some(ended.stdout)
        });
        assert_eq!(validator, "Name: kneard0\nNode: consul0\n");
    }

    // A takeover from a dead kneard, whose lock `kneard release` gives back; from a frozen one,
    // whose lock is taken; and a release.
    let homes = [holder.setup.home.clone(), standby.setup.home.clone()];
    holder.signal(Signal::SIGKILL);
    holder = {
        let setup = holder.buried(secs(10));
        standby.wait_for("Validating", TAKEOVER);
        setup.start()
    };
    holder.wait_for("Voting", secs(40));
    std::mem::swap(&mut holder, &mut standby);
    holder.signal(Signal::SIGSTOP);
    standby.wait_for("Validating", LEASE + TAKEOVER);
    holder.signal(Signal::SIGCONT);
    holder.wait_for("Voting", secs(40));
    std::mem::swap(&mut holder, &mut standby);
    holder.signal(Signal::SIGTERM);
    assert!(holder.wait_exit(secs(20)).success(), "{}", holder.log());
    standby.wait_for("Validating", TAKEOVER);

    signatures::assert_one_signer(&homes);
    for kneard in [&holder, &standby] {
        let log = kneard.log();
        let refused: Vec<_> =
            log.lines().filter(|line| line.contains("ermission denied")).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
    // Nothing was left to be found by others than the election's own entries.
    let (_, keys) = scene.consul.servers()[0].get("/v1/kv/?keys", Some(MASTER)).unwrap();
    let keys: Vec<String> = serde_json::from_str(&keys).unwrap();
    let ours = |key: &String| key.starts_with("kuutamod-") && key.contains(ACCOUNT);
    assert!(keys.iter().all(ours) && !keys.iter().any(|key| key.contains("doctor")), "{keys:?}");
}

#[test]
fn whichever_right_is_missing_is_named() {
    let _turn = turn();
    let scene = Scene::new();
    let stanzas = stanzas();
    let expected =
        ["acl-session", "acl-agent", "acl-election", "acl-nodes", "acl-history", "acl-pause"];
    assert_eq!(stanzas.len(), expected.len(), "a stanza without a test: {stanzas:?}");
    let full = scene.token("full", &stanzas.join("\n"));
    let mut setup = scene.setup("kneard0", 0, &full);
    assert_eq!(denied(&setup), []);

    for (index, check) in expected.into_iter().enumerate() {
        let mut rules = stanzas.clone();
        let missing = on_one_line(&rules.remove(index));
        let token = scene.token(&format!("without-{check}"), &rules.join("\n"));
        setup.more = vec!["--consul-token-file".into(), token.into()];

        let found = denied(&setup);
        let named: Vec<_> = found.iter().map(|(check, _)| check.as_str()).collect();
        assert_eq!(named, [check], "without {missing}: {found:?}");
        let said = &found[0].1;
        // Without the right to ask for the agent's name, that is not known.
        let line = missing.replace("agent \"consul0\"", "agent \"<the agent's node name>\"");
        assert!(said.contains("lacks ") && said.contains(&line), "no {line} in: {said}");

        let _ = fs::remove_file(setup.log());
        let kneard = setup.clone().start();
        let lines = wait_until(secs(60), &format!("the log names {line}"), || {
            let log = kneard.log();
            let quoted = line.replace('"', "\\\"");
            let lines: Vec<String> = log
                .lines()
                .filter(|l| l.contains("ermission denied") && l.contains(&quoted))
                .map(str::to_owned)
                .collect();
            (!lines.is_empty()).then_some(lines)
        });
        assert!(lines.len() <= 2, "it is said once, not again and again: {lines:#?}");
    }
}

#[test]
fn a_token_that_consul_does_not_know_is_no_missing_right() {
    let _turn = turn();
    let scene = Scene::new();
    let file = scene.directory.path().join("unknown.token");
    write_secret(&file, b"00000000-1111-2222-3333-444444444444");
    let setup = scene.setup("kneard0", 0, &file);
    for (check, said) in denied(&setup) {
        assert!(said.contains("ACL not found"), "{check}: {said}");
        assert!(said.contains("check the token of --consul-token-file"), "{check}: {said}");
        assert!(!said.contains("lacks"), "{check}: {said}");
    }
}
