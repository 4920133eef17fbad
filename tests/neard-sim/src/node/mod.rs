//! A running node: one loop that owns everything and hears signals, peers and RPC clients.

mod peers;
mod start;
mod stats;
mod stop;

use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use start::{Options, run};

use crate::chain::consensus::{Consensus, Gossip};
use crate::chain::signer::Signer;
use crate::clock;
use crate::faults::{ReloadFault, Source, StatusFault};
use crate::journal::Journal;
use crate::keys::{KeyFile, PublicKey};
use crate::network::{Message, NetEvent, Network};
use crate::reload::{self, Dynamic};
use crate::rpc::metrics::Counters;
use crate::rpc::{Answer, Call, Request, View, answer};
use crate::{error, info, log, version, warn};

/// How often the housekeeping is done: faults, dials, sync, expected shutdown.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// Times that the environment sets.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub start: Duration,
    pub stop: Duration,
    pub sign_after_term: Duration,
}

/// Everything that a running node owns.
struct Node {
    home: PathBuf,
    timing: Timing,
    faults: Source,
    consensus: Consensus,
    network: Network,
    journal: Rc<RefCell<Journal>>,
    /// Largest approved height, rewritten before an approval is sent.
    approved_file: File,
    approved_saved: u64,
    node_key: PublicKey,
    rpc_addr: String,
    alone: bool,
    tracks_all_shards: bool,
    expected_shutdown: Option<u64>,
    syncing: bool,
    /// Whether a peer was ever met: before, the chain's height is not known.
    met_peers: bool,
    counters: Counters,
    started: Instant,
    next_height_message: u64,
    next_gossip: u64,
    stats: stats::Stats,
    /// Requests that the fault `status: hang` keeps waiting.
    hanging: Vec<Call>,
    /// When a delayed reload is due.
    reload_at: Option<u64>,
}

struct Channels {
    net: mpsc::Receiver<NetEvent>,
    calls: mpsc::Receiver<Call>,
    listener: Option<TcpListener>,
    rpc: Option<JoinHandle<()>>,
}

struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }
}

