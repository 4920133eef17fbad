//! systemd as a service sees it: the sockets that it inherits and the messages that it sends.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, fcntl};

use super::{kneard::Setup, wait::boot_time};

/// A descriptor that a service inherits, with its name.
pub struct Passed {
    pub name: &'static str,
    socket: Box<dyn AsFd>,
}

impl Passed {
    pub fn tcp(name: &'static str) -> (Self, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (Self { name, socket: Box::new(socket) }, address)
    }

    pub fn unix(name: &'static str, path: &Path) -> Self {
        Self { name, socket: Box::new(UnixListener::bind(path).unwrap()) }
    }

    pub fn datagram(name: &'static str, path: &Path) -> Self {
        Self { name, socket: Box::new(UnixDatagram::bind(path).unwrap()) }
    }

    /// As `/proc/<pid>/fd` shows the socket in every process that has it.
    pub fn link(&self) -> PathBuf {
        fs::read_link(format!("/proc/self/fd/{}", self.socket.as_fd().as_raw_fd())).unwrap()
    }
}

/// One message of a service.
#[derive(Clone, Debug)]
pub struct Message {
    pub at: Duration,
    pub text: String,
}

impl Message {
    /// The value of `name=value`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

pub struct Systemd {
    inbox: Receiver<Message>,
    directory: PathBuf,
    passed: Vec<Passed>,
    watchdog: Duration,
    /// All that the service has said.
    pub messages: Vec<Message>,
}

impl Systemd {
    pub fn new(directory: &Path, passed: Vec<Passed>, watchdog: Duration) -> Self {
        let socket = UnixDatagram::bind(directory.join("notify")).unwrap();
        let (sender, inbox) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if sender.send(Message { at: boot_time(), text }).is_err() {
                    break;
                }
            }
        });
        Self { inbox, directory: directory.to_owned(), passed, watchdog, messages: Vec::new() }
    }

    /// The daemon as systemd would start it: with descriptors from 3 on, and variables that hold
    /// its own pid. (A program that execs another has a script do that.)
    pub fn adopt(&self, setup: &mut Setup) {
        let names: Vec<_> = self.passed.iter().map(|passed| passed.name).collect();
        let mut script = "#!/usr/bin/env bash\nexport LISTEN_PID=$$ WATCHDOG_PID=$$\n".to_owned();
        let mut inherited = Vec::new();
        for (index, passed) in self.passed.iter().enumerate() {
            // Far from those that the script fills, and inherited.
            let high = fcntl(passed.socket.as_fd(), FcntlArg::F_DUPFD(100)).unwrap();
            inherited.push(high);
            script += &format!("exec {}<&{high}\n", index + 3);
        }
        for high in inherited {
            script += &format!("exec {high}<&-\n");
        }
        script += &format!("exec {} \"$@\"\n", setup.program.display());
        let path = self.directory.join("as-systemd");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        setup.program = path;
        let variables = [
            ("NOTIFY_SOCKET", self.directory.join("notify").into_os_string()),
            ("WATCHDOG_USEC", self.watchdog.as_micros().to_string().into()),
            ("LISTEN_FDS", names.len().to_string().into()),
            ("LISTEN_FDNAMES", names.join(":").into()),
        ];
        setup.environment.extend(variables.map(|(name, value)| (name.into(), value)));
    }

    /// The first message from now on that has this line, within the bound.
    pub fn wait_for(&mut self, bound: Duration, line: &str) -> Message {
        self.wait_until(bound, line, |message| message.text.lines().any(|each| each == line))
    }

    pub fn wait_until(
        &mut self,
        bound: Duration,
        what: &str,
        is_it: impl Fn(&Message) -> bool,
    ) -> Message {
        let end = Instant::now() + bound;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(message) = self.inbox.recv_timeout(left) else {
                panic!("systemd was not told within {bound:?}: {what}");
            };
            self.messages.push(message.clone());
            if is_it(&message) {
                return message;
            }
        }
    }
}
