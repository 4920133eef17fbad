//! Tells of the Consul agent that kneard talks to, and of what its token may not do there.

use std::time::Duration;

use crate::consul::{Client, Kind};

const LIMIT: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(5);

/// Says once which agent answers. Whether one answers at all is told by the requests that matter.
pub async fn introduce(client: Client) {
    loop {
        match client.agent_self(LIMIT).await {
            Ok(agent) => {
                tracing::info!(
                    "Consul agent {} of datacenter {}, version {}",
                    agent.node_name,
                    agent.datacenter,
                    agent.version
                );
                return;
            }
            Err(error) if error.kind == Kind::Denied => {
                tracing::warn!("cannot ask the Consul agent for its name and version: {error}");
                return;
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
