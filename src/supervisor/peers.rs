//! What the other nodes publish of themselves, for the status line only.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Keys, Snapshot};
use crate::consul::{Client, Consistency};
use crate::control::NodeReport;

/// How often they are asked for.
const INTERVAL: Duration = Duration::from_secs(10);
/// How soon again, when this node's own state changes.
const PAUSE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3);

/// The nodes that vote; `None` while Consul does not say.
pub type Peers = Option<Vec<NodeReport>>;

/// Keeps `peers` up to date until it is dropped.
pub async fn follow(
    client: Client,
    keys: Keys,
    mut snapshot: watch::Receiver<Snapshot>,
    peers: watch::Sender<Peers>,
) {
    loop {
        let state = snapshot.borrow_and_update().state;
        let entries = client.read_prefix(&keys.nodes(), Consistency::Stale, LIMIT).await;
        peers.send_replace(entries.ok().map(|entries| NodeReport::of_sessions(&entries)));
        sleep(PAUSE).await;
        let changed = snapshot.wait_for(|now| now.state != state);
        if let Ok(Err(_)) = timeout(INTERVAL, changed).await {
            return;
        }
    }
}
