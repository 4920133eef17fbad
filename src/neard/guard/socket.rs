//! kneard's end of the socketpair to the guard.
#![allow(unsafe_code)]

use super::protocol::{FRAME_LEN, FromGuard, ToGuard};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, recv, send, shutdown, socketpair,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub struct Sender(Arc<OwnedFd>);

pub struct Receiver(AsyncFd<Arc<OwnedFd>>);

/// Our end, split in two, and the guard's. Within a runtime only.
///
/// # Errors
/// No descriptors left.
pub fn pair() -> io::Result<(Sender, Receiver, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?;
    let ours = Arc::new(ours);
    // SAFETY: the descriptor stays open as long as a copy of this `Arc` exists, and nobody
    // changes what it refers to.
    let receiver = unsafe { AsyncFd::register(Arc::clone(&ours)) }.map_err(io::Error::from)?;
    Ok((Sender(ours), Receiver(receiver), theirs))
}

impl Sender {
    /// Sends at once or not at all.
    ///
    /// # Errors
    /// The guard is gone (`EPIPE`), or has not read for long (`EAGAIN`).
    pub fn send(&self, frame: ToGuard) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            return match send(self.0.as_raw_fd(), &frame.encode(), flags) {
                Ok(_) => Ok(()),
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(errno.into()),
            };
        }
    }
}

impl Receiver {
    /// The next frame; `None` at the end of the conversation. A frame that is not understood ends
    /// it too: the other side is not what we started. May be cancelled without loss.
    pub async fn next(&self) -> Option<FromGuard> {
        loop {
            let mut ready = self.0.readable().await.ok()?;
            let mut frame = [0; FRAME_LEN + 1];
            let received = ready.try_io(|socket| {
                recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT)
                    .map_err(io::Error::from)
            });
            let error = match received {
                Err(_would_block) => continue,
                Ok(Ok(0)) => return None,
                Ok(Ok(length)) => {
                    let frame = FromGuard::decode(&frame[..length]);
                    if frame.is_none() {
                        // The guard takes this for the death of kneard, and kills neard.
                        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
                    }
                    return frame;
                }
                Ok(Err(error)) => error,
            };
            match error.raw_os_error().map(Errno::from_raw) {
                // The guard died before it had read all that we sent. The kernel says so once, and
                // then gives out what the guard had sent.
                Some(Errno::ECONNRESET | Errno::EINTR) => {}
                _ => return None,
            }
        }
    }
}
