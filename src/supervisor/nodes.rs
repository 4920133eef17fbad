//! Publishes this node in Consul, for `status` and for the leases that other nodes must wait out.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Keys, Snapshot};
use crate::consul::{Client, Consistency, Error, Kind};
use crate::control::NodeReport;
use crate::election::{SessionId, State};

/// How often the head is published when nothing else changes.
const INTERVAL: Duration = Duration::from_secs(10);
/// How soon a change or a failed try is published again.
const PAUSE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3);

/// Runs until it is dropped.
pub async fn publish(
    client: Client,
    keys: Keys,
    mut snapshot: watch::Receiver<Snapshot>,
    max_lag: u64,
) {
    let mut twin = Twin::default();
    let mut complaint = None;
    // The session that was asked about last, and the Consul node that it belongs to.
    let mut home: Option<(SessionId, String)> = None;
    loop {
        let (now, mut report) = {
            let now = snapshot.borrow_and_update();
            (Told::by(&now, max_lag), now.report.clone())
        };
        let started = Instant::now();
        let published = match &now.session {
            Some(session) => {
                if home.as_ref().is_none_or(|(asked, _)| asked != session) {
                    home = consul_node(&client, session).await.map(|node| (session.clone(), node));
                }
                report.consul_node = home.as_ref().map(|(_, node)| node.clone());
                match put(&client, &keys, session, &report, &mut twin).await {
                    Ok(()) => Some(now),
                    Err(error) => {
                        complain(&error, &mut complaint);
                        None
                    }
                }
            }
            None => None,
        };
        let next = started + if published.is_some() { INTERVAL } else { PAUSE };
        let news = snapshot.wait_for(|now| {
            now.session.is_some() && published.as_ref() != Some(&Told::by(now, max_lag))
        });
        tokio::select! {
            news = news => if news.is_err() { return },
            () = sleep_until(next) => {}
        }
        sleep_until(started + PAUSE).await;
    }
}

/// The Consul node that our session belongs to. Only to show it.
async fn consul_node(client: &Client, session: &SessionId) -> Option<String> {
    let info = client.session_info(session, Consistency::Default, LIMIT).await.ok()??;
    Some(info.node)
}

/// What matters to the election reports its own failures. But what a token does not allow nobody
/// else would tell of.
fn complain(error: &Error, last: &mut Option<String>) {
    let text = error.to_string();
    if error.kind == Kind::Denied && last.as_ref() != Some(&text) {
        tracing::error!("this node cannot publish itself for the others: {text}");
        *last = Some(text);
    }
}

/// What is published at once when it changes.
#[derive(PartialEq, Eq)]
struct Told {
    state: State,
    session: Option<SessionId>,
    paused: bool,
    /// Its head is too far behind for it to take the key.
    lags: bool,
}

impl Told {
    fn by(snapshot: &Snapshot, max_lag: u64) -> Self {
        Told {
            state: snapshot.state,
            session: snapshot.session.clone(),
            paused: snapshot.pause.is_some(),
            lags: snapshot.report.lag.is_some_and(|lag| lag > max_lag),
        }
    }
}

/// Removes this node's entry, if Consul can be told so soon: left behind it is harmless, for an
/// entry without a session is not listed.
pub async fn withdraw(client: &Client, keys: &Keys, report: &NodeReport) {
    let _ = timeout(LIMIT, remove(client, keys, report)).await;
}

async fn remove(client: &Client, keys: &Keys, report: &NodeReport) {
    for name in [report.node_id.clone(), name_of_twin(report)] {
        let key = keys.node(&name);
        let entry = client.read(&key, Consistency::Default, LIMIT).await;
        let is_ours = |value: &[u8]| {
            serde_json::from_slice::<NodeReport>(value)
                .is_ok_and(|entry| entry.instance == report.instance)
        };
        if entry.is_ok_and(|read| read.entry.is_some_and(|entry| is_ours(&entry.value))) {
            let _ = client.delete(&key, LIMIT).await;
        }
    }
}

/// Another node that carries our node id.
#[derive(Default)]
struct Twin {
    last: Option<NodeReport>,
    reported: bool,
    /// The name was taken, so this node published itself under another one.
    evaded: bool,
}

