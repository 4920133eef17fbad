//! What the machine knows about its neard process.

use std::time::Duration;

use super::{NeardStatus, Time};

/// Waits between restarts of a neard that keeps crashing.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// A neard that ran for so long has not crashed "again".
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// A neard that starts answers `/status` a moment before it handles SIGHUP, and until then dies of
/// it (nearcore `neard/src/cli.rs`, `RunCmd::run`).
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// How often it is told again to reload: a signal that comes during a reload is lost (ibid.).
const RELOAD_INTERVAL: Duration = Duration::from_millis(250);
/// How often a neard is asked that is expected to answer or to reach a height any moment.
pub(super) const EAGER_STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// The same while it loads or unloads the key, which takes about 10 ms.
const SWAP_STATUS_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Process {
    Down {
        start_at: Time,
    },
    /// Spawned; `/status` has not answered yet.
    Starting {
        since: Time,
    },
    Up {
        since: Time,
    },
    /// SIGTERM is sent; SIGKILL follows at `kill_at`, unless it is sent already (`None`).
    Stopping {
        kill_at: Option<Time>,
    },
}

/// Whether the process has the validator key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// It was started without, or has confirmed that it has none any more: it cannot sign.
    Out,
    /// It is to load the key without a restart.
    Loading { since: Time },
    /// It was started with the key, or has confirmed that it loaded it.
    In,
    /// It is to unload the key without a restart, and signs until it has.
    Unloading { since: Time },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Neard {
    pub process: Process,
    pub key: Key,
    /// It was told to reload.
    pub reloaded_at: Time,
    /// This process had the key, and gave it up at this instant.
    pub unloaded_at: Option<Time>,
    /// The newest answer of `/status` of this process.
    pub status: Option<NeardStatus>,
    /// The highest head that `/status` told, and when it was asked for.
    pub last_head: Option<(Time, u64)>,
    /// The newest head that was the chain's too, and when it was asked for. What a neard tells that
    /// is still catching up bounds nothing: a moment later it signs far above.
    pub synced_head: Option<(Time, u64)>,
    /// Failed `/status` since the last good one.
    pub failures: u32,
    /// The question that an answer is awaited for.
    asked: Option<(u64, Time)>,
    next_id: u64,
    last_ask: Time,
    next_ask: Time,
    /// Somebody waits for the next answer: ask at this instant already.
    hurried_ask: Option<Time>,
    out_of_sync_since: Option<Time>,
    /// This process has been in sync.
    pub was_in_sync: bool,
    /// Some neard of this kneard has answered `/status` once, as it should.
    pub has_answered: bool,
    /// Starts in a row after which neard did not answer, or showed a key that it was not given.
    pub failed_starts: u32,
    /// What a crash costs, once there was one.
    backoff: Option<Duration>,
}

impl Neard {
    pub fn new(now: Time) -> Self {
        Neard {
            process: Process::Down { start_at: now },
            key: Key::Out,
            reloaded_at: now,
            unloaded_at: None,
            status: None,
            last_head: None,
            synced_head: None,
            failures: 0,
            asked: None,
            next_id: 0,
            last_ask: now,
            next_ask: now,
            hurried_ask: None,
            out_of_sync_since: None,
            was_in_sync: false,
            has_answered: false,
            failed_starts: 0,
            backoff: None,
        }
    }

    pub fn is_down(&self) -> bool {
        matches!(self.process, Process::Down { .. })
    }

    pub fn is_up(&self) -> bool {
        matches!(self.process, Process::Up { .. })
    }

    /// It may sign: what is not known to be out counts as in.
    pub fn keyed(&self) -> bool {
        self.key != Key::Out
    }

    /// When a neard that is up can be told to reload.
    pub fn settles_at(&self) -> Option<Time> {
        match self.process {
            Process::Up { since } => Some(since + SETTLED_AFTER),
            _ => None,
        }
    }

    pub fn is_settled(&self, now: Time) -> bool {
        self.settles_at().is_some_and(|at| now >= at)
    }

    /// When a neard that was told to reload is told again.
    pub fn reloads_again_at(&self) -> Option<Time> {
        self.swapping_since().filter(|_| self.is_up()).map(|_| self.reloaded_at + RELOAD_INTERVAL)
    }

    /// Since when it loads or unloads the key.
    pub fn swapping_since(&self) -> Option<Time> {
        match self.key {
            Key::Loading { since } | Key::Unloading { since } => Some(since),
            Key::Out | Key::In => None,
        }
    }

    /// Until a question that is asked from now on is answered, nothing confirms anything: an answer
    /// that is on its way may be older than the order.
    pub fn swaps(&mut self, now: Time, key: Key) {
        self.key = key;
        self.unloaded_at = None;
        self.asked = None;
        self.last_ask = now;
        self.hurried_ask = Some(now + SWAP_STATUS_INTERVAL);
        self.reloaded_at = now;
    }

