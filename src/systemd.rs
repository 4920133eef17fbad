//! systemd's side of a service: what it is told (sd_notify(3)) and the sockets that it passes on
//! (sd_listen_fds_with_names(3)). Without systemd everything here does nothing.
//!
//! What the watchdog proves: the supervisor's loop turned and found everything as it should be
//! within the last [`WATCHDOG_PARTS`]th of the watchdog's time. Not that Consul answers, nor that
//! neard signs.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use libsystemd::activation::{IsType as _, receive_descriptors_with_names};
use nix::sys::socket::{getsockopt, sockopt};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};

/// So often within the watchdog's time systemd hears of us: one message may be late.
const WATCHDOG_PARTS: u32 = 3;
/// While stopping, systemd is asked for so much time at a time: more than the loop ever waits for
/// Consul.
const MORE_TIME: Duration = Duration::from_secs(10);

/// Messages that wait for systemd; more are dropped.
const OUTBOX: usize = 64;

/// Variables by which systemd addresses one process. Its children must neither use nor pass them on.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A listening socket that systemd has bound.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets by the names that their units give them with `FileDescriptorName=`.
#[derive(Debug, Default)]
pub struct Sockets {
    pub exporter: Vec<Socket>,
    /// Its file's mode says who may steer kneard, so no TCP here.
    pub control: Vec<UnixListener>,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("systemd's sockets cannot be taken over: {0}")]
    Protocol(#[from] libsystemd::errors::SdError),
    #[error(
        "systemd passed a socket named {0:?}: its unit needs FileDescriptorName=exporter or =control"
    )]
    Name(String),
    #[error("systemd's socket {name} is not {expected}: correct the Listen…= of its unit")]
    Kind { name: String, expected: &'static str },
    #[error("systemd's socket {name}: {error}")]
    Io { name: String, error: io::Error },
}

/// Takes over the sockets that systemd passed to this process. To be called once, before this
/// process opens anything that is not to be closed with them, and within a runtime.
///
/// # Errors
/// A socket that nobody here would serve: its unit is not what it should be.
pub fn sockets() -> Result<Sockets, SocketError> {
    let mut sockets = Sockets::default();
    for (descriptor, name) in receive_descriptors_with_names(false)? {
        let (is_inet, is_unix) = (descriptor.is_inet(), descriptor.is_unix());
        let fd = own(descriptor.into_raw_fd());
        let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);
        let io = |error| SocketError::Io { name: name.clone(), error };
        let kind = |expected| SocketError::Kind { name: name.clone(), expected };
        match name.as_str() {
            "exporter" if is_inet && listens => {
                sockets.exporter.push(Socket::Tcp(tcp(fd).map_err(io)?))
            }
            "exporter" if is_unix && listens => {
                sockets.exporter.push(Socket::Unix(unix(fd).map_err(io)?));
            }
            "exporter" => return Err(kind("a listening stream socket")),
            "control" if is_unix && listens => sockets.control.push(unix(fd).map_err(io)?),
            "control" => return Err(kind("a listening Unix stream socket")),
            _ => return Err(SocketError::Name(name)),
        }
    }
    Ok(sockets)
}

#[allow(unsafe_code)]
fn own(descriptor: i32) -> OwnedFd {
    // SAFETY: systemd opened it for this process before it started, libsystemd has checked that it
    // is open, and gives it away here; nothing else in this process knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn tcp(fd: OwnedFd) -> io::Result<TcpListener> {
    let listener = StdTcpListener::from(fd);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn unix(fd: OwnedFd) -> io::Result<UnixListener> {
    let listener = StdUnixListener::from(fd);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Tells systemd how this service is, and never waits for it.
#[derive(Debug)]
pub struct Notifier {
    /// `None` where there is no systemd to listen.
    outbox: Option<SyncSender<Vec<Message>>>,
    ready: bool,
    stopping: bool,
    status: String,
    watchdog: Option<Duration>,
}

impl Notifier {
    pub fn from_env() -> Self {
        let listening = std::env::var_os(VARIABLES[0]).is_some_and(|socket| !socket.is_empty());
        Notifier {
            outbox: listening.then(outbox),
            ready: false,
            stopping: false,
            status: String::new(),
            watchdog: sd_notify::watchdog_enabled().map(|time| time / WATCHDOG_PARTS),
        }
    }

    /// Whether anybody hears what is said here.
    pub fn is_heard(&self) -> bool {
        self.outbox.is_some()
    }

    /// How often systemd wants to hear that all is well, if at all.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service has started.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.send(vec![Message::Ready]);
        }
    }

    /// One line for people, shown by `systemctl status`.
    pub fn status(&mut self, text: String) {
        if text != self.status {
            self.status.clone_from(&text);
            self.send(vec![Message::Status(text)]);
        }
    }

    /// All is well.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send(vec![Message::Alive]);
        }
    }

    /// The configuration is read again by `work`.
    pub fn reloading(&self, work: impl FnOnce()) {
        // Before that, READY=1 would say too much.
        if !self.ready || self.stopping {
            return work();
        }
        self.send(vec![Message::Reloading]);
        work();
        self.send(vec![Message::Ready]);
    }

    /// The service stops and is not done yet; to be said again about every second.
    pub fn stopping(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            self.send(vec![Message::MoreTime]);
        } else {
            self.send(vec![Message::Stopping, Message::MoreTime]);
        }
    }

    fn send(&self, messages: Vec<Message>) {
        if let Some(outbox) = &self.outbox {
            // Full: systemd has not listened for long, and has its time-outs.
            let _ = outbox.try_send(messages);
        }
    }
}

/// What goes to systemd in one piece.
#[derive(Debug)]
enum Message {
    Ready,
    Status(String),
    Alive,
    Reloading,
    Stopping,
    MoreTime,
}

/// A thread that may wait where the supervisor's loop must not: until systemd reads.
fn outbox() -> SyncSender<Vec<Message>> {
    let (outbox, messages) = sync_channel::<Vec<Message>>(OUTBOX);
    std::thread::spawn(move || {
        for messages in messages {
            let mut states = Vec::new();
            for message in &messages {
                states.extend(message.states());
            }
            if let Err(error) = sd_notify::notify(&states) {
                tracing::debug!("systemd is not told {messages:?}: {error}");
            }
        }
    });
    outbox
}

impl Message {
    fn states(&self) -> Vec<NotifyState<'_>> {
        match self {
            Message::Ready => vec![NotifyState::Ready],
            Message::Status(text) => vec![NotifyState::Status(text)],
            Message::Alive => vec![NotifyState::Watchdog],
            Message::Reloading => {
                let now = NotifyState::monotonic_usec_now().ok();
                [NotifyState::Reloading].into_iter().chain(now).collect()
            }
            Message::Stopping => vec![NotifyState::Stopping],
            Message::MoreTime => {
                vec![NotifyState::ExtendTimeoutUsec(MORE_TIME.as_micros() as u32)]
            }
        }
    }
}
