//! What an operator looks with: `check-rpc`, `system-info`, `status --watch`, help, completions and
//! man pages.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use support::{
    binaries::{self, Ended, run_to_end},
    pair::Pair,
    ports::free_port,
    wait::{secs, wait_until},
};

fn kneard_ctl(args: &[&str]) -> Ended {
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.args(args);
    run_to_end(command, secs(30))
}

#[test]
fn an_operator_looks() {
    let pair = Pair::start();
    let home = pair.standby.setup.home.to_str().unwrap();
    let rpc = format!("http://{}", pair.standby.setup.rpc);
    let other = format!("http://{}", pair.chain.rpc(0));

    let good = wait_until(secs(20), "the standby's neard keeps up", || {
        let ended = kneard_ctl(&["check-rpc", "--neard-home", home]);
        (ended.code == Some(0)).then_some(ended.stdout)
    });
    assert!(good.contains(&rpc) && good.ends_with("ok\n"), "{good}");
    let ended = kneard_ctl(&["--json", "check-rpc", "--rpc", &rpc, "--rpc", &other]);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 2, "{json}");
    for node in json["nodes"].as_array().unwrap() {
        assert!(node["height"].as_u64().unwrap() > 0, "{json}");
        assert!(node["peers"].as_u64().unwrap() > 0, "{json}");
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let ended = kneard_ctl(&["check-rpc", "--rpc", &nobody]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stdout.contains("is neard running there?"), "{}", ended.stdout);

    let socket = pair.standby.setup.home.join("kuutamod.sock");
    let ask = |args: &[&str]| {
        let mut all = vec!["--control-socket", socket.to_str().unwrap()];
        all.extend(args);
        kneard_ctl(&all)
    };
    let info = ask(&["system-info", "--inline", "--neard-home", home]).stdout;
    assert_eq!(info.lines().count(), 1, "{info}");
    for part in ["node: kneard1", "state: Voting", "chain: ", "height: ", "disk: ", "rpc: "] {
        assert!(info.contains(part), "no {part:?} in {info}");
    }
    let json: Value =
        serde_json::from_str(&ask(&["--json", "system-info", "--neard-home", home]).stdout)
            .unwrap();
    assert_eq!(json["node_id"], "kneard1");
    assert!(json["neard_uptime_sec"].is_u64() && json["disk_free_bytes"].is_u64(), "{json}");

    // Each node says whether it can be hot swapped, and where its session is.
    let nodes = wait_until(secs(15), "both nodes are listed", || {
        let status: Value = serde_json::from_str(&ask(&["--json", "status"]).stdout).ok()?;
        (status["nodes"].as_array()?.len() == 2).then(|| status["nodes"].clone())
    });
    for node in nodes.as_array().unwrap() {
        assert_eq!(node["hot_swap"], false, "it was not asked for: {node}");
        assert_eq!(node["consul_node"], "consul0");
    }

    let refused = ask(&["status", "--watch"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("needs a terminal"), "{}", refused.stderr);
    let mut command = binaries::clean(binaries::kneard_ctl());
    command.arg("--control-socket").arg(&socket).args(["--json", "status", "--watch"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    let statuses: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.iter().all(|status| status["node"]["node_id"] == "kneard1"), "{statuses:?}");
    // Nobody reads any more.
    let ended = wait_until(secs(10), "it ends by itself", || child.try_wait().unwrap());
    assert!(ended.success());
}

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = kneard_ctl(&["--help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("commands");
    let (commands, _) = commands.split_once("\n\n").expect("options");
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    commands.lines().filter_map(name).filter(|name| name != "help").collect()
}

#[test]
fn every_command_explains_itself() {
    let commands = commands();
    for known in ["status", "doctor", "check-rpc", "system-info", "switchover", "history"] {
        assert!(commands.iter().any(|name| name == known), "{known} is not in {commands:?}");
    }
    for command in commands {
        let ended = kneard_ctl(&[&command, "--help"]);
        assert_eq!(ended.code, Some(0), "{command}");
        let first = ended.stdout.lines().next().unwrap_or("");
        assert!(first.split_whitespace().count() >= 3, "{command} says too little: {first:?}");
        // Each option has a text: on its own line, or on the one below.
        let lines: Vec<&str> = ended.stdout.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0].starts_with("--")) {
            let explained =
                pair[0].contains("  ") || (!pair[1].is_empty() && !pair[1].starts_with('-'));
            assert!(explained, "{command}: {} is not explained", pair[0]);
        }
    }
}

#[test]
fn completions_and_man_pages_are_written_where_packages_have_them() {
    let directory = tempfile::tempdir().unwrap();
    let ended = kneard_ctl(&["generate", directory.path().to_str().unwrap()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let read = |path: &str| -> String {
        let path = directory.path().join("share").join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for file in [
        "bash-completion/completions/kneard-ctl",
        "zsh/site-functions/_kneard-ctl",
        "fish/vendor_completions.d/kneard-ctl.fish",
    ] {
        let text = read(file);
        for command in commands() {
            assert!(text.contains(&command), "{file} does not know {command}");
        }
    }
    for file in ["bash-completion/completions/kneard", "zsh/site-functions/_kneard"] {
        assert!(read(file).contains("--consul-token-file"), "{file}");
    }
    for command in commands() {
        let page = read(&format!("man/man1/kneard-ctl-{command}.1"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{command}: {page}");
    }
    assert!(read("man/man1/kneard-release.1").contains("runtime"));
    assert!(read("man/man1/kneard.1").contains("consul"));
    let pages = fs::read_dir(directory.path().join("share/man/man1")).unwrap();
    let names: Vec<_> =
        pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let odd = |name: &String| name.contains("help") || name.contains("generate");
    assert!(!names.iter().any(odd), "{names:?}");

    // What a shell makes of them; bash is on every system that runs the tests.
    let mut bash = std::process::Command::new("bash");
    bash.current_dir(directory.path()).args(["-c", COMPLETE]);
    let ended = run_to_end(bash, secs(10));
    assert_eq!(ended.stdout.trim(), "doctor", "{}", ended.stderr);
}

/// Completes `kneard-ctl doc`, with the function that the script registers.
const COMPLETE: &str = "
    source share/bash-completion/completions/kneard-ctl
    complete_it=$(complete -p kneard-ctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    COMP_WORDS=(kneard-ctl doc) COMP_CWORD=1
    $complete_it kneard-ctl doc kneard-ctl
    echo \"${COMPREPLY[@]}\"
";
