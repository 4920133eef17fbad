//! `kneard manual`: neard with the validator key and without an election, for the day on which the
//! election itself is broken. It starts only where Consul says that nobody else validates or stands
//! ready to, or on an operator's word.
//!
//! From then on nothing guards against a second signer but the operator.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::time::Instant;

use super::Keys;
use super::start::{RunError, neard_options};
use crate::consul::{Client, Consistency};
use crate::control::NodeReport;
use crate::election::{Content, Record, RecordState, with_drift};
use crate::neard::home::{Home, HomeError};
use crate::settings::{ArgsError, Settings};
use crate::{consul, systemd};

/// Of one question to Consul.
const LIMIT: Duration = Duration::from_secs(3);
/// How long whoever uses the home may take to leave it: a kneard that was just stopped.
const HOME_LOCK_WAIT: Duration = Duration::from_secs(12);

#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(
        "neard is not started: {0}; if you are certain that no other node has the validator key, set \
         KNEARD_MANUAL_FORCE=true"
    )]
    Refused(String),
    #[error("--neard-binary {binary}: {error}")]
    Neard { binary: PathBuf, error: io::Error },
}

impl ManualError {
    /// As [`RunError::exit_code`], and 3 for a refusal.
    pub fn exit_code(&self) -> u8 {
        match self {
            ManualError::Args(_) => 2,
            ManualError::Run(error) => error.exit_code(),
            ManualError::Refused(_) => 3,
            ManualError::Neard { .. } => 1,
        }
    }
}

impl From<HomeError> for ManualError {
    fn from(error: HomeError) -> Self {
        ManualError::Run(RunError::Home(error))
    }
}

/// Becomes neard, with the validator key.
///
/// # Errors
/// Another node may validate, or neard cannot be started.
pub async fn manual(settings: &Settings, force: bool) -> Result<Infallible, ManualError> {
    let (options, account) = neard_options(settings)?;
    let home = Home::open(&settings.neard_home)?;
    home.check(&options.validator)?;
    let lock = home.lock(HOME_LOCK_WAIT).await?;
    if force {
        tracing::warn!("started by force: nobody was asked whether another node validates");
    } else {
        nobody_else(settings, &account).await.map_err(ManualError::Refused)?;
    }
    home.prepare(&options.validator)?;

    let mut command = Command::new(&options.binary);
    command.args(options.arguments(home.path())).stdin(Stdio::null());
    for variable in systemd::VARIABLES {
        command.env_remove(variable);
    }
    // neard keeps the home locked: no kneard may start another one there.
    let error = match fcntl(lock.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())) {
        Ok(_) => command.exec(),
        Err(errno) => errno.into(),
    };
    Err(ManualError::Neard { binary: options.binary, error })
}

/// Takes the validator key out of a home whose neard is dead. Needs no key itself: systemd has taken
/// the credentials away by then.
///
/// # Errors
/// The key may still be there, or the home is in use.
pub async fn clean_up(home: &Path) -> Result<(), ManualError> {
    let home = Home::open(home)?;
    let _lock = home.lock(Duration::ZERO).await?;
    // What stands there is a link that `manual` has made; any other file is left, with an error.
    Ok(home.remove_validator_key(Path::new("the validator key"))?)
}

/// Whether Consul says that no other node validates or could begin to; else what speaks against it.
async fn nobody_else(settings: &Settings, account: &str) -> Result<(), String> {
    let unknown = |error: consul::Error| format!("Consul cannot say who validates ({error})");
    let client = Client::new(settings.consul.clone()).map_err(unknown)?;
    let keys = Keys::new(account);
    let ours = |id: &str, hostname: &str| {
        id == settings.election.node_id && hostname == settings.election.hostname
    };

    // A kneard that votes takes the lock as soon as it is free.
    let nodes = client.read_prefix(&keys.nodes(), Consistency::Consistent, LIMIT).await;
    let nodes = NodeReport::of_sessions(&nodes.map_err(unknown)?);
    if let Some(node) = nodes.iter().find(|node| !ours(&node.node_id, &node.hostname)) {
        let NodeReport { node_id, hostname, state, .. } = node;
        return Err(format!(
            "{node_id} on {hostname} takes part in the election ({state}): stop its kneard"
        ));
    }

    let key = keys.election();
    let first = read(&client, &key).await.map_err(unknown)?;
    let seen = Instant::now();
    loop {
        let now = read(&client, &key).await.map_err(unknown)?;
        let Some((locked, record)) = now else { return Ok(()) };
        let Some(record) = record else {
            return Err(format!("the record in Consul's key {key} is unreadable"));
        };
        let Record { holder, hostname, state, .. } = &record;
        if ours(holder, hostname) || (!locked && *state == RecordState::Released) {
            return Ok(());
        }
        if locked {
            return Err(format!("{holder} on {hostname} holds the lock"));
        }
        // It lost the lock without giving it back, and may sign until its lease ends.
        let same = first.as_ref().and_then(|(_, first)| first.as_ref()).map(Record::mark);
        let left = with_drift(record.lease()).saturating_sub(seen.elapsed());
        if same != Some(record.mark()) {
            return Err(format!("{holder} on {hostname} has just written its record"));
        }
        if left.is_zero() {
            return Ok(());
        }
        tracing::info!("waiting {left:.1?} for the end of the lease of {holder} on {hostname}");
        tokio::time::sleep(left).await;
    }
}

/// Whether the key is locked, and its record; `None` where it does not exist.
async fn read(client: &Client, key: &str) -> Result<Option<(bool, Option<Record>)>, consul::Error> {
    let entry = client.read(key, Consistency::Consistent, LIMIT).await?.entry;
    Ok(entry.map(|entry| {
        let record = match Content::parse(&entry.value) {
            Content::Record(record) => Some(record),
            Content::Unreadable => None,
        };
        (entry.session.is_some(), record)
    }))
}