    /// It has confirmed that it has no key any more.
    pub fn unloaded(&mut self, now: Time) {
        self.key = Key::Out;
        self.unloaded_at = Some(now);
    }

    pub fn head(&self) -> Option<u64> {
        self.last_head.map(|(_, head)| head)
    }

    /// In sync by its newest answer.
    pub fn in_sync(&self) -> bool {
        self.is_up() && self.status.as_ref().is_some_and(|status| !status.syncing)
    }

    /// In sync, and the last question was answered.
    pub fn is_eligible(&self) -> bool {
        self.in_sync() && self.failures == 0 && !self.keyed()
    }

    pub fn out_of_sync_for(&self, now: Time) -> Duration {
        self.out_of_sync_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// A process is being spawned.
    pub fn starts(&mut self, now: Time, key: Key) {
        self.process = Process::Starting { since: now };
        self.key = key;
        self.unloaded_at = None;
        self.status = None;
        self.failures = 0;
        self.asked = None;
        self.next_ask = now;
        self.hurried_ask = None;
        self.out_of_sync_since = None;
        self.was_in_sync = false;
    }

    /// The process is reaped. Returns whether it had been asked to stop.
    pub fn exited(&mut self, now: Time) -> bool {
        let asked_to = matches!(self.process, Process::Stopping { .. });
        let wait = match self.process {
            Process::Starting { .. } => {
                self.failed_starts += 1;
                self.back_off()
            }
            Process::Up { since } if now.since(since) < STEADY_AFTER => self.back_off(),
            Process::Up { .. } => {
                self.backoff = None;
                self.back_off()
            }
            Process::Stopping { .. } | Process::Down { .. } => Duration::ZERO,
        };
        self.process = Process::Down { start_at: now + wait };
        self.key = Key::Out;
        self.status = None;
        self.asked = None;
        asked_to
    }

    /// The process ended by itself, as it was to, and is reaped.
    pub fn finished(&mut self, now: Time) {
        self.process = Process::Stopping { kill_at: None };
        self.exited(now);
    }

    /// The wait after a crash. The first one after a steady time costs none.
    fn back_off(&mut self) -> Duration {
        let wait = self.backoff.unwrap_or_default();
        self.backoff = Some((wait * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF));
        wait
    }

    /// It answers, and shows the key that it was given or none as it should.
    pub fn is_sound(&mut self) {
        self.has_answered = true;
        self.failed_starts = 0;
    }

    /// Takes in an answer; false when it answers an older question, of another process perhaps.
    pub fn answered(&mut self, now: Time, id: u64, answer: Option<&NeardStatus>) -> bool {
        let Some((_, asked)) = self.asked.take_if(|(asked, _)| *asked == id) else {
            return false;
        };
        match answer {
            Some(status) => self.is_alive(now, asked, status),
            // Before its first answer it is starting, which may take long: RocksDB replays its log.
            None if self.is_up() => {
                self.failures += 1;
                self.hurried_ask = None;
            }
            None => {}
        }
        true
    }

    fn is_alive(&mut self, now: Time, asked: Time, status: &NeardStatus) {
        if let Process::Starting { .. } = self.process {
            self.process = Process::Up { since: now };
        }
        self.failures = 0;
        if status.syncing {
            self.out_of_sync_since.get_or_insert(now);
        } else {
            self.out_of_sync_since = None;
            self.was_in_sync = true;
            self.synced_head = Some((asked, status.head));
        }
        if self.head().is_none_or(|head| head <= status.head) {
            self.last_head = Some((asked, status.head));
        }
        self.status = Some(status.clone());
    }

    /// When `/status` is to be asked next; `None` while an answer is awaited or nobody would give
    /// one.
    pub fn next_ask(&self) -> Option<Time> {
        let listening = matches!(self.process, Process::Starting { .. } | Process::Up { .. });
        let next_ask = self.hurried_ask.map_or(self.next_ask, |at| at.min(self.next_ask));
        (listening && self.asked.is_none()).then_some(next_ask)
    }

    /// A question is sent; returns its number.
    pub fn ask(&mut self, now: Time, interval: Duration) -> u64 {
        self.next_id += 1;
        self.asked = Some((self.next_id, now));
        self.last_ask = now;
        self.next_ask = now + interval;
        self.hurried_ask = None;
        self.next_id
    }

    #[cfg(feature = "mutants")]
    pub fn forget_questions(&mut self) {
        self.next_id = 0;
        self.asked = None;
    }

    /// Somebody waits for the next answer: ask soon. Not after a failed one, for a few of those in
    /// a row mean that neard hangs.
    pub fn hurry(&mut self, now: Time) {
        let interval = match self.swapping_since() {
            Some(since) if now.since(since) < EAGER_STATUS_INTERVAL * 5 => SWAP_STATUS_INTERVAL,
            _ => EAGER_STATUS_INTERVAL,
        };
        if self.failures == 0 {
            self.hurried_ask.get_or_insert(now.max(self.last_ask + interval));
        }
    }
}
