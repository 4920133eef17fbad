//! What peers say, and how far behind them this node is.

use crate::chain::block::Block;
use crate::chain::consensus::{Gossip, Verdict};
use crate::network::{Link, Message, NetEvent};
use crate::node::Node;
use crate::warn;

/// Blocks per answer.
const BATCH: usize = 200;
/// How long a peer has to answer before it is asked again.
const ASK_AGAIN_MS: u64 = 500;
/// Blocks asked for below the own head, in case the own ones are not on the peers' chain.
const OVERLAP: u64 = 3;
const HEIGHT_EVERY_MS: u64 = 1_000;
const GOSSIP_EVERY_MS: u64 = 5_000;

impl Node {
    pub(super) fn on_net(&mut self, event: NetEvent) {
        let now = self.now();
        match event {
            NetEvent::Connected(connected) => {
                if let Some(link) = self.network.admit(now, *connected) {
                    self.greet(link);
                    self.refresh_sync();
                    self.ask_for_blocks(link);
                }
            }
            NetEvent::Message(link, message, bytes) => {
                if self.network.heard(now, link, bytes) {
                    self.on_message(now, link, message);
                }
            }
            NetEvent::Closed(link) => self.network.drop_peer(link),
            NetEvent::DialFailed(addr, why) => self.network.dial_failed(now, addr, &why),
        }
    }

    fn greet(&mut self, link: Link) {
        let head = self.consensus.head();
        self.network.send(link, &Message::Height(head.height));
        for gossip in self.consensus.greeting() {
            self.network.send(link, &Message::Gossip(Box::new(gossip)));
        }
    }

    fn on_message(&mut self, now: u64, link: Link, message: Message) {
        match message {
            Message::Height(height) => {
                self.peer_is_at(link, height);
                self.ask_for_blocks(link);
            }
            Message::Gossip(gossip) => self.on_gossip(now, link, gossip),
            Message::GetBlocks(from) => {
                let blocks: Vec<Block> =
                    self.consensus.store.from(from).take(BATCH).map(|b| (**b).clone()).collect();
                self.network.send(link, &Message::Blocks(blocks));
            }
            Message::Blocks(blocks) => self.on_blocks(now, link, &blocks),
            Message::Peers(peers) => {
                for peer in peers {
                    self.network.know(peer.key, peer.addr, false);
                }
            }
        }
    }

    fn peer_is_at(&mut self, link: Link, height: u64) {
        if let Some(peer) = self.network.peers.get_mut(&link) {
            peer.height = peer.height.max(height);
        }
        self.refresh_sync();
    }

    fn on_gossip(&mut self, now: u64, link: Link, gossip: Box<Gossip>) {
        if let Gossip::Block(block) = gossip.as_ref() {
            // Its sender has the block, hence is at least there; this node is, too, when it
            // has taken the block.
            let height = block.height;
            if let Some(peer) = self.network.peers.get_mut(&link) {
                peer.height = peer.height.max(height);
            }
        }
        match self.consensus.hear(now, &gossip) {
            Ok(Verdict::New) => {
                self.refresh_sync();
                self.network.broadcast(&Message::Gossip(gossip), Some(link));
            }
            Ok(Verdict::Old) => {}
            Ok(Verdict::Orphan) => self.ask_for_blocks(link),
            Ok(Verdict::Invalid(why)) => self.disown(link, why),
            Err(e) => self.disk_failed(&e),
        }
    }

    fn on_blocks(&mut self, now: u64, link: Link, blocks: &[Block]) {
        for (i, block) in blocks.iter().enumerate() {
            let verdict = match self.consensus.hear(now, &Gossip::Block(block.clone())) {
                // The peer's oldest block is above our head: go on from there.
                Ok(Verdict::Orphan) if i == 0 => self.consensus.jump_to(now, block),
                other => other,
            };
            match verdict {
                Ok(Verdict::New | Verdict::Old) => {}
                Ok(Verdict::Orphan) => break,
                Ok(Verdict::Invalid(why)) => return self.disown(link, why),
                Err(e) => self.disk_failed(&e),
            }
        }
        if let Some(peer) = self.network.peers.get_mut(&link) {
            peer.asked = 0;
        }
        self.refresh_sync();
        if !blocks.is_empty() {
            self.ask_for_blocks(link);
        }
    }

    fn disown(&mut self, link: Link, why: &str) {
        if let Some(peer) = self.network.peers.get(&link) {
            warn!("network", "Banning peer {}: {why}", peer.key);
        }
        self.network.drop_peer(link);
    }

    /// Asks a peer that is ahead for what comes after our head.
    fn ask_for_blocks(&mut self, link: Link) {
        let (now, head) = (self.now(), self.consensus.head().height);
        let Some(peer) = self.network.peers.get_mut(&link) else { return };
        if peer.height <= head || (peer.asked != 0 && now < peer.asked + ASK_AGAIN_MS) {
            return;
        }
        peer.asked = now.max(1);
        self.network.send(link, &Message::GetBlocks(head.saturating_sub(OVERLAP)));
    }

    /// Tells the peers our height and whom we know, each in its own interval.
    pub(super) fn chat(&mut self, now: u64) {
        if now >= self.next_height_message {
            self.next_height_message = now + HEIGHT_EVERY_MS;
            let height = self.consensus.head().height;
            self.network.broadcast(&Message::Height(height), None);
        }
        if now >= self.next_gossip {
            self.next_gossip = now + GOSSIP_EVERY_MS;
            let known = self.network.known();
            self.network.broadcast(&Message::Peers(known), None);
        }
    }

    /// Whether the node is in sync, with nearcore's slack: it counts as syncing from two
    /// blocks behind the best peer until it has caught up, and while it knows no peer.
    pub(super) fn refresh_sync(&mut self) {
        // Once is enough, as in neard.
        self.sync_started |= self.network.peers.len() as u64 >= self.peers_to_start;
        let head = self.consensus.head().height;
        let best = self.network.best_height();
        let behind = match best {
            Some(best) if self.syncing => best > head,
            Some(best) => best > head + 1,
            None => false,
        };
        let deaf =
            best.is_none() && self.peers_to_start > 0 && !self.faults.now.in_sync_without_peers;
        self.syncing = behind || deaf || !self.sync_started || self.faults.now.never_synced;
        // A node that lost its peers does not know that it is behind: it goes on approving,
        // as a real one does. One that never met enough does not begin.
        self.consensus.set_in_sync(!behind && self.sync_started);
    }
}
