//! Runs neard under its guard and asks for its status, as the core's actions say.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::Signal;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::task::JoinHandle;

use super::key_swap::KeySwap;
use super::questions::{self, Told};
use super::runtime_file::NeardProcess;
use crate::election::{Event, Role, Time};
use crate::neard::guard::{GuardEvent, Neard, SpawnOptions};
use crate::neard::home::{self, ConfigAtStart, Home, HomeError};
use crate::neard::home_lock::HomeLock;
use crate::neard::keys::PublicKey;
use crate::neard::rpc::Rpc;

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
    pub account: String,
}

impl NeardOptions {
    /// neard's command line.
    pub fn arguments(&self, home: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--home".into(), home.into(), "run".into()];
        if let Some(nodes) = &self.boot_nodes {
            args.extend(["--boot-nodes".into(), nodes.into()]);
        }
        args
    }
}

pub struct Process {
    home: Home,
    lock: HomeLock,
    options: NeardOptions,
    events: Sender<Event>,
    running: Option<Running>,
    preparing: Option<Preparing>,
    swap: Option<KeySwap>,
    /// neard is to say how high it can have signed once it has no key.
    unloading: bool,
    /// What became of an order at once.
    at_once: Option<Event>,
    starts: u64,
    told: Arc<Mutex<Told>>,
}

/// A neard whose home is made ready.
struct Preparing {
    work: JoinHandle<Result<(SocketAddr, ConfigAtStart), String>>,
    deadline: Option<u64>,
    /// It is to stop before it has been started.
    cancelled: bool,
}

struct Running {
    neard: Neard,
    rpc: Rpc,
    config: ConfigAtStart,
    from_guard: UnboundedReceiver<GuardEvent>,
    identity: Option<NeardProcess>,
    /// The oldest question to the guard without an answer, and how many pings it has seen.
    unanswered: Option<(u64, u32)>,
}

