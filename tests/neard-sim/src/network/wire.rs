//! The messages between stand-ins: one JSON object per line.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::chain::block::Block;
use crate::chain::consensus::Gossip;
use crate::hash::Hash;
use crate::keys::{PublicKey, Signature};

/// A message longer than this ends the connection.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Where a node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownPeer {
    pub key: PublicKey,
    pub addr: SocketAddr,
}

/// The first message of each side.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    pub genesis: Hash,
    pub key: PublicKey,
    /// To be signed by the other side, as the proof of its key.
    pub nonce: [u8; 32],
    /// Where others can reach this node, if it listens. An unspecified IP stands for the one
    /// that the connection shows.
    pub listen: Option<SocketAddr>,
    /// The account of the loaded validator key.
    pub account: Option<String>,
    pub height: u64,
}

/// The second message of each side.
#[derive(Debug, Serialize, Deserialize)]
pub struct Proof {
    pub signature: Signature,
}

/// What a node signs to prove its key to the owner of `nonce`.
pub fn proof_hash(nonce: &[u8; 32], prover: &PublicKey, verifier: &PublicKey) -> Hash {
    Hash::of(&[b"handshake", nonce, prover.as_bytes(), verifier.as_bytes()])
}

/// What connected nodes say.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    Gossip(Box<Gossip>),
    /// The sender's head.
    Height(u64),
    /// Asks for the chain's blocks from this height upwards.
    GetBlocks(u64),
    /// An answer to [`Message::GetBlocks`].
    Blocks(Vec<Block>),
    Peers(Vec<KnownPeer>),
}

/// A message as it goes over the wire.
pub fn frame<T: Serialize>(message: &T) -> Arc<[u8]> {
    // Plain data with string keys cannot fail to serialize; an empty line is ignored.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

/// Reads one message and its length; `None` at the end of the stream.
///
/// # Errors
/// When the connection fails, or what came is no message.
pub async fn read<T, R>(from: &mut R, line: &mut Vec<u8>) -> Result<Option<(T, u64)>, String>
where
    T: for<'de> Deserialize<'de>,
    R: AsyncBufRead + Unpin,
{
    line.clear();
    let read = from.take(LONGEST).read_until(b'\n', line).await.map_err(|e| e.to_string())?;
    if read == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(line).map_err(|e| format!("not a message: {e}"))?;
    Ok(Some((message, read as u64)))
}
