//! What kneards and Consul servers say of themselves, asked from inside their namespaces by
//! threads of their own: a host that does not answer holds up nobody.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    support::{chain::ACCOUNT, election, http, kneard, netns::NetNs, wait::boot_time},
    timeline::Timeline,
};

const PERIOD: Duration = Duration::from_millis(200);

/// What was last seen.
#[derive(Default)]
pub struct Seen {
    /// The state of each host's kneard; none while it does not answer.
    pub states: BTreeMap<usize, Option<String>>,
    /// Whom each Consul server takes for the leader.
    pub leaders: BTreeMap<usize, Option<Ipv4Addr>>,
    /// When a beat of this node was last seen to be new.
    pub beats: BTreeMap<String, Duration>,
    newest: (u64, u64),
}

#[derive(Clone)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    timeline: Arc<Timeline>,
}

impl Watch {
    pub fn new(timeline: Arc<Timeline>) -> Self {
        Self { seen: Arc::default(), over: Arc::default(), timeline }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn kneard(&self, host: usize, name: &str, namespace: NetNs, exporter: SocketAddr) {
        let (watch, name) = (self.clone(), name.to_owned());
        let mut reported = None;
        self.turn(namespace, move || {
            let metrics = http::get(exporter, "/metrics").ok();
            let state = metrics.and_then(|metrics| kneard::state(&metrics));
            if state.is_some() && state != reported {
                watch.timeline.note(format_args!("    {name}: {}", state.as_deref().unwrap()));
                reported.clone_from(&state);
            }
            watch.seen().states.insert(host, state);
        });
    }

    pub fn server(&self, server: usize, namespace: NetNs, address: SocketAddr) {
        let watch = self.clone();
        self.turn(namespace, move || {
            let leader = http::get(address, "/v1/status/leader").ok();
            let leader = leader.and_then(|text| {
                let address: String = serde_json::from_str(&text).ok()?;
                Some(address.parse::<std::net::SocketAddrV4>().ok()?.ip().to_owned())
            });
            let entry = leader.and_then(|_| election::entry(address, ACCOUNT));
            let mut seen = watch.seen();
            seen.leaders.insert(server, leader);
            if let Some(record) = entry.and_then(|entry| entry.record()) {
                seen.record(&record);
            }
        });
    }

    /// Calls `ask` again and again on a thread inside, until the watch is over.
    fn turn(&self, namespace: NetNs, mut ask: impl FnMut() + Send + 'static) {
        let over = Arc::clone(&self.over);
        thread::spawn(move || {
            namespace.enter();
            while !over.load(Ordering::Relaxed) {
                ask();
                thread::sleep(PERIOD);
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The copies in the threads do not end it.
        if Arc::strong_count(&self.seen) == 1 {
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Seen {
    fn record(&mut self, record: &serde_json::Value) {
        let number = |field: &str| record[field].as_u64().unwrap_or(0);
        let (Some(holder), at) = (record["holder"].as_str(), (number("term"), number("beat")))
        else {
            return;
        };
        // Servers may lag: an older record than one that was seen says nothing.
        if at > self.newest {
            self.newest = at;
            self.beats.insert(holder.to_owned(), boot_time());
        }
    }

    pub fn is(&self, host: usize, state: &str) -> bool {
        self.states.get(&host).is_some_and(|now| now.as_deref() == Some(state))
    }

    /// The server that most take for the leader.
    pub fn leader(&self, servers: &[Ipv4Addr]) -> Option<usize> {
        let votes =
            |ip: &Ipv4Addr| self.leaders.values().filter(|l| l.as_ref() == Some(ip)).count();
        servers.iter().position(|ip| votes(ip) * 2 > servers.len())
    }
}
