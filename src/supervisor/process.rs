//! Runs neard under its guard and asks for its status, as the core's actions say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::runtime_file::NeardProcess;
use crate::election::{Event, NeardStatus, Role, SignKey, Time};
use crate::neard::guard::{GuardEvent, Neard, SpawnOptions};
use crate::neard::home::{self, Home, HomeError};
use crate::neard::home_lock::HomeLock;
use crate::neard::keys::PublicKey;
use crate::neard::rpc::Rpc;

/// How long one `/status` may take.
const STATUS_LIMIT: Duration = Duration::from_secs(1);
/// A guard that leaves a question open at so many pings in a row cannot be trusted to kill in
/// time. Not one alone, however late: if this process itself was held up, the answer may be there
/// and unread.
const MISSED_PINGS: u32 = 2;

/// What a neard is started with.
#[derive(Debug, Clone)]
pub struct NeardOptions {
    pub binary: PathBuf,
    pub boot_nodes: Option<String>,
    pub release_argv: Vec<OsString>,
    pub standby: home::Role,
    pub validator: home::Role,
    pub validator_public_key: PublicKey,
}

pub struct Process {
    home: Home,
    lock: HomeLock,
    options: NeardOptions,
    events: Sender<Event>,
    running: Option<Running>,
    /// Why there is no process to run; not told yet.
    not_started: Option<String>,
    starts: u64,
    /// neard's version, as `/status` told it last.
    version: Arc<Mutex<Option<String>>>,
}

struct Running {
    neard: Neard,
    rpc: Rpc,
    from_guard: UnboundedReceiver<GuardEvent>,
    identity: Option<NeardProcess>,
    /// The oldest question to the guard without an answer, and how many pings it has seen.
    unanswered: Option<(u64, u32)>,
}

/// What the guard's side of the shell has to do about an event.
pub enum FromGuard {
    Tell(Event),
    /// neard runs: note its identity for `kneard release`.
    Started(NeardProcess),
    Nothing,
}

impl Process {
    pub fn new(home: Home, lock: HomeLock, options: NeardOptions, events: Sender<Event>) -> Self {
        Process {
            home,
            lock,
            options,
            events,
            running: None,
            not_started: None,
            starts: 0,
            version: Arc::default(),
        }
    }

    pub fn binary(&self) -> &Path {
        &self.options.binary
    }

    pub fn pid(&self) -> Option<i32> {
        Some(self.running.as_ref()?.identity?.pid)
    }

    pub fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts of neard beyond the first.
    pub fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// Starts neard; what becomes of it is told by [`Process::hear_guard`]. (Not through the
    /// events' channel: if that is full, only the caller can make room in it.)
    pub fn start(&mut self, role: Role) {
        self.not_started = self.try_start(role).err();
    }

    fn try_start(&mut self, role: Role) -> Result<(), String> {
        let (home_role, deadline) = match role {
            Role::Standby => (&self.options.standby, None),
            Role::Validator { kill_at } => (&self.options.validator, Some(kill_at.as_nanos())),
        };
        self.home.prepare(home_role).map_err(|error| error.to_string())?;
        let rpc = Rpc::new(self.home.rpc_addr().map_err(|error| error.to_string())?);
        let (neard, from_guard) = Neard::spawn(SpawnOptions {
            guard: SpawnOptions::OWN_PROGRAM.into(),
            neard: self.options.binary.clone(),
            args: self.arguments(),
            home_lock: self.lock.clone(),
            deadline,
            release_argv: self.options.release_argv.clone(),
        })
        .map_err(|error| format!("cannot start the guard of neard: {error}"))?;
        self.starts += 1;
        self.running = Some(Running { neard, rpc, from_guard, identity: None, unanswered: None });
        Ok(())
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--home".into(), self.home.path().into(), "run".into()];
        if let Some(nodes) = &self.options.boot_nodes {
            args.extend(["--boot-nodes".into(), nodes.into()]);
        }
        args
    }

    /// Takes the validator key out of the home of a neard that is dead.
    ///
    /// # Errors
    /// The key may still be there.
    pub fn take_key_out(&self) -> Result<(), HomeError> {
        let (home::Role::Standby { validator_key, .. }
        | home::Role::Validator { validator_key, .. }) = &self.options.standby;
        self.home.remove_validator_key(validator_key)
    }

    pub fn terminate(&self) {
        // A guard that is gone reports that by itself; here as below.
        if let Some(running) = &self.running {
            let _ = running.neard.signal(Signal::SIGTERM);
        }
    }

    pub fn kill(&self) {
        if let Some(running) = &self.running {
            running.neard.kill();
        }
    }

    pub fn arm(&mut self, deadline: Time) {
        if let Some(running) = &mut self.running {
            let sent = running.neard.arm(deadline.as_nanos());
            running.awaits(sent);
        }
    }

    /// Asks the guard for a sign of life; [`Event::GuardSilent`] when it owes one for too long.
    pub fn ping(&mut self) -> Option<Event> {
        let running = self.running.as_mut()?;
        // Until it has started neard it is busy with that.
        running.identity?;
        if let Some((_, missed)) = &mut running.unanswered {
            *missed += 1;
            return (*missed >= MISSED_PINGS).then_some(Event::GuardSilent);
        }
        let sent = running.neard.ping();
        running.awaits(sent);
        None
    }

    pub fn ask_status(&self, id: u64) {
        let Some(running) = &self.running else { return };
        let (rpc, events) = (running.rpc, self.events.clone());
        let ours = self.options.validator_public_key.clone();
        let version = Arc::clone(&self.version);
        tokio::spawn(async move {
            let result = match rpc.status(STATUS_LIMIT).await {
                Ok(status) => {
                    *version.lock().unwrap_or_else(PoisonError::into_inner) = status.version;
                    Ok(NeardStatus {
                        syncing: status.syncing,
                        head: status.head,
                        key: match status.validator_public_key {
                            None => SignKey::None,
                            Some(key) if key == ours => SignKey::Ours,
                            Some(_) => SignKey::Other,
                        },
                    })
                }
                Err(error) => Err(error.to_string()),
            };
            let _ = events.send(Event::Status { id, result }).await;
        });
    }

    /// The next thing that the guard says; never, while there is none.
    pub async fn hear_guard(&mut self) -> FromGuard {
        if let Some(why) = self.not_started.take() {
            return FromGuard::Tell(Event::NeardNotStarted(why));
        }
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let event = running.from_guard.recv().await;
        match event {
            Some(GuardEvent::Started(identity)) => {
                running.identity = Some(identity.into());
                FromGuard::Started(identity.into())
            }
            Some(GuardEvent::Armed { seq } | GuardEvent::Pong { seq }) => {
                running.unanswered.take_if(|(asked, _)| *asked <= seq);
                FromGuard::Nothing
            }
            Some(GuardEvent::Exited(exit)) => {
                self.running = None;
                FromGuard::Tell(Event::NeardExited(exit.to_string()))
            }
            Some(GuardEvent::SpawnFailed { error }) => {
                self.running = None;
                FromGuard::Tell(Event::NeardNotStarted(error))
            }
            None => {
                // The guard's task always ends with one of the two above.
                self.running = None;
                FromGuard::Tell(Event::NeardExited("its guard's task ended".to_owned()))
            }
        }
    }
}

impl Running {
    fn awaits(&mut self, sent: std::io::Result<u64>) {
        if let Ok(seq) = sent
            && self.unanswered.is_none()
        {
            self.unanswered = Some((seq, 0));
        }
    }
}
