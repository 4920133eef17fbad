//! The numbers that the protocol depends on, and the relations between them.

use std::time::Duration;

use super::lease::millis;
use super::{InstanceId, Mutant, with_drift};

/// Consul accepts session TTLs and lock delays within these
/// (<https://developer.hashicorp.com/consul/api-docs/session#create-session>).
const MIN_SESSION_TTL: Duration = Duration::from_secs(10);
pub(super) const MAX_LOCK_DELAY: Duration = Duration::from_secs(60);

/// How neard gets the validator key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promotion {
    /// It is restarted with it, and may take another node key and other addresses with it.
    Restart,
    /// It loads the key while it runs, and unloads it again; its identity stays.
    HotSwap,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    pub node_id: String,
    pub instance: InstanceId,
    pub hostname: String,
    /// For how long one successful beat lets neard sign.
    pub lease: Duration,
    /// How long before the lease's end the guard kills neard.
    pub kill_margin: Duration,
    /// How often neard's `/status` is asked while nothing is awaited from it.
    pub status_interval: Duration,
    /// So many failed `/status` in a row mean that neard hangs.
    pub status_failures: u32,
    /// Blocks that a candidate's head may lie behind the record's.
    pub max_lag: u64,
    /// How long a successor waits for its head to reach its predecessor's.
    pub head_wait: Duration,
    /// After how long a block that a dead predecessor sent has reached everyone.
    pub propagation_delay: Duration,
    /// How long a holder may report `syncing` before it gives the key away.
    pub sync_patience: Duration,
    /// How long a promoted neard may take to confirm the key, and then to be in sync.
    pub promotion_timeout: Duration,
    pub promotion: Promotion,
    /// Before the first promotion, make sure that the key does not sign elsewhere.
    pub doppelganger_check: bool,
    /// How long neard may take to load or unload the key before that counts as failed (nearcore
    /// `chain/client/src/client_actor.rs` applies a reload at its next turn, about a second later
    /// at the most).
    pub swap_timeout: Duration,
    /// How long before the guard kills neard a hot-swapped key is taken out, so that neard lives on.
    pub soft_margin: Duration,
    /// How long neard may take to stop after SIGTERM when nobody waits for it.
    pub stop_timeout: Duration,
    /// The same when neard is restarted with the key and every millisecond is lost.
    pub promotion_stop_timeout: Duration,
    /// So many failed starts, before neard has ever answered, end kneard.
    pub start_attempts: u32,
    /// A rule that is broken on purpose, for the proofs.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error(
        "--lease {lease:?} is too short: it must be at least 4 × kill margin + 1s = 4 × {kill_margin:?} + 1s = {least:?}"
    )]
    LeaseTooShort { lease: Duration, kill_margin: Duration, least: Duration },
    #[error(
        "--kill-margin {kill_margin:?} is too short: it must be at least {least:?}, in which a dead holder's last block reaches everyone"
    )]
    KillMarginTooShort { kill_margin: Duration, least: Duration },
    #[error("--lease {lease:?} is too long: it must be at most 60s, Consul's longest lock delay")]
    LeaseTooLong { lease: Duration },
}

impl Settings {
    /// Defaults for everything but the identity.
    pub fn new(node_id: &str, instance: InstanceId, hostname: &str) -> Self {
        Settings {
            node_id: node_id.to_owned(),
            instance,
            hostname: hostname.to_owned(),
            lease: Duration::from_secs(7),
            kill_margin: Duration::from_millis(500),
            status_interval: Duration::from_secs(1),
            status_failures: 3,
            max_lag: 10,
            head_wait: Duration::from_secs(5),
            propagation_delay: Duration::from_millis(500),
            sync_patience: Duration::from_secs(30),
            promotion_timeout: Duration::from_secs(600),
            promotion: Promotion::Restart,
            doppelganger_check: false,
            swap_timeout: Duration::from_secs(2),
            soft_margin: Duration::from_millis(500),
            stop_timeout: Duration::from_secs(10),
            promotion_stop_timeout: Duration::from_millis(300),
            start_attempts: 3,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Refuses what cannot work, with the formula and the numbers.
    pub fn check(&self) -> Result<(), SettingsError> {
        // A holder that was killed in time must also not have a block on its way any more when
        // its successor starts. The guard needs less.
        let (kill_margin, least) = (self.kill_margin, self.propagation_delay);
        if kill_margin < least {
            return Err(SettingsError::KillMarginTooShort { kill_margin, least });
        }
        let least = self.kill_margin.saturating_mul(4).saturating_add(Duration::from_secs(1));
        if self.lease < least {
            return Err(SettingsError::LeaseTooShort {
                lease: self.lease,
                kill_margin: self.kill_margin,
                least,
            });
        }
        if self.lease > MAX_LOCK_DELAY {
            return Err(SettingsError::LeaseTooLong { lease: self.lease });
        }
        Ok(())
    }

    /// How often the holder renews its lease.
    pub fn beat_interval(&self) -> Duration {
        (self.lease / 5).min(Duration::from_secs(1))
    }

    /// Consul's timer runs to twice this, so nothing relies on it for speed.
    pub fn session_ttl(&self) -> Duration {
        MIN_SESSION_TTL.max(self.lease * 2)
    }

    /// So often that the session of a dead holder outlives its lease although the last renewal was
    /// lost: its end in between would start the lock's delay anew.
    pub fn session_renew_interval(&self) -> Duration {
        self.session_ttl() / 5
    }

    /// A second net against anything that takes the lock without this protocol.
    pub fn lock_delay(&self) -> Duration {
        with_drift(self.lease).min(MAX_LOCK_DELAY)
    }

    /// How long before the lease's end the guard is to kill.
    pub(super) fn guard_margin(&self) -> Duration {
        if self.has(Mutant::NoKillMargin) { Duration::ZERO } else { self.kill_margin }
    }

    pub(super) fn lease_ms(&self) -> u64 {
        millis(self.lease)
    }
}
