//! Key files, certificates and tokens: there, closed to others, and belonging together.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::report::Report;
use crate::neard::keys::{KeyFile, KeyKind};
use crate::settings::Settings;

/// Checks every file with a secret. Gives the account, if the validator key could be read.
pub fn check(report: &mut Report, settings: &Settings) -> Option<String> {
    let validator_key =
        key(report, "validator-key", &settings.validator_key, KeyKind::ValidatorKey, settings);
    let node_key = |report: &mut Report, name, path: &Option<_>| {
        let path: &std::path::PathBuf = path.as_ref()?;
        key(report, name, path, KeyKind::NodeKey, settings)
    };
    let validator_node_key = node_key(report, "validator-node-key", &settings.validator_node_key);
    let voter_node_key = node_key(report, "voter-node-key", &settings.voter_node_key);
    if let (Some(validator), Some(voter)) = (&validator_node_key, &voter_node_key)
        && validator.public_key == voter.public_key
    {
        report.problem(
            "node-keys",
            "--validator-node-key and --voter-node-key are one key: standby and validator would \
             be one node to the network",
            "give each node a voter node key of its own",
        );
    }
    let tls = &settings.consul.tls;
    for (name, file) in
        [("consul-token", &settings.consul.token_file), ("consul-key", &tls.key_file)]
    {
        if let Some(file) = file {
            secret_file(report, name, file);
        }
    }
    let account = validator_key?.account_id?.as_str().to_owned();
    match &settings.account_id {
        Some(flag) if *flag != account => report.problem(
            "account",
            format!(
                "--account-id says {flag}, {} says {account}",
                settings.validator_key.display()
            ),
            "correct the one or the other",
        ),
        _ => report.ok("account", &account),
    }
    Some(account)
}

fn key(
    report: &mut Report,
    name: &'static str,
    path: &Path,
    kind: KeyKind,
    settings: &Settings,
) -> Option<KeyFile> {
    match KeyFile::load(path, kind, settings.allow_readable_keys) {
        Ok(key) => {
            let message = format!("{}: {}", path.display(), key.public_key);
            if settings.allow_readable_keys && KeyFile::load(path, kind, false).is_err() {
                let remedy = format!("chmod 600 {}", path.display());
                report.warning(name, format!("{message}, but others can read it"), &remedy);
            } else if let Some(folder) = open_folder(path) {
                let remedy = format!("chmod go-w {folder}");
                report.warning(name, format!("{message}, but others can replace it"), &remedy);
            } else {
                report.ok(name, message);
            }
            Some(key)
        }
        Err(error) => {
            report.result(name, Err(error));
            None
        }
    }
}

/// The folder of a file, if others than its owner may put another file there.
fn open_folder(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let mode = folder.metadata().ok()?.mode();
    let sticky = mode & 0o1000 != 0;
    (mode & 0o022 != 0 && !sticky).then(|| folder.display().to_string())
}

fn secret_file(report: &mut Report, name: &'static str, path: &Path) {
    match path.metadata() {
        Ok(metadata) if metadata.mode() & 0o077 != 0 => report.warning(
            name,
            format!("{}: open to others (mode {:04o})", path.display(), metadata.mode() & 0o7777),
            &format!("chmod 600 {}", path.display()),
        ),
        Ok(_) => report.ok(name, path.display()),
        Err(error) => {
            report.problem(name, format!("{}: {error}", path.display()), "check the path");
        }
    }
}
