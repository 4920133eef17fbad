//! How the servers fare, as the autopilot of their leader sees it: for `doctor`, no lease depends
//! on it. Both questions take `operator` read, which the documented policy does not grant.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::client::{Client, get};
use super::error::Error;
use super::{answer, transport::Call};

/// The servers' health
/// (<https://developer.hashicorp.com/consul/api-docs/operator/autopilot#read-health>). The leader
/// looks every two seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// So many of those that have a vote may be lost before there is no leader.
    pub failure_tolerance: usize,
    /// None before a new leader has looked.
    #[serde(deserialize_with = "list_or_null")]
    pub servers: Vec<ServerHealth>,
}

/// One server, up or not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServerHealth {
    /// Its Consul node name.
    pub name: String,
    /// It is up and has heard from the leader within 200 ms, unless set otherwise.
    pub healthy: bool,
}

fn list_or_null<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<ServerHealth>, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

impl Client {
    /// How the servers fare.
    ///
    /// # Errors
    /// [`Kind::Denied`](super::Kind::Denied) without `operator` read.
    pub async fn health(&self, limit: Duration) -> Result<Health, Error> {
        let path = "/v1/operator/autopilot/health".to_owned();
        let call = Call { says_429: true, ..get(path, String::new(), None) };
        self.transport.send(&call, limit, answer::health).await
    }

    /// Whether a server that is lost for some ten seconds is forgotten, and the sessions made with
    /// it ended.
    ///
    /// # Errors
    /// [`Kind::Denied`](super::Kind::Denied) without `operator` read.
    pub async fn forgets_lost_servers(&self, limit: Duration) -> Result<bool, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Configuration {
            cleanup_dead_servers: bool,
        }
        let path = "/v1/operator/autopilot/configuration".to_owned();
        let call = get(path, String::new(), None);
        let answered: Configuration = self.transport.send(&call, limit, answer::json).await?;
        Ok(answered.cleanup_dead_servers)
    }
}
