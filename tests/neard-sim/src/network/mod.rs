//! Peers over TCP: who is known, who is connected, what they last said.

mod session;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub use session::Identity;
pub use wire::{KnownPeer, Message};

use crate::keys::PublicKey;
use crate::warn;
use session::Connected;

/// A connection on which nothing came for this long is dead; every node sends its height
/// more often than that.
const SILENT_MS: u64 = 5_000;
/// A second connection of the same node replaces one that was silent for this long.
const STALE_MS: u64 = 1_500;
/// Messages that may wait for a slow peer before it is let go.
const QUEUE: usize = 2_048;
const DIAL_PAUSE_MS: u64 = 500;
const DIAL_PAUSE_MAX_MS: u64 = 4_000;
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Failures after which an address that no boot list names is forgotten.
const FORGET_AFTER: u32 = 30;

/// Names one connection.
pub type Link = u64;

/// What the connections tell the node.
#[derive(Debug)]
pub enum NetEvent {
    Connected(Box<Connected>),
    /// With its length in bytes.
    Message(Link, Message, u64),
    Closed(Link),
    DialFailed(SocketAddr, String),
}

/// A connected peer.
#[derive(Debug)]
pub struct Peer {
    pub key: PublicKey,
    pub addr: SocketAddr,
    pub account: Option<String>,
    pub height: u64,
    /// When blocks were last asked of it.
    pub asked: u64,
    outbound: bool,
    heard: u64,
    send: mpsc::Sender<Arc<[u8]>>,
}

#[derive(Debug)]
struct Address {
    key: PublicKey,
    addr: SocketAddr,
    boot: bool,
    dialing: bool,
    next_dial: u64,
    failures: u32,
}

/// The node's view of the network.
#[derive(Debug)]
pub struct Network {
    identity: Arc<Identity>,
    events: mpsc::Sender<NetEvent>,
    pub peers: HashMap<Link, Peer>,
    addresses: Vec<Address>,
    next_link: Link,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub connections_total: u64,
    /// How often a second node with the account of a connected one came.
    pub already_connected_account: u64,
}

/// Reads `key@ip:port,…`.
///
/// # Errors
/// One line that quotes the entry.
pub fn parse_boot_nodes(text: &str) -> Result<Vec<(PublicKey, SocketAddr)>, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let bad = || format!("Failed to parse PeerInfo: `{entry}` is not key@ip:port");
            let (key, addr) = entry.split_once('@').ok_or_else(bad)?;
            Ok((key.parse().map_err(|_| bad())?, addr.parse().map_err(|_| bad())?))
        })
        .collect()
}

impl Network {
    /// A network without connections yet.
    pub fn new(
        identity: Identity,
        boot: &[(PublicKey, SocketAddr)],
    ) -> (Self, mpsc::Receiver<NetEvent>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        let mut network = Self {
            identity: Arc::new(identity),
            events,
            peers: HashMap::new(),
            addresses: Vec::new(),
            next_link: 0,
            sent_bytes: 0,
            received_bytes: 0,
            connections_total: 0,
            already_connected_account: 0,
        };
        for (key, addr) in boot {
            network.know(*key, *addr, true);
        }
        (network, receiver)
    }

    /// Sets what the next handshakes say about this node.
    pub fn announce(&mut self, account: Option<&str>, height: u64) {
        let identity = Arc::make_mut(&mut self.identity);
        identity.account = account.map(str::to_owned);
        identity.height = height;
    }

    /// Begins the handshake on a connection that came in.
    pub fn accept(&mut self, stream: TcpStream) {
        let (identity, events) = (Arc::clone(&self.identity), self.events.clone());
        tokio::spawn(async move {
            if let Err(e) = session::shake_hands(stream, &identity, None, &events).await {
                crate::log::line("DEBUG", "network", format_args!("handshake failed: {e}"));
            }
        });
    }

    /// Dials known nodes that are not connected, drops silent ones.
    pub fn tick(&mut self, now: u64) {
        self.peers.retain(|_, peer| now < peer.heard + SILENT_MS);
        let connected: Vec<PublicKey> = self.peers.values().map(|peer| peer.key).collect();
        self.addresses.retain(|address| address.boot || address.failures < FORGET_AFTER);
        for address in &mut self.addresses {
            if address.dialing || now < address.next_dial || connected.contains(&address.key) {
                continue;
            }
            address.dialing = true;
            let (key, addr) = (address.key, address.addr);
            let (identity, events) = (Arc::clone(&self.identity), self.events.clone());
            tokio::spawn(async move {
                let dial = async {
                    let stream = TcpStream::connect(addr).await.map_err(|e| e.to_string())?;
                    session::shake_hands(stream, &identity, Some((key, addr)), &events).await
                };
                let result = tokio::time::timeout(DIAL_TIMEOUT, dial).await;
                let why = match result {
                    Ok(Ok(())) => return,
                    Ok(Err(why)) => why,
                    Err(_) => "no answer in time".to_owned(),
                };
                let _ = events.send(NetEvent::DialFailed(addr, why)).await;
            });
        }
    }

