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
    /// With fewer it does not begin to sync nor to approve (`consensus.min_num_peers`).
    peers_to_start: u64,
    tracks_all_shards: bool,
    expected_shutdown: Option<u64>,
    syncing: bool,
    /// Whether there ever were `peers_to_start`: before, the chain's height is not known.
    sync_started: bool,
    /// `near_is_validator`, which neard sets together with the line in its log.
    is_validator: bool,
    counters: Counters,
    started: Instant,
    next_height_message: u64,
    next_gossip: u64,
    stats: stats::Stats,
    /// Requests that the fault `status: hang` keeps waiting.
    hanging: Vec<Call>,
    /// What SIGHUP has read, and when it takes effect.
    reloading: Option<(u64, Dynamic)>,
    /// The fault `reload: lose_one` has had its way.
    lost_one: bool,
    /// The head at the last housekeeping.
    last_head: u64,
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

enum Heard {
    Hup,
    End(&'static str),
}

async fn hear(signals: &mut Option<&mut Signals>) -> Heard {
    let Some(signals) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = signals.hup.recv() => Heard::Hup,
        _ = signals.term.recv() => Heard::End("SIGTERM"),
        _ = signals.int.recv() => Heard::End("SIGINT"),
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

    /// The loop. `until` ends it silently: the time before signals are heard, or the time that
    /// the actors of a stopping node live.
    async fn turn(
        &mut self,
        channels: &mut Channels,
        mut signals: Option<&mut Signals>,
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
                signal = hear(&mut signals) => match signal {
                    Heard::Hup if !stopping => self.hang_up(),
                    Heard::End(name) if !stopping && !self.faults.now.ignore_term => {
                        return End::Signal(name);
                    }
                    Heard::Hup | Heard::End(_) => {}
                },
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
        let reload = self.reloading.as_ref().map_or(u64::MAX, |(due, _)| *due);
        next.min(reload).min(self.now() + 1_000)
    }

    fn tick(&mut self) {
        let now = self.now();
        if let Some((_, dynamic)) = self.reloading.take_if(|(due, _)| now >= *due) {
            self.apply(dynamic);
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
                self.lost_one = false;
                self.hanging.clear();
            }
            Err(e) => error!("stand-in", "faults stay as they were: {e}"),
        }
        let head = self.consensus.head().height;
        self.refuse_rotated_key(head);
        self.last_head = head;
        if self.faults.now.crash_at.is_some_and(|height| head >= height) {
            log::die(file!(), format_args!("crash at height {head}, as the faults ask"));
        }
        self.announce();
        self.network.tick(now);
        self.refresh_sync();
        self.chat(now);
        if self.stats.log_when_due(now, &self.consensus, &self.network, self.syncing) {
            self.is_validator = !self.syncing && self.consensus.validator().is_some();
        }
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
            Some(ReloadFault::LoseOne) if !std::mem::replace(&mut self.lost_one, true) => {}
            Some(ReloadFault::LoseOne) | None => match reload::read(&self.home) {
                Ok(dynamic) => {
                    self.count_reload();
                    let due = self.now() + self.faults.now.reload_ms;
                    let due = self.reloading.as_ref().map_or(due, |(first, _)| due.min(*first));
                    self.reloading = Some((due, dynamic));
                }
                Err(_) => self.counters.config_correct = false,
            },
        }
    }

    /// The files are read and valid; the metrics say so before anything takes effect.
    fn count_reload(&mut self) {
        self.counters.config_correct = true;
        self.counters.config_reloads += 1;
        self.counters.config_reload_at = clock::unix_ns() / 1_000_000_000;
    }

    /// Takes a valid reload (or the first reading) into use.
    fn apply(&mut self, dynamic: Dynamic) {
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
    }

    /// nearcore panics when it sees a new block and its key is not the one that the chain has for
    /// its account.
    fn refuse_rotated_key(&self, head: u64) {
        let Some(signer) = self.consensus.signer().filter(|_| !self.syncing) else { return };
        let validators = &self.consensus.genesis().validators;
        let known = validators.iter().find(|v| v.account_id == signer.account_id);
        if let Some(known) = known.filter(|v| v.public_key != signer.public_key)
            && head > self.last_head
        {
            log::die(
                "chain/client/src/client.rs",
                format_args!(
                    "validator key mismatch for {}: local key {} does not match on-chain key {}. \
                     Update validator_key.json or rotate the key on-chain.",
                    signer.account_id, signer.public_key, known.public_key
                ),
            );
        }
    }

    /// nearcore panics rather than validate with all shards tracked on the two real networks.
    fn refuse_all_shards(&self, file: &KeyFile) {
        let genesis = self.consensus.genesis();
        let real = matches!(genesis.chain_id.as_str(), "mainnet" | "testnet");
        if real && self.tracks_all_shards && validates(&self.consensus, file) {
            log::die(
                "chain/client/src/client_actor.rs",
                format_args!(
                    "The `chain_id` field specified in genesis is among mainnet/testnet, so \
                     validator must not track all shards. Please set `tracked_shards_config` \
                     field in `config.json` to \"NoShards\"."
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
            is_validator: self.is_validator,
            awaits_peers: !self.sync_started,
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
