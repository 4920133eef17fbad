//! Follows the key in Consul that forbids takeovers.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::consul::{BlockingIndex, Client, Consistency, Error, Kind};
use crate::control::Pause;
use crate::election::Event;

const WAIT: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(3);
/// Older Consuls end a blocking query on a missing key at every write to any key, the holder's
/// beats among them; and so soon a failed one is tried again.
const FLOOR: Duration = Duration::from_secs(1);

/// Whether takeovers are paused now. A token that may not read the key cannot learn of a pause, and
/// must not keep a standby from standing by.
///
/// # Errors
/// Consul does not answer.
pub async fn read(client: &Client, key: &str) -> Result<Option<Pause>, Error> {
    match client.read(key, Consistency::Default, LIMIT).await {
        Ok(read) => Ok(read.entry.map(|entry| Pause::parse(&entry.value))),
        Err(error) if error.kind == Kind::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells of every change until it is dropped.
pub async fn follow(
    client: Client,
    key: String,
    events: Sender<Event>,
    told: watch::Sender<Option<Pause>>,
) {
    let mut index = BlockingIndex::new();
    let mut complaint = None;
    loop {
        let started = Instant::now();
        let read = client.watch(&key, index.next(), WAIT, Consistency::Default, LIMIT).await;
        match read {
            Ok(read) => {
                complaint = None;
                index.update(read.index);
                let pause = read.entry.map(|entry| Pause::parse(&entry.value));
                let news = told.send_replace(pause.clone()) != pause;
                if news {
                    match &pause {
                        Some(pause) => tracing::warn!("no takeovers: {pause}"),
                        None => tracing::info!("takeovers are not paused any more"),
                    }
                }
                if events.send(Event::Paused(pause.is_some())).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                index.reset();
                // What matters to the election reports that Consul does not answer.
                if error.kind == Kind::Denied && complaint.as_ref() != Some(&error.kind) {
                    tracing::error!("cannot learn whether takeovers are paused: {error}");
                    complaint = Some(error.kind);
                }
            }
        }
        sleep(FLOOR.saturating_sub(started.elapsed())).await;
    }
}
