//! One connection: the handshake that proves the node keys, then messages both ways.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::hash::Hash;
use crate::keys::{PublicKey, SecretKey, random_bytes};
use crate::network::wire::{self, Hello, Message, Proof, proof_hash};
use crate::network::{Link, NetEvent};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// What this node says about itself.
#[derive(Debug, Clone)]
pub struct Identity {
    pub key: Arc<SecretKey>,
    pub genesis: Hash,
    pub listen: Option<SocketAddr>,
    pub account: Option<String>,
    pub height: u64,
}

/// A connection whose other end proved its key.
#[derive(Debug)]
pub struct Connected {
    pub key: PublicKey,
    pub addr: SocketAddr,
    /// The address that we dialled; `None` when the other side did.
    pub dialled: Option<SocketAddr>,
    pub listen: Option<SocketAddr>,
    pub account: Option<String>,
    pub height: u64,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Does the handshake and reports the connection. `dialled` names whom we expect.
///
/// # Errors
/// Why the connection was given up; one line.
pub async fn shake_hands(
    stream: TcpStream,
    identity: &Identity,
    dialled: Option<(PublicKey, SocketAddr)>,
    events: &mpsc::Sender<NetEvent>,
) -> Result<(), String> {
    let done = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, identity, dialled));
    let connected = done.await.map_err(|_| "no handshake in time".to_owned())??;
    let _ = events.send(NetEvent::Connected(Box::new(connected))).await;
    Ok(())
}

async fn handshake(
    stream: TcpStream,
    identity: &Identity,
    dialled: Option<(PublicKey, SocketAddr)>,
) -> Result<Connected, String> {
    let text = |e: std::io::Error| e.to_string();
    stream.set_nodelay(true).map_err(text)?;
    let addr = stream.peer_addr().map_err(text)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let nonce = random_bytes()?;
    let own_key = identity.key.public();
    let hello = Hello {
        genesis: identity.genesis,
        key: own_key,
        nonce,
        listen: identity.listen,
        account: identity.account.clone(),
        height: identity.height,
    };
    writer.write_all(&wire::frame(&hello)).await.map_err(text)?;
    let closed = || "closed during the handshake".to_owned();
    let (theirs, _) = wire::read::<Hello, _>(&mut reader, &mut line).await?.ok_or_else(closed)?;
    if theirs.genesis != identity.genesis {
        return Err("the peer is on another chain (its genesis differs)".to_owned());
    }
    if let Some((expected, _)) = dialled
        && expected != theirs.key
    {
        return Err(format!("the node there has another key, {}", theirs.key));
    }
    let proof =
        Proof { signature: identity.key.sign(&proof_hash(&theirs.nonce, &own_key, &theirs.key).0) };
    writer.write_all(&wire::frame(&proof)).await.map_err(text)?;
    let (proof, _) = wire::read::<Proof, _>(&mut reader, &mut line).await?.ok_or_else(closed)?;
    if !theirs.key.verifies(&proof_hash(&nonce, &theirs.key, &own_key).0, &proof.signature) {
        return Err("the peer does not have the key that it claims".to_owned());
    }
    let listen = theirs.listen.map(|listen| match listen.ip().is_unspecified() {
        true => SocketAddr::new(addr.ip(), listen.port()),
        false => listen,
    });
    Ok(Connected {
        key: theirs.key,
        addr,
        dialled: dialled.map(|(_, addr)| addr),
        listen,
        account: theirs.account,
        height: theirs.height,
        reader,
        writer,
    })
}

/// Carries messages until either side ends the connection. Dropping the sender of `outgoing`
/// ends it from this side.
pub fn run(
    connected: Connected,
    link: Link,
    mut outgoing: mpsc::Receiver<Arc<[u8]>>,
    events: mpsc::Sender<NetEvent>,
) {
    let Connected { mut reader, mut writer, .. } = connected;
    tokio::spawn(async move {
        let read = async {
            let mut line = Vec::new();
            while let Ok(Some((message, bytes))) =
                wire::read::<Message, _>(&mut reader, &mut line).await
            {
                if events.send(NetEvent::Message(link, message, bytes)).await.is_err() {
                    return;
                }
            }
        };
        let write = async {
            while let Some(frame) = outgoing.recv().await {
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = read => {}
            () = write => {}
        }
        let _ = events.send(NetEvent::Closed(link)).await;
    });
}
