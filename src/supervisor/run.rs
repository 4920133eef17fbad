//! The one loop: events in, actions out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::consul_io::ConsulIo;
use super::peers::{self, Peers};
use super::process::{FromGuard, Process};
use super::runtime_file::RuntimeFile;
use super::serve::{listen, serve};
use super::signals::Signals;
use super::start::{RunError, neard_options, runtime_file};
use super::status_line::status_line;
use super::{Keys, Snapshot, Takeovers, agent, history, nodes, pause};
use crate::consul::Client;
use crate::control::{self, Pause};
use crate::election::{
    Action, Chronicle, Event, ExitReason, Machine, Notice, Promotion, SessionId, State, Time,
    Transition,
};
use crate::logging;
use crate::neard::boot_clock;
use crate::neard::home::{Home, HomeError};
use crate::neard::quiet_moment::quiet_moment;
use crate::programs;
use crate::settings::Settings;
use crate::systemd::{self, Notifier};

/// How long a predecessor on the same home may take to die: its `kneard release` is the last to go.
const HOME_LOCK_WAIT: Duration = Duration::from_secs(12);
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// More events than ever wait at once.
const EVENTS: usize = 64;

/// Runs neard until a signal asks to stop.
///
/// # Errors
/// What is wrong with the keys, the home or the addresses, found before anything is changed; or
/// that neard does not start.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    // Before anything else is opened.
    let passed = systemd::sockets()?;
    let (options, account) = neard_options(&settings)?;
    let client = Client::new(settings.consul.clone()).map_err(RunError::Consul)?;
    if !programs::is_found(&settings.neard_binary) {
        return Err(RunError::NoNeard(settings.neard_binary));
    }
    let home = Home::open(&settings.neard_home)?;
    home.check(&options.standby)?;
    home.check(&options.validator)?;
    home.rpc_addr()?;
    access(&settings.runtime_dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| {
        RunError::RuntimeDir { path: settings.runtime_dir.clone(), error: errno.into() }
    })?;
    let lock = match home.lock(Duration::ZERO).await {
        Err(HomeError::Locked { .. }) => {
            tracing::info!("neard home {} is in use: waiting", home.path().display());
            home.lock(HOME_LOCK_WAIT).await?
        }
        taken => taken?,
    };

    let own_socket = passed.control.is_empty();
    let sockets = listen(&settings, passed).await?;

    let keys = Keys::new(&account);
    let (events, inbox) = mpsc::channel(EVENTS);
    let machine = Machine::new(settings.election.clone(), now());
    let (snapshot, _) = watch::channel(Snapshot::take(&machine, None, 0, None, None));
    let consul = ConsulIo::new(client.clone(), keys.clone(), &settings.election, events.clone());

    let max_lag = settings.election.max_lag;
    let api = control::Api {
        consul: client.clone(),
        keys: keys.clone(),
        snapshot: snapshot.subscribe(),
        events: events.clone(),
        home: home.clone(),
        promotion: settings.election.promotion,
        max_lag,
        planning: Arc::default(),
    };
    let takeovers = Takeovers::new()?;
    let (serve_end, serving_ends) = watch::channel(false);
    let serving = serve(sockets, &api, &snapshot, &takeovers, &serving_ends);
    let (told, pause) = watch::channel(None);
    let following = [
        tokio::spawn(agent::introduce(client.clone())),
        tokio::spawn(pause::follow(client.clone(), keys.pause(), events.clone(), told)),
    ];
    let publishing =
        tokio::spawn(nodes::publish(client.clone(), keys.clone(), snapshot.subscribe(), max_lag));

    let systemd = Notifier::from_env();
    let (tell_peers, peers) = watch::channel(None);
    if systemd.is_heard() {
        let following =
            peers::follow(client.clone(), keys.clone(), snapshot.subscribe(), tell_peers);
        tokio::spawn(following);
    }

    let runtime_file = runtime_file(&settings, &account);
    runtime_file
        .write(&settings.runtime_dir)
        .map_err(|error| RunError::RuntimeDir { path: settings.runtime_dir.clone(), error })?;
    let mut supervisor = Supervisor {
        machine,
        process: Process::new(home, lock, options, events.clone()),
        consul,
        client,
        keys,
        snapshot,
        runtime_file,
        runtime_dir: settings.runtime_dir.clone(),
        publishing: Some(publishing),
        events,
        stopping: None,
        swap_obstacle: None,
        pause,
        chronicle: Chronicle::default(),
        takeovers,
        systemd,
        peers,
        peer: None,
    };
    let result = supervisor.turn(inbox).await;
    for task in following {
        task.abort();
    }
    serve_end.send_replace(true);
    for task in serving {
        let _ = task.await;
    }
    if own_socket {
        // bind replaced whatever was there.
        let _ = std::fs::remove_file(&settings.control_socket);
    }
    result
}