    /// Takes note of where a node may be found.
    pub fn know(&mut self, key: PublicKey, addr: SocketAddr, boot: bool) {
        if key == self.identity.key.public() {
            return;
        }
        if self.addresses.iter().any(|a| a.key == key && a.addr == addr) {
            return;
        }
        let address = Address { key, addr, boot, dialing: false, next_dial: 0, failures: 0 };
        self.addresses.push(address);
    }

    /// A dial that came to nothing.
    pub fn dial_failed(&mut self, now: u64, addr: SocketAddr, why: &str) {
        for address in self.addresses.iter_mut().filter(|a| a.addr == addr) {
            address.dialing = false;
            address.failures += 1;
            let pause = DIAL_PAUSE_MS << address.failures.min(3);
            address.next_dial = now + pause.min(DIAL_PAUSE_MAX_MS);
            if address.boot && address.failures == 1 {
                warn!("network", "Cannot connect to boot node {}@{addr}: {why}", address.key);
            }
        }
    }

    /// Admits a peer that proved its identity; tells whether it is in, and as which link.
    ///
    /// Of two connections between two nodes one stays: that dialled by the smaller key, unless
    /// the present one has gone silent (its host may be gone without a word).
    pub fn admit(&mut self, now: u64, new: Connected) -> Option<Link> {
        for address in self.addresses.iter_mut().filter(|a| Some(a.addr) == new.dialled) {
            address.dialing = false;
            address.failures = 0;
            address.next_dial = now + DIAL_PAUSE_MS;
        }
        if new.key == self.identity.key.public() {
            warn!("network", "Connected to itself, or another node uses this node's key.");
            return None;
        }
        if let Some(listen) = new.listen {
            self.know(new.key, listen, false);
        }
        let outbound = new.dialled.is_some();
        let ours_goes_first = self.identity.key.public() < new.key;
        let present = self.peers.iter().find(|(_, peer)| peer.key == new.key);
        if let Some((&link, peer)) = present {
            let stale = now > peer.heard + STALE_MS;
            let preferred = outbound == ours_goes_first && peer.outbound != outbound;
            if !stale && !preferred {
                return None;
            }
            self.peers.remove(&link);
        }
        if let Some(account) = &new.account
            && self.peers.values().any(|peer| peer.account.as_ref() == Some(account))
        {
            self.already_connected_account += 1;
        }
        self.next_link += 1;
        let link = self.next_link;
        let (send, receiver) = mpsc::channel(QUEUE);
        let peer = Peer {
            key: new.key,
            addr: new.listen.unwrap_or(new.addr),
            account: new.account.clone(),
            height: new.height,
            asked: 0,
            outbound,
            heard: now,
            send,
        };
        session::run(new, link, receiver, self.events.clone());
        self.peers.insert(link, peer);
        self.connections_total += 1;
        let known = self.known();
        self.send(link, &Message::Peers(known));
        Some(link)
    }

    /// Where the connected peers can be reached, to be told to others.
    pub fn known(&self) -> Vec<KnownPeer> {
        let peers = self.peers.values();
        peers.map(|peer| KnownPeer { key: peer.key, addr: peer.addr }).collect()
    }

    /// A message came; says whether its link still counts.
    pub fn heard(&mut self, now: u64, link: Link, bytes: u64) -> bool {
        self.received_bytes += bytes;
        self.peers.get_mut(&link).map(|peer| peer.heard = now).is_some()
    }

    /// Ends a connection.
    pub fn drop_peer(&mut self, link: Link) {
        self.peers.remove(&link);
    }

    /// Sends to one peer; a peer that does not keep up is let go.
    pub fn send(&mut self, link: Link, message: &Message) {
        let frame = wire::frame(message);
        self.send_frame(link, &frame);
    }

    /// Sends to all peers but one.
    pub fn broadcast(&mut self, message: &Message, except: Option<Link>) {
        let frame = wire::frame(message);
        let links: Vec<Link> =
            self.peers.keys().copied().filter(|link| Some(*link) != except).collect();
        for link in links {
            self.send_frame(link, &frame);
        }
    }

    fn send_frame(&mut self, link: Link, frame: &Arc<[u8]>) {
        let Some(peer) = self.peers.get(&link) else { return };
        if peer.send.try_send(Arc::clone(frame)).is_ok() {
            self.sent_bytes += frame.len() as u64;
        } else {
            self.peers.remove(&link);
        }
    }

    /// The greatest height that a connected peer announced.
    pub fn best_height(&self) -> Option<u64> {
        self.peers.values().map(|peer| peer.height).max()
    }
}

/// Binds the network address as neard does.
pub async fn listen(addr: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(addr).await.map_err(|e| format!("cannot listen on {addr}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    #[test]
    fn boot_nodes_are_read_as_neard_reads_them() {
        let key = SecretKey::from_test_seed("node0").unwrap().public();
        let text = format!("{key}@127.0.0.1:33301, {key}@[::1]:1");
        let nodes = parse_boot_nodes(&text).unwrap();
        assert_eq!(nodes[0], (key, "127.0.0.1:33301".parse().unwrap()));
        assert_eq!(nodes.len(), 2);
        assert!(parse_boot_nodes("").unwrap().is_empty());
        assert!(parse_boot_nodes("nobody@nowhere").unwrap_err().contains("nobody@nowhere"));
    }
}