/// Why the loop ended.
enum End {
    Signal(&'static str),
    ExpectedShutdown,
    Elapsed,
}

impl Node {
    /// Milliseconds since the start, by the monotonic clock.
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The loop. `until` ends it silently: the time that the actors of a stopping node live.
    async fn turn(
        &mut self,
        channels: &mut Channels,
        signals: &mut Signals,
        until: Option<Instant>,
    ) -> End {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stopping = until.is_some();
        loop {
            let wake = self.started + Duration::from_millis(self.next_wake());
            let until_or_never = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until_or_never => return End::Elapsed,
                _ = signals.hup.recv() => if !stopping { self.hang_up() },
                _ = signals.term.recv() => {
                    if !stopping && !self.faults.now.ignore_term {
                        return End::Signal("SIGTERM");
                    }
                }
                _ = signals.int.recv() => {
                    if !stopping && !self.faults.now.ignore_term {
                        return End::Signal("SIGINT");
                    }
                }
                Some(event) = channels.net.recv() => self.on_net(event),
                Some(call) = channels.calls.recv() => self.on_call(call),
                accepted = accept(channels.listener.as_ref()) => {
                    if let Some(stream) = accepted {
                        self.announce();
                        self.network.accept(stream);
                    }
                }
                _ = housekeeping.tick() => {
                    if self.keep_house() && !stopping {
                        return End::ExpectedShutdown;
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.tick();
        }
    }

    fn next_wake(&self) -> u64 {
        let next = self.consensus.next_tick();
        next.min(self.reload_at.unwrap_or(u64::MAX)).min(self.now() + 1_000)
    }

    fn tick(&mut self) {
        let now = self.now();
        if self.reload_at.is_some_and(|at| now >= at) {
            self.reload_at = None;
            self.reload();
        }
        if now >= self.consensus.next_tick()
            && let Err(e) = self.consensus.tick(now)
        {
            self.disk_failed(&e);
        }
        self.flush();
    }

    /// Sends what the consensus has to say, after the approved height is on disk.
    fn flush(&mut self) {
        let approved = self.consensus.approved();
        if approved != self.approved_saved {
            if let Err(e) = start::save_approved(&self.approved_file, approved) {
                self.disk_failed(&e);
            }
            self.approved_saved = approved;
        }
        for gossip in self.consensus.take_out() {
            match &gossip {
                Gossip::Block(_) => self.counters.blocks_produced += 1,
                Gossip::Chunk(_) => self.counters.chunks_produced += 1,
                _ => {}
            }
            self.network.broadcast(&Message::Gossip(Box::new(gossip)), None);
        }
    }

    fn disk_failed(&self, e: &std::io::Error) -> ! {
        log::die(file!(), format_args!("{}/data cannot be written: {e}", self.home.display()))
    }

    /// The regular work; true when the expected shutdown is due.
    fn keep_house(&mut self) -> bool {
        let now = self.now();
        match self.faults.refresh() {
            Ok(false) => {}
            Ok(true) => {
                warn!("stand-in", "faults are now {:?}", self.faults.now);
                self.hanging.clear();
            }
            Err(e) => error!("stand-in", "faults stay as they were: {e}"),
        }
        let head = self.consensus.head().height;
        if self.faults.now.crash_at.is_some_and(|height| head >= height) {
            log::die(file!(), format_args!("crash at height {head}, as the faults ask"));
        }
        self.announce();
        self.network.tick(now);
        self.refresh_sync();
        self.chat(now);
        self.stats.log_when_due(now, &self.consensus, &self.network, self.syncing);
        if let Some(height) = self.expected_shutdown.filter(|height| head >= *height) {
            info!(
                "client",
                "Expected shutdown triggered: head block({head}) >= ({height:?}) blocks"
            );
            return true;
        }
        false
    }

    fn announce(&mut self) {
        let account = self.consensus.signer().map(|signer| signer.account_id.as_str());
        self.network.announce(account, self.consensus.head().height);
    }

    fn hang_up(&mut self) {
        match self.faults.now.reload {
            Some(ReloadFault::Broken | ReloadFault::Unsupported) => {}
            None => self.reload_at = Some(self.now() + self.faults.now.reload_ms),
        }
    }

    fn reload(&mut self) {
        match reload::read(&self.home) {
            Ok(dynamic) => self.apply(dynamic),
            Err(_) => self.counters.config_correct = false,
        }
    }

    /// Takes a valid reload (or the first reading) into use.
    fn apply(&mut self, dynamic: Dynamic) {
        self.counters.config_correct = true;
        self.counters.config_reloads += 1;
        self.counters.config_reload_at = clock::unix_ns() / 1_000_000_000;
        self.expected_shutdown = dynamic.expected_shutdown;
        let loaded = self.consensus.signer().map(|s| (s.account_id.clone(), s.public_key));
        let wanted = dynamic.key.as_ref().map(|k| (k.account_id.clone(), k.key.public()));
        if loaded == wanted {
            return;
        }
        if let Some(old) = self.consensus.set_signer(None) {
            old.unload();
        }
        if let Some(file) = dynamic.key {
            self.refuse_all_shards(&file);
            let signer = Signer::load(file, Some(Rc::clone(&self.journal)));
            self.consensus.set_signer(Some(signer));
        }
        self.stats.log_soon();
    }

    /// nearcore panics rather than validate with all shards tracked on the two real networks.
    fn refuse_all_shards(&self, file: &KeyFile) {
        let genesis = self.consensus.genesis();
        let real = matches!(genesis.chain_id.as_str(), "mainnet" | "testnet");
        if real && self.tracks_all_shards && validates(&self.consensus, file) {
            log::die(
                "nearcore/src/config.rs",
                format_args!(
                    "The `chain_id` field specifies {} and the node is a validator, but \
                     `tracked_shards_config` is `AllShards`. A validator must not track all shards.",
                    genesis.chain_id
                ),
            );
        }
    }

    fn on_call(&mut self, call: Call) {
        if matches!(call.request, Request::Status) {
            match self.faults.now.status {
                Some(StatusFault::Hang) => {
                    self.hanging.retain(|call| !call.reply.is_closed());
                    self.hanging.push(call);
                    return;
                }
                Some(StatusFault::Fail) => {
                    let body = serde_json::json!("Server error");
                    let _ = call.reply.send(Answer::Json(StatusCode::INTERNAL_SERVER_ERROR, body));
                    return;
                }
                None => {}
            }
        }
        self.refresh_sync();
        let unsupported = self.faults.now.reload == Some(ReloadFault::Unsupported);
        let view = View {
            consensus: &self.consensus,
            network: &self.network,
            node_key: self.node_key,
            report_key: self.faults.now.report_key,
            syncing: self.syncing,
            version: if unsupported { version::OLD_VERSION } else { version::VERSION },
            rpc_addr: self.rpc_addr.clone(),
            uptime_sec: self.started.elapsed().as_secs(),
            expected_shutdown: self.expected_shutdown,
            counters: &self.counters,
        };
        let _ = call.reply.send(answer(&view, &call.request));
    }
}

/// Whether the key belongs to a validator of the chain.
fn validates(consensus: &Consensus, file: &KeyFile) -> bool {
    consensus.genesis().position(&file.account_id, &file.key.public()).is_some()
}

async fn accept(listener: Option<&TcpListener>) -> Option<tokio::net::TcpStream> {
    match listener {
        Some(listener) => match listener.accept().await {
            Ok((stream, _)) => Some(stream),
            Err(_) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(HOUSEKEEPING).await;
                None
            }
        },
        None => std::future::pending().await,
    }
}
