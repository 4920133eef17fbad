//! `kneard-ctl doctor`: looks at everything that kneard depends on, and says how to mend it.
//!
//! Needs no running kneard. Changes nothing: of Consul it asks for one scratch entry and a session
//! for a moment.

mod consul;
mod home;
mod host;
mod keys;
mod report;
mod source;
mod systemd;

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser as _;

pub use report::{Check, Level, Report};
use source::Source;
use systemd::Unit;

use crate::consul::{Client, ClientConfig};
use crate::election::InstanceId;
use crate::neard::keys::{KeyFile, KeyKind};
use crate::settings::{self, Settings};

const POLICY: &str = include_str!("../../../docs/consul-policy.hcl");

#[derive(Debug, Clone, clap::Args)]
// Its group would be named as that of the daemon.
#[group(skip)]
pub struct Args {
    /// Check with the environment and flags of this systemd unit; of the running kneard, if it runs
    /// [default: kneard.service, if it is there and no setting is given here]
    #[arg(long, value_name = "NAME", conflicts_with = "env_file")]
    unit: Option<String>,

    /// Check with the variables in this file, in the form of systemd's EnvironmentFile=; may be
    /// given several times
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Print the Consul policy that this node's token needs, instead of checking
    #[arg(long)]
    policy: bool,

    /// Where the settings that follow were found
    #[arg(long, hide = true, value_name = "TEXT")]
    settings_from: Option<String>,

    #[command(flatten, next_help_heading = "Settings of kneard, as kneard itself takes them")]
    daemon: settings::Args,
}

/// Checks, prints, and gives 1 if there is a problem.
pub async fn run(args: &Args, json: bool) -> ExitCode {
    let unit = args.unit.as_deref().map(|name| (name, Unit::find(name)));
    let source = match &unit {
        Some((name, None)) => Err(format!("systemd has no unit {name}")),
        Some((_, Some(unit))) => Source::of_unit(unit).map(Some),
        None if !args.env_file.is_empty() => Source::of_files(&args.env_file).map(Some),
        None if args.settings_from.is_none() && args.is_bare() => {
            Unit::find(systemd::DEFAULT).map(|unit| Source::of_unit(&unit)).transpose()
        }
        None => Ok(None),
    };
    let failed = match source {
        Ok(None) if args.policy => return policy(args).await,
        Ok(None) => {
            let report = examine(args).await;
            print(&report, json);
            return ExitCode::from(u8::from(report.count(Level::Problem) > 0));
        }
        Ok(Some(source)) => format!("cannot run itself again: {}", again(source)),
        Err(error) => error,
    };
    eprintln!("kneard-ctl: {failed}");
    ExitCode::FAILURE
}

impl Args {
    /// Nothing is said of the daemon, neither by flags nor by the environment.
    fn is_bare(&self) -> bool {
        let ours = |(name, _): (std::ffi::OsString, _)| {
            name.to_str().is_some_and(|name| name.starts_with("KUUTAMO_"))
        };
        !std::env::vars_os().any(ours)
            && settings::Args::try_parse_from(["kneard"]).is_ok_and(|args| args == self.daemon)
    }
}

/// Runs this program anew with the settings found, which flags and environment then say. Comes
/// back only if it cannot.
fn again(source: Source) -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if source::is_ours(&name.to_string_lossy()) && name != "PATH" {
            command.env_remove(name);
        }
    }
    let mut skip = false;
    for argument in std::env::args_os().skip(1) {
        let text = argument.to_string_lossy();
        let ours = ["--unit", "--env-file"];
        if std::mem::take(&mut skip)
            || ours
                .iter()
                .any(|flag| text.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
        {
            continue;
        }
        if ours.contains(&&*text) {
            skip = true;
            continue;
        }
        command.arg(argument);
    }
    command.arg("--settings-from").arg(source.name).args(source.arguments);
    command.envs(source.environment).exec()
}

async fn examine(args: &Args) -> Report {
    let name = args.settings_from.as_deref().unwrap_or("flags and environment");
    let mut report = Report { settings: name.to_owned(), ..Report::default() };
    let report = &mut report;
    let instance = InstanceId("doctor".to_owned());
    let settings = match Settings::new(&args.daemon, instance, "doctor") {
        Ok(settings) => {
            report.ok("settings", format!("node {}", settings.election.node_id));
            Some(settings)
        }
        Err(error) => {
            report.result("settings", Err(error));
            None
        }
    };
    // A unit counts if the settings are its own.
    let unit = args
        .settings_from
        .as_deref()
        .and_then(|name| name.split_whitespace().find(|word| word.ends_with(".service")))
        .and_then(Unit::find);
    host::check(report, settings.as_ref(), unit.as_ref());
    if let Some(unit) = &unit {
        systemd::check(report, unit, settings.as_ref());
    }
    if let Some(settings) = &settings {
        let account = keys::check(report, settings);
        let found = home::check(report, settings, account.as_deref()).await;
        host::ports(report, settings, &found);
        consul::check(report, settings, account.as_deref()).await;
    }
    std::mem::take(report)
}

fn print(report: &Report, json: bool) {
    if json {
        // Plain data: serializing it cannot fail.
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
    } else {
        println!("{report}");
    }
}

/// The documented policy with this node's names in it, as far as they can be found.
async fn policy(args: &Args) -> ExitCode {
    let settings = match Settings::new(&args.daemon, InstanceId("doctor".to_owned()), "doctor") {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("kneard-ctl: {error}");
            return ExitCode::FAILURE;
        }
    };
    let account = settings.account_id.clone().or_else(|| {
        let key = &settings.validator_key;
        let key = KeyFile::load(key, KeyKind::ValidatorKey, settings.allow_readable_keys).ok()?;
        Some(key.account_id?.as_str().to_owned())
    });
    let mut nodes = Vec::new();
    for address in &settings.consul.addresses {
        let config = ClientConfig { addresses: vec![address.clone()], ..settings.consul.clone() };
        if let Ok(client) = Client::new(config)
            && let Ok(agent) = client.agent_self(Duration::from_secs(3)).await
            && !nodes.contains(&agent.node_name)
        {
            nodes.push(agent.node_name);
        }
    }
    print!("{}", filled_in(account.as_deref(), &nodes));
    ExitCode::SUCCESS
}

fn filled_in(account: Option<&str>, nodes: &[String]) -> String {
    let mut policy = String::new();
    // Stanza by stanza: those of a node once for each node.
    for stanza in POLICY.split("\n\n").skip(1) {
        let stanza = stanza.trim_end();
        if !policy.is_empty() {
            policy.push('\n');
        }
        if stanza.contains("\"host-a\"") && !nodes.is_empty() {
            for node in nodes {
                policy.push_str(&stanza.replace("\"host-a\"", &format!("\"{node}\"")));
                policy.push('\n');
            }
        } else {
            policy.push_str(&stanza.replace("validator.near", account.unwrap_or("validator.near")));
            policy.push('\n');
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_printed_with_ones_own_names() {
        let nodes = ["consul0".to_owned(), "consul1".to_owned()];
        let policy = filled_in(Some("pool.near"), &nodes);
        for node in &nodes {
            assert!(policy.contains(&format!("session \"{node}\" {{")), "{policy}");
            assert!(policy.contains(&format!("agent \"{node}\" {{")), "{policy}");
        }
        assert!(policy.contains("key \"kuutamod-leader/pool.near\" {"), "{policy}");
        assert!(!policy.contains("validator.near") && !policy.contains("host-a"), "{policy}");
    }
}
