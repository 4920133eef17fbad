//! The localnet tutorial, typed as it stands: every command through bash, in the checkout, with
//! honcho in hivemind's place, `neard` = the stand-in and `consul` = the real one on the PATH.
//!
//! It runs in network and mount namespaces of its own: the tutorial's fixed ports are free there,
//! and a `.data` that the developer has is not touched.

mod support;

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use support::{
    binaries,
    kneard::state,
    netns::NetNs,
    process::kill_group,
    signatures::assert_one_signer,
    turn::turn,
    wait::{millis, secs, wait_until},
};

const FIRST: &str = r"./target/debug/kneard --neard-home .data/near/localnet/kneard0/ \
  --voter-node-key .data/near/localnet/kneard0/voter_node_key.json \
  --validator-node-key .data/near/localnet/node3/node_key.json \
  --validator-key .data/near/localnet/node3/validator_key.json \
  --near-boot-nodes $(jq -r .public_key < .data/near/localnet/node0/node_key.json)@127.0.0.1:33301";

const SECOND: &str = r"./target/debug/kneard \
  --exporter-address 127.0.0.1:2234 \
  --validator-network-addr 0.0.0.0:24569 \
  --voter-network-addr 0.0.0.0:24570 \
  --neard-home .data/near/localnet/kneard1/ \
  --voter-node-key .data/near/localnet/kneard1/voter_node_key.json \
  --validator-node-key .data/near/localnet/node3/node_key.json \
  --validator-key .data/near/localnet/node3/validator_key.json \
  --near-boot-nodes $(jq -r .public_key < .data/near/localnet/node0/node_key.json)@127.0.0.1:33301";

const CURL_FIRST: &str = "curl http://localhost:2233/metrics";
const CURL_SECOND: &str = "curl http://localhost:2234/metrics";
const LIST_FIRST: &str = "ls -la .data/near/localnet/kneard0/";
const LIST_SECOND: &str = "ls -la .data/near/localnet/kneard1";

/// The tutorial's output of `curl`, figures apart. A standby shows no restarts there; here the
/// counter is 0 until the first one.
fn tutorial_metrics(restarts: &str, validating: u8, voting: u8) -> String {
    format!(
        r#"# HELP kuutamod_neard_restarts How often neard has been restarted
# TYPE kuutamod_neard_restarts counter
kuutamod_neard_restarts {restarts}
# HELP kuutamod_state In what state our supervisor statemachine is
# TYPE kuutamod_state gauge
kuutamod_state{{type="Registering"}} 0
kuutamod_state{{type="Shutdown"}} 0
kuutamod_state{{type="Startup"}} 0
kuutamod_state{{type="Syncing"}} 0
kuutamod_state{{type="Validating"}} {validating}
kuutamod_state{{type="Voting"}} {voting}
# HELP kuutamod_uptime Time in milliseconds how long daemon is running
# TYPE kuutamod_uptime gauge
kuutamod_uptime N"#
    )
}

/// The tutorial's metrics out of an answer that may hold more families, with the uptime as `N`.
fn known_metrics(answer: &str) -> String {
    const FAMILIES: [&str; 3] = ["kuutamod_neard_restarts", "kuutamod_state", "kuutamod_uptime"];
    let family = |line: &str| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        name.split([' ', '{']).next().unwrap_or("").to_owned()
    };
    let uptime = |line: &str| match line.strip_prefix("kuutamod_uptime ") {
        Some(figure) => {
            assert!(figure.parse::<u64>().is_ok_and(|ms| ms > 0), "milliseconds: {line}");
            "kuutamod_uptime N".to_owned()
        }
        None => line.to_owned(),
    };
    let lines = answer.lines().filter(|line| FAMILIES.contains(&&*family(line)));
    lines.map(uptime).collect::<Vec<_>>().join("\n")
}

/// The terminals of the tutorial's reader.
struct Desk {
    namespace: NetNs,
    checkout: PathBuf,
    /// What the commands see as `.data`.
    data: PathBuf,
    target: PathBuf,
    scratch: tempfile::TempDir,
}

