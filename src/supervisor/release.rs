//! `kneard release`: gives a dead kneard's lock back, once its neard is proven dead.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Keys;
use super::election_key::{operations, outcome, release_after_crash, seen};
use super::runtime_file::{NeardProcess, RuntimeFile};
use crate::consul::{Client, Consistency, TxnOp};
use crate::election::{InstanceId, Outcome, SessionId};
use crate::neard::guard;

/// A kneard that is started anew waits for this process, which holds the home. Past the lease's end
/// a standby needs no release.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(1);
/// How long a neard that was killed may take to die, with all the memory that it gives back.
const DEATH: Duration = Duration::from_secs(3);
const DEATH_POLL: Duration = Duration::from_millis(5);
const RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("{path}: {error}; --runtime-dir must be the one that kneard ran with")]
    File { path: PathBuf, error: std::io::Error },
    #[error("neard is still alive with pid {0}: it may sign, so the lock stays")]
    Alive(i32),
    #[error("{0}")]
    Consul(String),
}

/// What is known of the kneard whose lock is to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kneard {
    /// Nothing: a neard that lives may be its.
    Unknown,
    /// It has ended, as its service manager says: a neard that lives is an orphan.
    Ended,
}

/// Gives the lock back that the kneard of `runtime_dir` held. Returns what was done, in words.
///
/// # Errors
/// neard is alive, or Consul could not be told.
pub async fn release(runtime_dir: &Path, kneard: Kneard) -> Result<String, ReleaseError> {
    let file = match RuntimeFile::read(runtime_dir) {
        Ok(file) => file,
        Err(error) if kneard == Kneard::Ended && error.kind() == ErrorKind::NotFound => {
            return Ok("kneard ended in good order: nothing to release".to_owned());
        }
        Err(error) => {
            return Err(ReleaseError::File { path: RuntimeFile::path(runtime_dir), error });
        }
    };
    if let Some(neard) = file.neard {
        if kneard == Kneard::Ended {
            end(neard).await;
        }
        if neard.is_alive() {
            return Err(ReleaseError::Alive(neard.pid));
        }
    }
    let Some(session) = file.session.clone() else {
        return Ok("there was no Consul session: nothing to release".to_owned());
    };
    let consul = |error: crate::consul::Error| ReleaseError::Consul(error.to_string());
    let client = Client::new(file.consul()).map_err(consul)?;
    let keys = Keys::new(&file.account_id);
    let done = release_election(&client, &keys.election(), &session, &file.instance).await?;
    free_names(&client, &keys, &session).await;
    Ok(done)
}

async fn release_election(
    client: &Client,
    key: &str,
    session: &SessionId,
    instance: &InstanceId,
) -> Result<String, ReleaseError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let why = match client.read(key, Consistency::Consistent, LIMIT).await {
            Ok(read) => {
                let mut write = match release_after_crash(seen(read.entry), session, instance) {
                    Ok(write) => write,
                    Err(nothing) => return Ok(nothing.to_owned()),
                };
                let record = write.record_mut();
                record.since = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
                let state = record.state;
                let answer = client.txn(&operations(key, write), LIMIT).await;
                match outcome(key, answer) {
                    Outcome::Committed(_) => {
                        return Ok(format!("unlocked, the record says {state:?}").to_lowercase());
                    }
                    Outcome::Refused(_, why) | Outcome::Unknown(why) => why,
                }
            }
            Err(error) => error.to_string(),
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(ReleaseError::Consul(why));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Lets the kneard that is started next publish itself under its own name at once, and not when
/// the dead one's session expires. What that published stays: its lease still counts.
async fn free_names(client: &Client, keys: &Keys, session: &SessionId) {
    let Ok(entries) = client.read_prefix(&keys.nodes(), Consistency::Consistent, LIMIT).await
    else {
        return;
    };
    for entry in entries.into_iter().filter(|entry| entry.session.as_ref() == Some(session)) {
        let unlock = TxnOp::Unlock {
            key: entry.key,
            value: entry.value,
            flags: entry.flags,
            session: session.clone(),
        };
        // Without it the name is free when the session expires.
        let _ = client.txn(&[unlock], LIMIT).await;
    }
}

/// Kills a neard that has no kneard any more, and waits for its death. Its guard has done so already,
/// unless it is dead or stopped itself.
async fn end(neard: NeardProcess) {
    let deadline = tokio::time::Instant::now() + DEATH;
    while neard.is_alive() && tokio::time::Instant::now() < deadline {
        if let Err(error) = guard::kill_orphan(neard.identity()) {
            tracing::error!("neard, pid {}, cannot be killed: {error}", neard.pid);
            return;
        }
        tokio::time::sleep(DEATH_POLL).await;
    }
}
