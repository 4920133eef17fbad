//! Writes this node's takeovers into Consul and counts them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts};
use tokio::time::sleep;

use super::Keys;
use crate::consul::{Client, Consistency, Error, Kind};
use crate::control::HistoryEntry;
use crate::election::{Takeover, TakeoverKind};

/// So many entries are kept.
const KEPT: usize = 100;
const LIMIT: Duration = Duration::from_secs(3);
/// So often an entry is tried to be written, with such a pause between: an entry is not worth more.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(3);

/// The takeovers of this process.
#[derive(Debug, Clone)]
pub struct Takeovers {
    pub total: IntCounterVec,
    pub duration: Histogram,
    last: Arc<Mutex<Option<Instant>>>,
}

impl Takeovers {
    /// # Errors
    /// A name or label that Prometheus does not accept.
    pub fn new() -> Result<Self, prometheus::Error> {
        let total = IntCounterVec::new(
            Opts::new(
                "kuutamod_takeovers_total",
                "How often this node has taken the validator key since its start, by reason",
            ),
            &["reason"],
        )?;
        for kind in TakeoverKind::ALL {
            total.with_label_values(&[kind.as_str()]);
        }
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "kuutamod_takeover_duration_seconds",
                "For how long nobody signed before this node's takeovers, as well as it knows",
            )
            .buckets(vec![0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0]),
        )?;
        Ok(Takeovers { total, duration, last: Arc::default() })
    }

    /// How long ago the last one was.
    pub fn age(&self) -> Option<Duration> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).map(|last| last.elapsed())
    }

    pub fn count(&self, takeover: &Takeover) {
        self.total.with_label_values(&[takeover.kind.as_str()]).inc();
        if let Some(without) = takeover.without_signer {
            self.duration.observe(without.as_secs_f64());
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Writes the entry and removes what is too old. Never in the way of beats: run it as a task.
pub async fn write(client: Client, keys: Keys, takeover: Takeover) {
    let (key, entry) = (keys.history_entry(takeover.term), entry(takeover));
    // An entry is plain data: serializing it cannot fail.
    let value = serde_json::to_vec(&entry).unwrap_or_default();
    for attempt in 1..=TRIES {
        match client.put(&key, &value, None, LIMIT).await {
            Ok(_) => break,
            Err(error) if attempt == TRIES || error.kind == Kind::Denied => {
                tracing::warn!("the history lacks this node's takeover: {error}");
                return;
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
    // Whoever writes next removes what is left over.
    if let Err(error) = prune(&client, &keys).await {
        tracing::warn!("old entries of the history stay for now: {error}");
    }
}

async fn prune(client: &Client, keys: &Keys) -> Result<(), Error> {
    let entries = client.read_prefix(&keys.history(), Consistency::Default, LIMIT).await?;
    let surplus = entries.len().saturating_sub(KEPT);
    for entry in entries.iter().take(surplus) {
        client.delete(&entry.key, LIMIT).await?;
    }
    Ok(())
}

fn entry(takeover: Takeover) -> HistoryEntry {
    HistoryEntry {
        time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        from: takeover.from,
        to: takeover.to,
        term: takeover.term,
        kind: takeover.kind.as_str().to_owned(),
        reason: takeover.reason,
        seconds_without_signer: takeover.without_signer.map(|without| without.as_secs_f64()),
        planned: takeover.kind.is_planned(),
    }
}

/// What is in Consul, the newest first.
///
/// # Errors
/// Consul does not answer.
pub async fn read(client: &Client, keys: &Keys) -> Result<Vec<HistoryEntry>, Error> {
    let entries = client.read_prefix(&keys.history(), Consistency::Default, LIMIT).await?;
    let readable = |entry: &crate::consul::KvEntry| serde_json::from_slice(&entry.value).ok();
    Ok(entries.iter().rev().filter_map(readable).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::ClientConfig;
    use crate::consul::stand_in::StandIn;

    fn takeover(term: u64) -> Takeover {
        Takeover {
            term,
            from: Some("a".to_owned()),
            to: "b".to_owned(),
            kind: TakeoverKind::Switchover,
            reason: "a released the key: switchover".to_owned(),
            without_signer: Some(Duration::from_millis(42)),
        }
    }

    #[tokio::test]
    async fn the_last_hundred_are_kept_and_the_newest_comes_first() {
        let stand_in = StandIn::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addresses = vec![format!("http://{}", stand_in.local_addr())];
        tokio::spawn(stand_in.serve());
        let client = Client::new(ClientConfig { addresses, ..ClientConfig::default() }).unwrap();
        let keys = Keys::new("account");
        for term in 8..=109 {
            write(client.clone(), keys.clone(), takeover(term)).await;
        }
        let entries = read(&client, &keys).await.unwrap();
        let terms: Vec<u64> = entries.iter().map(|entry| entry.term).collect();
        assert_eq!(terms, (10..=109).rev().collect::<Vec<_>>());
        assert_eq!(entries[0].seconds_without_signer, Some(0.042));
        assert!(entries[0].planned && entries[0].time.ends_with('Z'), "{:?}", entries[0]);
    }

    #[test]
    fn each_takeover_is_counted_by_its_reason() {
        let takeovers = Takeovers::new().unwrap();
        assert_eq!(takeovers.age(), None);
        takeovers.count(&takeover(1));
        assert_eq!(takeovers.total.with_label_values(&["switchover"]).get(), 1);
        assert_eq!(takeovers.total.with_label_values(&["silence"]).get(), 0);
        assert_eq!(takeovers.duration.get_sample_count(), 1);
        assert!(takeovers.age().is_some());
    }
}