/// A command that goes on, in a terminal of its own.
struct Terminal {
    child: Child,
    log: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let scratch = tempfile::tempdir().unwrap();
        let data = scratch.path().join("data");
        fs::create_dir(&data).unwrap();
        let profile = Path::new(env!("CARGO_BIN_EXE_kneard")).parent().unwrap();
        let target = profile.parent().unwrap().to_owned();
        // Places to mount on; both are ignored by git.
        for place in [".data", "target"] {
            fs::create_dir_all(checkout.join(place)).unwrap();
        }
        Self { namespace: NetNs::new(), checkout, data, target, scratch }
    }

    /// bash, in the checkout, inside the namespaces.
    fn bash(&self, command: &str) -> Command {
        let mount = r#"mount --bind "$1" .data && mount --bind "$2" target && exec bash -c "$3""#;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = binaries::clean("unshare");
        bash.args(["--mount", "--", "bash", "-c", mount, "bash"])
            .args([&self.data, &self.target])
            .arg(command)
            .current_dir(&self.checkout)
            .env("PATH", format!("{}:{path}", binaries::directory().display()))
            .env("CARGO_TARGET_DIR", self.checkout.join("target"))
            .stdin(Stdio::null());
        bash
    }

    /// Types a command and returns what it prints.
    fn types(&self, command: &str) -> String {
        let output = self.namespace.run(|| self.bash(command).output().expect("bash runs"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn terminal(&self, name: &str, command: &str) -> Terminal {
        let log = self.scratch.path().join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let mut bash = self.bash(command);
        bash.process_group(0).stdout(output.try_clone().unwrap()).stderr(output);
        let child = self.namespace.run(move || bash.spawn().expect("bash runs"));
        Terminal { child, log }
    }

    fn wait_for_state(&self, curl: &str, wanted: &str, terminal: &Terminal, bound: Duration) {
        let address: SocketAddr = match curl {
            CURL_FIRST => ([127, 0, 0, 1], 2233).into(),
            _ => ([127, 0, 0, 1], 2234).into(),
        };
        wait_until(bound, &format!("{wanted}; the log: {}", terminal.log.display()), || {
            let answer = self.namespace.run(|| support::http::get(address, "/metrics"));
            (state(&answer.ok()?)? == wanted).then_some(())
        });
    }

    /// `name`, or `name -> target` for links, of the lines that `ls -la` prints.
    fn lists(&self, command: &str) -> Vec<String> {
        let output = self.types(command);
        let lines = output.lines().filter(|line| !line.starts_with("total"));
        let name = |line: &str| line.split_whitespace().skip(8).collect::<Vec<_>>().join(" ");
        let mut names: Vec<_> = lines.map(name).collect();
        // The tutorial's list shows neither these nor what the stand-in and kneard keep beside.
        names.retain(|name| {
            let shown = ["config.json", "data", "genesis.json", "voter_node_key.json"];
            shown.contains(&&**name) || name.contains("_key.json")
        });
        names
    }

    /// kneard says `Validating` from the moment at which it sets out to start neard with the key.
    fn wait_for_key(&self, home: &str) {
        let link = self.data.join("near/localnet").join(home).join("validator_key.json");
        wait_until(secs(5), "the key is in the home", || link.is_symlink().then_some(()));
    }

    fn near(&self) -> PathBuf {
        self.checkout.join(".data/near/localnet")
    }
}

impl Terminal {
    /// ctrl-c: the terminal signals the whole foreground group.
    fn ctrl_c(mut self) -> String {
        killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        let status = wait_until(secs(30), "ctrl-c ends it", || self.child.try_wait().unwrap());
        let log = self.log();
        assert_eq!(status.code(), Some(0), "{log}");
        log
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A Procfile runner puts its processes into groups of their own and ends them when asked.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let end = Instant::now() + secs(15);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(millis(20));
        }
        kill_group(self.child.id() as i32);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

fn assert_logged(log: &str, parts: &[&str]) {
    let found = log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(found, "no line with {parts:?} in:\n{log}");
}

#[test]
fn every_command_as_it_stands() {
    let _turn = turn();
    let desk = Desk::new();
    let _runner = desk.terminal("procfile", "honcho start");
    let node0 = desk.data.join("near/localnet/node0/node_key.json");
    // Its `cargo run` may have to build much of the dependencies again, for another PATH.
    wait_until(secs(300), "the Procfile has set up the localnet", || {
        let kneard1 = desk.data.join("near/localnet/kneard1/voter_node_key.json");
        (node0.exists() && kneard1.exists()).then_some(())
    });

    desk.types("cargo build");
    let first = desk.terminal("first", FIRST);
    desk.wait_for_state(CURL_FIRST, "Validating", &first, secs(60));
    assert_eq!(known_metrics(&desk.types(CURL_FIRST)), tutorial_metrics("1", 1, 0));
    let near = desk.near();
    let of_node3 = |name: &str| format!("{name} -> {}/node3/{name}", near.display());
    let holder_home = [
        "config.json",
        "data",
        "genesis.json",
        &of_node3("node_key.json"),
        &of_node3("validator_key.json"),
        "voter_node_key.json",
    ]
    .map(str::to_owned);
    desk.wait_for_key("kneard0");
    assert_eq!(desk.lists(LIST_FIRST), holder_home);

    let second = desk.terminal("second", SECOND);
    desk.wait_for_state(CURL_SECOND, "Voting", &second, secs(60));
    assert_eq!(known_metrics(&desk.types(CURL_SECOND)), tutorial_metrics("0", 0, 1));
    let voter_key = format!("node_key.json -> {}/kneard1/voter_node_key.json", near.display());
    let standby_home = ["config.json", "data", "genesis.json", &voter_key, "voter_node_key.json"]
        .map(str::to_owned);
    assert_eq!(desk.lists(LIST_SECOND), standby_home);

    let log = first.ctrl_c();
    assert_logged(&log, &["WARN neard: SIGINT, stopping... this may take a few minutes."]);
    assert_logged(
        &log,
        &["level=info", r#"message="SIGINT received""#, r#"target="kneard::exit_signal_handler""#],
    );
    let to_shutdown = r#"message="state changed: Validating -> Shutdown""#;
    assert_logged(&log, &["level=info", to_shutdown, r#"target="kneard::supervisor""#]);
    assert_logged(&log, &[to_shutdown, " node_id=node"]);

    desk.wait_for_state(CURL_SECOND, "Validating", &second, secs(60));
    assert_eq!(known_metrics(&desk.types(CURL_SECOND)), tutorial_metrics("1", 1, 0));
    desk.wait_for_key("kneard1");
    assert_eq!(desk.lists(LIST_SECOND), holder_home);
    let to_validating = r#"message="state changed: Voting -> Validating""#;
    let log = wait_until(secs(30), "the second's neard says that it is a validator", || {
        let log = second.log();
        let says = |line: &str| line.contains("INFO stats: #") && line.contains("Validator | 4");
        log.lines().any(says).then_some(log)
    });
    assert_logged(&log, &["level=info", to_validating, r#"target="kneard::supervisor""#]);
    assert_logged(&log, &["WARN neard: SIGTERM, stopping... this may take a few minutes."]);

    let homes = ["kneard0", "kneard1"].map(|name| desk.data.join("near/localnet").join(name));
    let verdict = assert_one_signer(&homes);
    assert_eq!(verdict.changes, 1, "{}", verdict.text);
}

/// The page that users follow has the very commands that are tested here.
#[test]
fn the_documentation_has_these_commands() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/run-localnet.md");
    let text = fs::read_to_string(page).unwrap_or_else(|e| panic!("{page}: {e}"));
    for command in [FIRST, SECOND, CURL_FIRST, CURL_SECOND, LIST_FIRST, LIST_SECOND] {
        assert!(text.contains(&format!("$ {command}\n")), "{page} has not this command: {command}");
    }
}