struct Supervisor {
    machine: Machine,
    process: Process,
    consul: ConsulIo,
    client: Client,
    keys: Keys,
    snapshot: watch::Sender<Snapshot>,
    runtime_file: RuntimeFile,
    runtime_dir: PathBuf,
    publishing: Option<JoinHandle<()>>,
    /// To the loop itself.
    events: mpsc::Sender<Event>,
    /// Asked to stop, and waiting for the moment.
    stopping: Option<JoinHandle<()>>,
    /// Why neard cannot be given the key while it runs, as known when it last came to vote.
    swap_obstacle: Option<String>,
    pause: watch::Receiver<Option<Pause>>,
    chronicle: Chronicle,
    takeovers: Takeovers,
    systemd: Notifier,
    peers: watch::Receiver<Peers>,
    /// The other node that held the lock last.
    peer: Option<String>,
}

/// What ends one wait of the loop.
enum News {
    Event(Event),
    FromGuard(FromGuard),
    Stop(&'static str),
    ReloadToken(&'static str),
    Ping,
    SignOfLife,
}

impl Supervisor {
    async fn turn(&mut self, mut inbox: mpsc::Receiver<Event>) -> Result<(), RunError> {
        let mut signals = Signals::new().map_err(RunError::Signals)?;
        let mut pings = interval(PING_INTERVAL);
        let mut signs = interval(self.systemd.interval().unwrap_or(PING_INTERVAL));
        for ticks in [&mut pings, &mut signs] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut event = Some(Event::Tick);
        loop {
            if let Some(event) = event.take() {
                for action in self.machine.handle(now(), event) {
                    if let Action::Exit(reason) = action {
                        return self.end(reason).await;
                    }
                    self.carry_out(action).await;
                }
                self.publish_snapshot();
                self.note_takeover();
            }
            let timeout = self.until_timeout();
            let news = tokio::select! {
                biased;
                // First: ctrl-c reaches neard too, and one that ends for it is not to be restarted.
                _ = signals.terminate.recv() => News::Stop("SIGTERM"),
                _ = signals.interrupt.recv() => News::Stop("SIGINT"),
                from_guard = self.process.hear_guard() => News::FromGuard(from_guard),
                Some(event) = inbox.recv() => News::Event(event),
                () = sleep(timeout) => News::Event(Event::Tick),
                _ = signals.hangup.recv() => News::ReloadToken("SIGHUP"),
                _ = signals.user.recv() => News::ReloadToken("SIGUSR1"),
                _ = pings.tick() => News::Ping,
                _ = signs.tick() => News::SignOfLife,
            };
            event = match news {
                News::Event(event) => Some(event),
                News::Stop(signal) => {
                    tracing::info!(target: "kneard::exit_signal_handler", "{signal} received");
                    self.systemd.stopping();
                    self.stop(signal)
                }
                News::FromGuard(from_guard) => self.heard_guard(from_guard),
                News::ReloadToken(signal) => self.reload_token(signal),
                News::Ping => self.process.ping(),
                News::SignOfLife => self.sign_of_life(),
            };
        }
    }

    /// A validator that can hand its key over stops at a quiet moment, or at a second signal. Not
    /// for ctrl-c: that reaches neard too.
    fn stop(&mut self, signal: &str) -> Option<Event> {
        if let Some(waiting) = self.stopping.take() {
            waiting.abort();
            return Some(Event::Stop);
        }
        let can_swap =
            self.machine.settings().promotion == Promotion::HotSwap && self.swap_obstacle.is_none();
        let validates = self.snapshot.borrow().validates();
        let rpc = self.process.rpc().filter(|_| validates && can_swap && signal == "SIGTERM");
        let Some(rpc) = rpc else { return Some(Event::Stop) };
        let (keys, events) = (self.keys.clone(), self.events.clone());
        self.stopping = Some(tokio::spawn(async move {
            quiet_moment(rpc, keys.account()).await;
            // Nobody listens any more only when the process is about to end.
            let _ = events.send(Event::Stop).await;
        }));
        None
    }

    fn until_timeout(&self) -> Duration {
        /// Longer than anything is ever awaited.
        const IDLE: Duration = Duration::from_secs(3600);
        self.machine.next_timeout().map_or(IDLE, |at| at.since(now()))
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::StartNeard(role) => self.process.start(role),
            Action::TerminateNeard => self.process.terminate(),
            Action::KillNeard => self.process.kill(),
            Action::AskStatus { id } => self.process.ask_status(id),
            Action::AskDuties => self.process.ask_duties(),
            Action::ArmGuard(deadline) => self.process.arm(deadline),
            Action::DisarmGuard => self.process.disarm(),
            Action::LoadKey { kill_at } => self.process.load_key(kill_at),
            Action::UnloadKey => self.process.unload_key(),
            Action::ReloadNeard => self.process.reload(),
            Action::CreateSession => self.consul.create_session(),
            Action::RenewSession(id) => self.consul.renew_session(id),
            Action::DestroySession(id) => self.leave_consul(&id).await,
            Action::Commit { id, write } => self.consul.commit(id, write),
            Action::ReadKey { id } => self.consul.read_key(id),
            Action::ReadLeases => self.consul.read_leases(),
            Action::Watch(wanted) => self.consul.watch(wanted),
            Action::Changed(transition) => self.changed(transition),
            Action::Log(notice) => log(&notice),
            // Handled by the loop.
            Action::Exit(_) => {}
        }
    }

    fn changed(&mut self, Transition { from, to }: Transition) {
        // neard has told its version and chain by the time that it votes; its configuration counts
        // as it was at its start.
        if to == State::Voting {
            self.swap_obstacle = self.process.swap_obstacle();
        }
        let term = self.machine.record().map(|record| record.term);
        tracing::info!(
            target: "kneard::supervisor",
            journal_message_id = logging::STATE_CHANGED,
            journal_state = %to,
            journal_term = term,
            journal_peer = self.peer.as_deref(),
            "state changed: {from} -> {to}"
        );
    }

    fn heard_guard(&mut self, from_guard: FromGuard) -> Option<Event> {
        match from_guard {
            FromGuard::Tell(event) => Some(event),
            FromGuard::Started(identity) => {
                self.runtime_file.neard = Some(identity);
                self.write_runtime_file();
                // The sockets have been served for long.
                self.systemd.ready();
                Some(Event::NeardStarted)
            }
            FromGuard::Nothing => None,
        }
    }

    /// Tells systemd that all is well, if it is.
    fn sign_of_life(&mut self) -> Option<Event> {
        if self.process.guard_answers() && !self.machine.is_overdue(now()) {
            self.systemd.alive();
        }
        if self.machine.state() == State::Shutdown {
            self.systemd.stopping();
        }
        None
    }

    fn reload_token(&mut self, signal: &str) -> Option<Event> {
        self.systemd.reloading(|| match self.client.reload_token() {
            Ok(()) => tracing::info!("{signal} received: read the Consul token again"),
            Err(error) => tracing::error!("{signal} received, the old Consul token stays: {error}"),
        });
        None
    }

    fn publish_snapshot(&mut self) {
        let mut snapshot = Snapshot::take(
            &self.machine,
            self.process.pid(),
            self.process.restarts(),
            self.process.version().as_deref(),
            self.swap_obstacle.as_deref(),
        );
        snapshot.pause.clone_from(&self.pause.borrow());
        snapshot.report.paused = snapshot.pause.is_some();
        // The machine has no wall clock: its own records lack the time that was written.
        if let (Some(record), Some(since)) = (&mut snapshot.record, self.consul.since())
            && record.since.is_empty()
        {
            since.clone_into(&mut record.since);
        }
        if let Some(record) = &snapshot.record
            && record.instance != self.runtime_file.instance
            && self.peer.as_ref() != Some(&record.holder)
        {
            self.peer = Some(record.holder.clone());
        }
        if snapshot.session != self.runtime_file.session {
            self.runtime_file.session.clone_from(&snapshot.session);
            self.write_runtime_file();
        }
        if self.systemd.is_heard() {
            let peers = self.peers.borrow();
            let line = status_line(&snapshot, self.keys.account(), peers.as_deref());
            self.systemd.status(line);
        }
        self.snapshot.send_replace(snapshot);
    }

    fn note_takeover(&mut self) {
        if let Some(takeover) = self.chronicle.observe(now(), &self.machine) {
            self.takeovers.count(&takeover);
            let (client, keys) = (self.client.clone(), self.keys.clone());
            tokio::spawn(history::write(client, keys, takeover));
        }
    }

    /// Without it a crash is noticed by the lease's end and not at once: not worth a stop.
    fn write_runtime_file(&self) {
        if let Err(error) = self.runtime_file.write(&self.runtime_dir) {
            tracing::error!("--runtime-dir {}: {error}", self.runtime_dir.display());
        }
    }

    async fn leave_consul(&mut self, session: &SessionId) {
        if let Some(publishing) = self.publishing.take() {
            publishing.abort();
        }
        let report = self.snapshot.borrow().report.clone();
        nodes::withdraw(&self.client, &self.keys, &report).await;
        self.consul.destroy_session(session).await;
    }

    /// neard is dead by now.
    async fn end(&mut self, reason: ExitReason) -> Result<(), RunError> {
        RuntimeFile::remove(&self.runtime_dir);
        // A neard that somebody starts by hand must not find it.
        if let Err(error) = self.process.take_key_out().await {
            tracing::error!("the validator key may still be in neard's home: {error}");
        }
        match reason {
            ExitReason::Stopped => Ok(()),
            ExitReason::NeardDoesNotStart(why) => {
                let binary = self.process.binary().to_owned();
                Err(RunError::NeardDoesNotStart { binary, why })
            }
        }
    }
}

fn now() -> Time {
    Time::from_nanos(boot_clock::now())
}

fn log(notice: &Notice) {
    match notice {
        Notice::Info(text) => tracing::info!(target: "kneard::supervisor", "{text}"),
        Notice::Warning(text) => tracing::warn!(target: "kneard::supervisor", "{text}"),
        Notice::Error(text) => tracing::error!(target: "kneard::supervisor", "{text}"),
        Notice::StopOverdue => tracing::warn!(target: "kneard::proc", "{notice}"),
    }
}