async fn put(
    client: &Client,
    keys: &Keys,
    session: &SessionId,
    report: &NodeReport,
    twin: &mut Twin,
) -> Result<(), Error> {
    // A report is plain data: serializing it cannot fail.
    let value = serde_json::to_vec(report).unwrap_or_default();
    let key = keys.node(&report.node_id);
    if client.put(&key, &value, Some(session), LIMIT).await? {
        if twin.evaded {
            // Or it would be listed twice.
            client.delete(&keys.node(&name_of_twin(report)), LIMIT).await?;
            twin.evaded = false;
        }
        return Ok(());
    }
    let entry = client.read(&key, Consistency::Default, LIMIT).await?.entry;
    let other = entry.and_then(|entry| serde_json::from_slice::<NodeReport>(&entry.value).ok());
    twin.meet(report, other);
    // Both stay listed, and the election knows them apart by instance and session.
    twin.evaded = true;
    client.put(&keys.node(&name_of_twin(report)), &value, Some(session), LIMIT).await?;
    Ok(())
}

impl Twin {
    /// An earlier run of this node, whose session has not expired yet, publishes nothing new.
    fn meet(&mut self, report: &NodeReport, other: Option<NodeReport>) {
        let Some(other) = other.filter(|other| other.instance != report.instance) else { return };
        let alive = self.last.as_ref().is_some_and(|last| {
            last.instance == other.instance
                && (last.head != other.head || last.state != other.state)
        });
        if alive && !self.reported {
            self.reported = true;
            tracing::error!(
                "another kneard on {} votes with the same node id {:?}: \
                 give each node its own --node-id",
                other.hostname,
                report.node_id
            );
        }
        self.last = Some(other);
    }
}

fn name_of_twin(report: &NodeReport) -> String {
    format!("{}.{}", report.node_id, report.instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::stand_in::StandIn;
    use crate::consul::{Behavior, ClientConfig, SessionRequest};

    async fn consul() -> Client {
        let stand_in = StandIn::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addresses = vec![format!("http://{}", stand_in.local_addr())];
        tokio::spawn(stand_in.serve());
        Client::new(ClientConfig { addresses, ..ClientConfig::default() }).unwrap()
    }

    async fn session(client: &Client) -> SessionId {
        let request = SessionRequest {
            name: "kneard".to_owned(),
            node: None,
            ttl: Duration::from_secs(10),
            lock_delay: Duration::ZERO,
            behavior: Behavior::Release,
            node_checks: Vec::new(),
        };
        client.create_session(&request, LIMIT).await.unwrap()
    }

    fn report(instance: &str) -> NodeReport {
        NodeReport {
            node_id: "node".to_owned(),
            instance: instance.to_owned(),
            hostname: "host".to_owned(),
            state: State::Voting.to_string(),
            lease_ms: 6_000,
            head: Some(1),
            ..NodeReport::default()
        }
    }

    async fn listed(client: &Client, keys: &Keys) -> Vec<String> {
        let entries = client.read_prefix(&keys.nodes(), Consistency::Consistent, LIMIT).await;
        entries.unwrap().into_iter().map(|entry| entry.key).collect()
    }

    #[tokio::test]
    async fn a_node_that_follows_its_own_crash_ends_up_listed_once() {
        let (client, keys) = (consul().await, Keys::new("account"));
        let crashed = session(&client).await;
        put(&client, &keys, &crashed, &report("crashed"), &mut Twin::default()).await.unwrap();

        let (ours, mut twin) = (session(&client).await, Twin::default());
        put(&client, &keys, &ours, &report("ours"), &mut twin).await.unwrap();
        let [name, other_name] = [keys.node("node"), keys.node("node.ours")];
        assert_eq!(listed(&client, &keys).await, [name.as_str(), &other_name]);

        client.destroy_session(&crashed, LIMIT).await.unwrap();
        put(&client, &keys, &ours, &report("ours"), &mut twin).await.unwrap();
        assert_eq!(listed(&client, &keys).await, [name.as_str()]);

        withdraw(&client, &keys, &report("ours")).await;
        assert!(listed(&client, &keys).await.is_empty());
    }
}