/// What the guard's side of the shell has to do about an event.
#[allow(clippy::large_enum_variant, reason = "few of them exist at a time, and none for long")]
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
            preparing: None,
            swap: None,
            unloading: false,
            at_once: None,
            starts: 0,
            told: Arc::default(),
        }
    }

    pub fn binary(&self) -> &Path {
        &self.options.binary
    }

    pub fn pid(&self) -> Option<i32> {
        Some(self.running.as_ref()?.identity?.pid)
    }

    pub fn version(&self) -> Option<String> {
        self.told().version
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why neard cannot be given the key while it runs, once its chain is known.
    pub fn swap_obstacle(&self) -> Option<String> {
        let Told { version, chain_id } = self.told();
        let config = &self.running.as_ref()?.config;
        config.hot_swap_obstacle(version.as_deref(), &chain_id?, &self.options.account)
    }

    /// Where the running neard answers.
    pub fn rpc(&self) -> Option<Rpc> {
        Some(self.running.as_ref()?.rpc)
    }

    /// Starts of neard beyond the first.
    pub fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// Starts neard; what becomes of it is told by [`Process::hear_guard`].
    pub fn start(&mut self, role: Role) {
        self.starts += 1;
        let (home_role, deadline) = match role {
            Role::Standby => (self.options.standby.clone(), None),
            Role::Validator { kill_at } => {
                (self.options.validator.clone(), Some(kill_at.as_nanos()))
            }
        };
        self.unloading = false;
        let (home, before) = (self.home.clone(), self.swap.take());
        // It syncs files to a disk that neard's own may keep busy, and the lease has to be renewed
        // meanwhile.
        let work = tokio::spawn(async move {
            // A key that was on its way in must not come after this.
            if let Some(swap) = before {
                swap.ended().await;
            }
            let prepare = move || {
                home.prepare(&home_role)?;
                Ok((home.rpc_addr()?, home.config()?))
            };
            match tokio::task::spawn_blocking(prepare).await {
                Ok(result) => result.map_err(|error: HomeError| error.to_string()),
                Err(error) => Err(format!("cannot prepare neard's home: {error}")),
            }
        });
        self.preparing = Some(Preparing { work, deadline, cancelled: false });
    }

    /// The home is ready, or cannot be made so.
    fn prepared(&mut self, ready: Result<(SocketAddr, ConfigAtStart), String>) -> FromGuard {
        let Some(Preparing { deadline, cancelled, .. }) = self.preparing.take() else {
            return FromGuard::Nothing;
        };
        if cancelled {
            let why = "neard was to stop before it was started";
            return FromGuard::Tell(Event::NeardExited(why.to_owned()));
        }
        match ready.and_then(|(rpc, config)| self.spawn(Rpc::new(rpc), config, deadline)) {
            Ok(()) => FromGuard::Nothing,
            Err(why) => FromGuard::Tell(Event::NeardNotStarted(why)),
        }
    }

    fn spawn(
        &mut self,
        rpc: Rpc,
        config: ConfigAtStart,
        deadline: Option<u64>,
    ) -> Result<(), String> {
        let (neard, from_guard) = Neard::spawn(SpawnOptions {
            guard: SpawnOptions::OWN_PROGRAM.into(),
            neard: self.options.binary.clone(),
            args: self.options.arguments(self.home.path()),
            home_lock: self.lock.clone(),
            deadline,
            release_argv: self.options.release_argv.clone(),
        })
        .map_err(|error| format!("cannot start the guard of neard: {error}"))?;
        self.running =
            Some(Running { neard, rpc, config, from_guard, identity: None, unanswered: None });
        Ok(())
    }

    /// Takes the validator key out of the home of a neard that is dead.
    ///
    /// # Errors
    /// The key may still be there.
    pub async fn take_key_out(&mut self) -> Result<(), HomeError> {
        if let Some(swap) = self.swap.take() {
            swap.ended().await;
        }
        self.home.remove_validator_key(self.validator_key())
    }

    fn validator_key(&self) -> &Path {
        let (home::Role::Standby { validator_key, .. }
        | home::Role::Validator { validator_key, .. }) = &self.options.standby;
        validator_key
    }

    /// Has neard load the key, once the guard has confirmed the deadline;
    /// [`Event::KeyNotLoaded`] if it cannot be.
    pub fn load_key(&mut self, deadline: Time) {
        self.unloading = false;
        if let Some(why) = self.swap_obstacle() {
            self.at_once = Some(Event::KeyNotLoaded(why));
            return;
        }
        let Some(running) = &mut self.running else {
            self.at_once = Some(Event::KeyNotLoaded("neard does not run".to_owned()));
            return;
        };
        match running.neard.arm(deadline.as_nanos()) {
            Ok(seq) => {
                running.awaits(Ok(seq));
                self.swap = Some(KeySwap::Arming { seq });
            }
            Err(error) => {
                let why = format!("the guard cannot be reached: {error}");
                self.at_once = Some(Event::KeyNotLoaded(why));
            }
        }
    }

    /// Has neard unload the key; [`Event::KeyNotUnloaded`] if the key cannot be taken out.
    pub fn unload_key(&mut self) {
        self.unloading = true;
        self.swap = Some(KeySwap::unload(self.home.clone(), self.validator_key().to_owned()));
    }

    /// SIGHUP. Not while the key is on its way: neard could load it before that is certain.
    pub fn reload(&self) {
        if let (None, Some(running)) = (&self.swap, &self.running) {
            let _ = running.neard.signal(Signal::SIGHUP);
        }
    }

    pub fn disarm(&mut self) {
        self.unloading = false;
        if let Some(running) = &mut self.running {
            let sent = running.neard.disarm();
            running.awaits(sent);
        }
    }

    /// The key is in neard's home or out of it, or could not be moved.
    fn key_moved(&mut self, result: Result<(), Event>) -> FromGuard {
        self.swap = None;
        match result {
            Ok(()) => {
                self.reload();
                FromGuard::Nothing
            }
            Err(event) => FromGuard::Tell(event),
        }
    }

    pub fn terminate(&mut self) {
        self.cancel();
        // A guard that is gone reports that by itself; here as below.
        if let Some(running) = &self.running {
            let _ = running.neard.signal(Signal::SIGTERM);
        }
    }

    pub fn kill(&mut self) {
        self.cancel();
        if let Some(running) = &self.running {
            running.neard.kill();
        }
    }

    fn cancel(&mut self) {
        if let Some(preparing) = &mut self.preparing {
            preparing.cancelled = true;
        }
    }

    pub fn arm(&mut self, deadline: Time) {
        if let Some(preparing) = &mut self.preparing {
            preparing.deadline = Some(deadline.as_nanos());
        }
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

    /// No question to the guard has been open for longer than from one ping to the next.
    pub fn guard_answers(&self) -> bool {
        let unanswered = self.running.as_ref().and_then(|running| running.unanswered);
        unanswered.is_none_or(|(_, missed)| missed == 0)
    }

    /// Sends exactly one [`Event::Status`]: the core asks nothing more before.
    pub fn ask_status(&self, id: u64) {
        let rpc = self.running.as_ref().map(|running| running.rpc);
        let events = self.events.clone();
        let ours = self.options.validator_public_key.clone();
        let (told, unloading) = (Arc::clone(&self.told), self.unloading);
        tokio::spawn(async move {
            let result = match rpc {
                Some(rpc) => questions::status(rpc, &ours, &told, unloading).await,
                None => Err("neard does not run yet".to_owned()),
            };
            let _ = events.send(Event::Status { id, result }).await;
        });
    }

    /// Sends exactly one [`Event::Duties`].
    pub fn ask_duties(&self) {
        let rpc = self.running.as_ref().map(|running| running.rpc);
        let (events, account) = (self.events.clone(), self.options.account.clone());
        tokio::spawn(async move {
            let result = match rpc {
                Some(rpc) => questions::duties(rpc, &account).await,
                None => Err("neard does not run".to_owned()),
            };
            let _ = events.send(Event::Duties(result)).await;
        });
    }

    /// The next thing that becomes of neard's start or that the guard says; never, while there is
    /// none. May be cancelled without loss.
    pub async fn hear_guard(&mut self) -> FromGuard {
        if let Some(event) = self.at_once.take() {
            return FromGuard::Tell(event);
        }
        if let Some(preparing) = &mut self.preparing {
            let ready = match (&mut preparing.work).await {
                Ok(result) => result,
                Err(error) => Err(format!("cannot prepare neard's home: {error}")),
            };
            return self.prepared(ready);
        }
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let event = tokio::select! {
            event = running.from_guard.recv() => event,
            result = KeySwap::done(&mut self.swap) => return self.key_moved(result),
        };
        match event {
            Some(GuardEvent::Started(identity)) => {
                running.identity = Some(identity.into());
                FromGuard::Started(identity.into())
            }
            Some(GuardEvent::Armed { seq } | GuardEvent::Pong { seq }) => {
                running.unanswered.take_if(|(asked, _)| *asked <= seq);
                self.confirmed(seq);
                FromGuard::Nothing
            }
            Some(GuardEvent::Exited(exit)) => {
                self.running = None;
                FromGuard::Tell(if exit.is_success() {
                    Event::NeardFinished(exit.to_string())
                } else {
                    Event::NeardExited(exit.to_string())
                })
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

impl Process {
    /// The guard has answered the question of this number: if it was the key's deadline, the key
    /// may go in.
    fn confirmed(&mut self, seq: u64) {
        if matches!(self.swap, Some(KeySwap::Arming { seq: asked }) if asked <= seq) {
            self.swap = Some(KeySwap::load(self.home.clone(), self.validator_key().to_owned()));
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

#[cfg(test)]
mod tests;
