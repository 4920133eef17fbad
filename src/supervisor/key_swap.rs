//! The key's way into the home of a neard that runs, or out of it.

use std::path::PathBuf;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::election::Event;
use crate::neard::home::{Home, HomeError};

pub enum KeySwap {
    /// The key goes in when the guard has confirmed its deadline by the answer of this number.
    Arming { seq: u64 },
    /// The file is being changed beside the loop, which has a lease to renew.
    Moving { work: JoinHandle<Result<(), HomeError>>, failed: fn(String) -> Event },
}

impl KeySwap {
    pub fn load(home: Home, validator_key: PathBuf) -> Self {
        let insert = move || {
            home.insert_validator_key(&validator_key).inspect_err(|_| {
                // Half done is not done: neard may reload for another reason.
                let _ = home.remove_validator_key(&validator_key);
            })
        };
        KeySwap::Moving { work: spawn_blocking(insert), failed: Event::KeyNotLoaded }
    }

    pub fn unload(home: Home, validator_key: PathBuf) -> Self {
        let remove = move || home.remove_validator_key(&validator_key);
        KeySwap::Moving { work: spawn_blocking(remove), failed: Event::KeyNotUnloaded }
    }

    /// The end of the file's change; never, while there is none. May be cancelled without loss.
    pub async fn done(swap: &mut Option<Self>) -> Result<(), Event> {
        match swap {
            Some(KeySwap::Moving { work, failed }) => match work.await {
                Ok(result) => result.map_err(|error| failed(error.to_string())),
                Err(error) => Err(failed(error.to_string())),
            },
            Some(KeySwap::Arming { .. }) | None => std::future::pending().await,
        }
    }

    /// Waits until nothing is changed any more.
    pub async fn ended(self) {
        if let KeySwap::Moving { work, .. } = self {
            let _ = work.await;
        }
    }
}
