//! What neard is asked, and its answers in the election's words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::election::{Duties, NeardStatus, SignKey};
use crate::neard::keys::PublicKey;
use crate::neard::rpc::Rpc;

/// How long one `/status` may take.
const STATUS_LIMIT: Duration = Duration::from_secs(1);
/// How long the list of all validators may take.
const DUTIES_LIMIT: Duration = Duration::from_secs(5);

/// What `/status` told last of the program and its chain.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub version: Option<String>,
    pub chain_id: Option<String>,
}

/// What the account has signed, in the election's words.
pub async fn duties(rpc: Rpc, account: &str) -> Result<Option<Duties>, String> {
    let duties = rpc.duties(account, DUTIES_LIMIT).await.map_err(|error| error.to_string())?;
    Ok(duties.map(|duties| Duties { epoch: duties.epoch_start_height, signed: duties.signed }))
}

/// What neard says of itself, in the election's words.
pub async fn status(
    rpc: Rpc,
    ours: &PublicKey,
    told: &Mutex<Told>,
    unloading: bool,
) -> Result<NeardStatus, String> {
    let status = rpc.status(STATUS_LIMIT).await.map_err(|error| error.to_string())?;
    *told.lock().unwrap_or_else(PoisonError::into_inner) =
        Told { version: status.version, chain_id: status.chain_id };
    let key = match status.validator_public_key {
        None => SignKey::None,
        Some(key) if key == *ours => SignKey::Ours,
        Some(_) => SignKey::Other,
    };
    let made_up_to = if unloading && key == SignKey::None {
        // Without an answer the core assumes the worst.
        rpc.made_up_to(STATUS_LIMIT).await.ok().flatten()
    } else {
        None
    };
    Ok(NeardStatus { syncing: status.syncing, head: status.head, key, made_up_to })
}
