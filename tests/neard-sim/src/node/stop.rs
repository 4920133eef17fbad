//! The end of a node: what neard does, and says, from SIGTERM to its exit.

use std::time::Instant;

use crate::node::{Channels, End, Node, Signals};
use crate::{info, log, warn};

impl Node {
    /// Stops as neard does: the RPC goes first, the node signs on until its actors stop, and
    /// RocksDB takes its time. Returns when the process may exit.
    pub(super) async fn stop(mut self, mut channels: Channels, mut signals: Signals, end: End) {
        let began = Instant::now();
        let why = match end {
            End::Signal(name) => name,
            End::ExpectedShutdown | End::Elapsed => "ClientActor died",
        };
        warn!("neard", "{why}, stopping... this may take a few minutes.");
        if let Some(rpc) = channels.rpc.take() {
            rpc.abort();
        }
        channels.calls.close();
        self.hanging.clear();
        let faults = &self.faults.now;
        let millis = std::time::Duration::from_millis;
        let sign = faults.sign_after_term_ms.map_or(self.timing.sign_after_term, millis);
        let total = faults.stop_ms.map_or(self.timing.stop, millis).max(sign);
        self.turn(&mut channels, Some(&mut signals), Some(began + sign)).await;
        let Self { consensus, network, journal, .. } = self;
        drop(network);
        drop(channels);
        info!("neard", "Waiting for RocksDB to gracefully shutdown");
        info!("db", "Waiting for the 1 remaining RocksDB instances to gracefully shutdown");
        tokio::time::sleep_until((began + total).into()).await;
        drop(consensus);
        info!("db", "Dropped a RocksDB instance. num_instances=0");
        info!("db", "All RocksDB instances performed a graceful shutdown");
        if let Err(e) = journal.borrow_mut().exit() {
            log::die(file!(), format_args!("signatures.log cannot be written: {e}"));
        }
    }
}
