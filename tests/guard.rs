//! The guard, driven as kneard drives it, with small scripts in neard's place: whatever dies or
//! hangs, neard is dead in time, and nobody is told so before it is true.

use kneard::neard::boot_clock;
use kneard::neard::guard::{Exit, ExitReason, GuardEvent, Neard, NeardStatus, SpawnOptions};
use kneard::neard::home_lock::HomeLock;
use kneard::neard::process::ProcessIdentity;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

/// Longer than anything here takes on a busy machine.
const BOUND: Duration = Duration::from_secs(20);
const SIGKILL: NeardStatus = NeardStatus::Signal(9);

fn in_ms(milliseconds: u64) -> u64 {
    boot_clock::now() + milliseconds * 1_000_000
}

/// Waits for a condition, at most [`BOUND`].
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + BOUND;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read_when_there(path: &Path) -> String {
    wait_for(&path.display().to_string(), || {
        fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))
    })
}

/// A folder with a home and a script that is neard.
struct Scene(TempDir);

impl Scene {
    /// The script first writes its process number to `pid`, then runs `body` in the folder.
    fn new(body: &str) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("home")).unwrap();
        let folder = scene.0.path().display();
        let script = format!("#!/bin/sh\ncd {folder}\necho $$ > pid\n{body}\n");
        fs::write(scene.path("neard"), script).unwrap();
        fs::set_permissions(scene.path("neard"), fs::Permissions::from_mode(0o755)).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self, deadline: Option<u64>) -> SpawnOptions {
        options(self.0.path(), deadline)
    }

    fn spawn(&self, deadline: Option<u64>) -> (Neard, UnboundedReceiver<GuardEvent>) {
        Neard::spawn(self.options(deadline)).unwrap()
    }

    /// Starts neard and waits until its script has come to `body`.
    async fn start(
        &self,
        deadline: Option<u64>,
    ) -> (Neard, UnboundedReceiver<GuardEvent>, ProcessIdentity) {
        let (neard, mut events) = self.spawn(deadline);
        let GuardEvent::Started(identity) = next(&mut events).await else {
            panic!("did not start");
        };
        assert_eq!(read_when_there(&self.path("pid")).trim(), identity.pid.to_string());
        (neard, events, identity)
    }

    fn is_unlocked(&self) -> bool {
        HomeLock::try_take(&self.path("home")).unwrap().is_some()
    }
}

fn options(folder: &Path, deadline: Option<u64>) -> SpawnOptions {
    let release = "kill -0 $(cat pid) 2>/dev/null && echo neard lives > released \
                   || echo neard is dead > released";
    // A test that ends takes its folder along.
    let release = format!("cd {} 2>/dev/null || exit; {release}", folder.display());
    SpawnOptions {
        guard: env!("CARGO_BIN_EXE_kneard").into(),
        neard: folder.join("neard"),
        args: vec!["--home".into(), folder.join("home").into(), "run".into()],
        home_lock: HomeLock::try_take(&folder.join("home")).unwrap().unwrap(),
        deadline,
        release_argv: vec!["/bin/sh".into(), "-c".into(), release.into()],
    }
}

async fn next(events: &mut UnboundedReceiver<GuardEvent>) -> GuardEvent {
    tokio::time::timeout(BOUND, events.recv()).await.expect("no event").expect("events ended")
}

/// The last event, with any others before it passed over.
async fn last(events: &mut UnboundedReceiver<GuardEvent>) -> GuardEvent {
    let mut last = None;
    while let Some(event) =
        tokio::time::timeout(BOUND, events.recv()).await.expect("the events do not end")
    {
        last = Some(event);
    }
    last.expect("no last event")
}

fn exited(status: NeardStatus, reason: ExitReason) -> GuardEvent {
    GuardEvent::Exited(Exit { status, reason })
}

fn guard_of(neard: ProcessIdentity) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{}/stat", neard.pid)).unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    Pid::from_raw(after_name.split(' ').nth(1).unwrap().parse().unwrap())
}

const SLEEP: &str = "exec sleep 600";

/// How long ago the deadline was.
fn since(deadline: u64) -> Duration {
    Duration::from_nanos(boot_clock::now().checked_sub(deadline).expect("too early"))
}

#[tokio::test]
async fn neard_dies_at_the_deadline_and_not_before() {
    let mut delays = Vec::new();
    for _ in 0..3 {
        let scene = Scene::new(SLEEP);
        let deadline = in_ms(1_000);
        let (_neard, mut events, identity) = scene.start(Some(deadline)).await;
        assert_eq!(next(&mut events).await, exited(SIGKILL, ExitReason::Deadline));
        delays.push(since(deadline));
        assert!(!identity.is_unreaped());
        assert!(scene.is_unlocked());
    }
    delays.sort();
    assert!(delays[2] < Duration::from_millis(500), "late by {delays:?}");
    // The shortest: what the guard takes, and not what it waits for a processor.
    assert!(delays[0] < Duration::from_millis(100), "late by {delays:?}");
}

#[tokio::test]
async fn arming_again_moves_the_deadline() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events, _) = scene.start(Some(in_ms(2_000))).await;
    let deadline = in_ms(3_000);
    let seq = neard.arm(deadline).unwrap();
    assert_eq!(next(&mut events).await, GuardEvent::Armed { seq });
    assert_eq!(next(&mut events).await, exited(SIGKILL, ExitReason::Deadline));
    assert!(boot_clock::now() >= deadline);
}

#[tokio::test]
async fn a_deadline_in_the_past_kills_at_once() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events, _) = scene.start(Some(in_ms(600_000))).await;
    let seq = neard.arm(1).unwrap();
    assert_eq!(next(&mut events).await, GuardEvent::Armed { seq });
    assert_eq!(next(&mut events).await, exited(SIGKILL, ExitReason::Deadline));
}

#[tokio::test]
async fn disarming_lets_neard_outlive_its_deadline() {
    let scene = Scene::new(SLEEP);
    let deadline = in_ms(1_500);
    let (neard, mut events, identity) = scene.start(Some(deadline)).await;
    let seq = neard.disarm().unwrap();
    assert_eq!(next(&mut events).await, GuardEvent::Armed { seq });
    wait_for("the deadline to pass", || (boot_clock::now() > deadline + 200_000_000).then_some(()));
    let seq = neard.ping().unwrap();
    assert_eq!(next(&mut events).await, GuardEvent::Pong { seq });
    assert!(identity.is_alive());
}

#[tokio::test]
async fn neard_is_not_started_after_its_deadline() {
    let scene = Scene::new(SLEEP);
    let (_neard, mut events) = scene.spawn(Some(boot_clock::now() - 1));
    let never = exited(NeardStatus::NeverStarted, ExitReason::Deadline);
    assert_eq!(next(&mut events).await, never);
    assert!(!scene.path("pid").exists());
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_named() {
    let scene = Scene::new(SLEEP);
    fs::remove_file(scene.path("neard")).unwrap();
    let (_neard, mut events) = scene.spawn(None);
    let GuardEvent::SpawnFailed { error } = last(&mut events).await else {
        panic!("not SpawnFailed");
    };
    let expected = format!("cannot run neard at {}: No such file", scene.path("neard").display());
    assert!(error.starts_with(&expected), "{error}");
    assert!(scene.is_unlocked());
}

#[tokio::test]
async fn a_guard_that_cannot_be_run_is_an_event_too() {
    let scene = Scene::new(SLEEP);
    let options = SpawnOptions { guard: "/nonexistent".into(), ..scene.options(None) };
    let (_neard, mut events) = Neard::spawn(options).unwrap();
    assert!(matches!(last(&mut events).await, GuardEvent::SpawnFailed { .. }));
}

#[tokio::test]
async fn a_guard_that_is_something_else_never_has_a_neard() {
    let scene = Scene::new(SLEEP);
    let options = SpawnOptions { guard: "/bin/true".into(), ..scene.options(None) };
    let (_neard, mut events) = Neard::spawn(options).unwrap();
    let never = exited(NeardStatus::NeverStarted, ExitReason::GuardLost);
    assert_eq!(last(&mut events).await, never);
}

#[tokio::test]
async fn neards_own_end_is_reported_with_its_code() {
    let scene = Scene::new("exit 7");
    let (_neard, mut events) = scene.spawn(None);
    assert_eq!(last(&mut events).await, exited(NeardStatus::Code(7), ExitReason::ByItself));
}

#[tokio::test]
async fn signals_reach_neard() {
    let scene = Scene::new(
        "trap 'echo hup > hup' HUP\ntrap 'exit 5' TERM\necho ready > ready\n\
         while :; do sleep 0.01; done",
    );
    let (neard, mut events, _) = scene.start(None).await;
    read_when_there(&scene.path("ready"));
    neard.signal(Signal::SIGHUP).unwrap();
    read_when_there(&scene.path("hup"));
    neard.signal(Signal::SIGTERM).unwrap();
    assert_eq!(last(&mut events).await, exited(NeardStatus::Code(5), ExitReason::ByItself));
}

#[tokio::test]
async fn a_neard_that_is_to_stop_before_its_start_is_never_started() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events) = scene.spawn(None);
    neard.signal(Signal::SIGTERM).unwrap();
    let never = exited(NeardStatus::NeverStarted, ExitReason::Asked);
    assert_eq!(next(&mut events).await, never);
    assert!(!scene.path("pid").exists());
}

#[tokio::test]
async fn killing_reports_when_neard_is_reaped() {
    let scene = Scene::new(&format!("trap '' TERM HUP INT\n{SLEEP}"));
    let (neard, mut events, identity) = scene.start(Some(in_ms(600_000))).await;
    neard.kill();
    neard.kill();
    assert_eq!(next(&mut events).await, exited(SIGKILL, ExitReason::Asked));
    assert!(!identity.is_unreaped());
    assert!(scene.is_unlocked());
}

#[tokio::test]
async fn killing_right_after_spawning_leaves_nothing_behind() {
    for _ in 0..20 {
        let scene = Scene::new(SLEEP);
        let (neard, mut events) = scene.spawn(Some(in_ms(600_000)));
        neard.kill();
        let last = last(&mut events).await;
        assert!(
            matches!(last, GuardEvent::Exited(Exit { reason: ExitReason::Asked, .. })),
            "{last:?}"
        );
        assert!(scene.is_unlocked());
    }
}

#[tokio::test]
async fn dropping_the_handle_kills_neard() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events, identity) = scene.start(None).await;
    drop(neard);
    assert_eq!(last(&mut events).await, exited(SIGKILL, ExitReason::Asked));
    assert!(!identity.is_unreaped());
}

#[tokio::test]
async fn killing_the_guard_kills_neard_and_is_reported_when_it_is_reaped() {
    let scene = Scene::new(SLEEP);
    let (_neard, mut events, identity) = scene.start(Some(in_ms(600_000))).await;
    kill(guard_of(identity), Signal::SIGKILL).unwrap();
    assert_eq!(last(&mut events).await, exited(SIGKILL, ExitReason::GuardLost));
    assert!(!identity.is_unreaped());
    assert!(scene.is_unlocked());
}

#[tokio::test]
async fn a_frozen_guard_does_not_keep_neard_alive() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events, identity) = scene.start(Some(in_ms(600_000))).await;
    kill(guard_of(identity), Signal::SIGSTOP).unwrap();
    neard.ping().unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(200), events.recv()).await;
    assert!(answer.is_err(), "a stopped guard answered: {answer:?}");
    neard.kill();
    assert_eq!(last(&mut events).await, exited(SIGKILL, ExitReason::Asked));
    assert!(!identity.is_unreaped());
    assert!(scene.is_unlocked());
}

#[tokio::test]
async fn a_guard_that_does_not_read_is_an_error_and_no_wait() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events, identity) = scene.start(None).await;
    let guard = guard_of(identity);
    kill(guard, Signal::SIGSTOP).unwrap();
    let error = (0..100_000).find_map(|_| neard.ping().err()).expect("sends without end");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    // Stopped it would outlive the test.
    kill(guard, Signal::SIGKILL).unwrap();
    last(&mut events).await;
}

#[tokio::test]
async fn the_guard_survives_what_a_terminal_or_systemd_sends_to_everybody() {
    let scene = Scene::new(SLEEP);
    let (neard, mut events, identity) = scene.start(Some(in_ms(600_000))).await;
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGUSR1,
    ] {
        kill(guard_of(identity), signal).unwrap();
        let seq = neard.ping().unwrap();
        assert_eq!(next(&mut events).await, GuardEvent::Pong { seq }, "after {signal}");
    }
    assert!(identity.is_alive());
}

#[tokio::test]
async fn neard_starts_as_if_started_by_hand() {
    let scene = Scene::new(
        "grep -E '^(SigBlk|SigIgn|NoNewPrivs):' /proc/self/status > status\n\
         cat /proc/self/oom_score_adj > oom\n\
         for fd in /proc/$$/fd/*; do readlink $fd; done > fds\n\
         echo done > done\nexec sleep 600",
    );
    let (_neard, _events, _) = scene.start(Some(in_ms(600_000))).await;
    read_when_there(&scene.path("done"));
    let status = fs::read_to_string(scene.path("status")).unwrap();
    let value = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap().to_owned()
    };
    // 32 and 33 belong to the C library, which lets nobody change them.
    let signals = |name: &str| u64::from_str_radix(&value(name), 16).unwrap() & !(0b11 << 31);
    assert_eq!(signals("SigBlk:"), 0);
    assert_eq!(signals("SigIgn:"), 0);
    assert_eq!(value("NoNewPrivs:"), "1");
    assert!(fs::read_to_string(scene.path("oom")).unwrap().trim().parse::<i32>().unwrap() >= 0);
    let open = fs::read_to_string(scene.path("fds")).unwrap();
    assert!(!open.contains("socket:"), "neard has the guard's socket: {open}");
    let home = fs::canonicalize(scene.path("home")).unwrap();
    assert!(open.lines().any(|target| Path::new(target) == home), "no lock in {open}");
}

#[tokio::test]
async fn the_home_stays_locked_while_neard_lives() {
    let scene = Scene::new(SLEEP);
    // `options` drops its copy of the lock once the guard runs: the guard and neard hold it now.
    let (neard, mut events, identity) = scene.start(None).await;
    assert!(!scene.is_unlocked());

    fs::write(scene.path("home/config.json"), r#"{"network":{}}"#).unwrap();
    let home = kneard::neard::home::Home::open(&scene.path("home")).unwrap();
    let error = home.lock(Duration::from_millis(100)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("sleep ({})", identity.pid)), "{error}");
    assert!(error.contains(&format!("kneard ({})", guard_of(identity))), "{error}");

    neard.kill();
    last(&mut events).await;
    home.lock(Duration::ZERO).await.unwrap();
}

/// Not a test but the other process of those below: started by them with `KNEARD_TEST_FOLDER`, it
/// is a kneard that starts neard and does nothing more but write down what it hears.
#[tokio::test]
async fn acts_as_kneard() {
    let Some(folder) = std::env::var_os("KNEARD_TEST_FOLDER").map(PathBuf::from) else { return };
    let deadline = std::env::var("KNEARD_TEST_DEADLINE").unwrap().parse().unwrap();
    let (_neard, mut events) = Neard::spawn(options(&folder, Some(deadline))).unwrap();
    while let Some(event) = events.recv().await {
        if let GuardEvent::Exited(exit) = event {
            fs::write(folder.join("heard"), format!("{exit}\n")).unwrap();
        }
    }
    std::future::pending().await
}

/// A kneard in a process of its own, with its neard. Killed when dropped.
struct Kneard {
    process: Child,
    neard: ProcessIdentity,
}

impl Kneard {
    fn start(scene: &Scene, deadline: u64) -> Self {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "acts_as_kneard", "--nocapture"])
            .env("KNEARD_TEST_FOLDER", scene.0.path())
            .env("KNEARD_TEST_DEADLINE", deadline.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = read_when_there(&scene.path("pid")).trim().parse().unwrap();
        Self { process, neard: ProcessIdentity::of(pid).unwrap() }
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Kneard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn killing_kneard_kills_neard_and_then_releases() {
    let mut times = Vec::new();
    for _ in 0..20 {
        let scene = Scene::new(SLEEP);
        let kneard = Kneard::start(&scene, in_ms(600_000));
        let killed = Instant::now();
        kneard.send(Signal::SIGKILL);
        wait_for("neard's death", || (!kneard.neard.is_alive()).then_some(()));
        times.push(killed.elapsed());
        assert_eq!(read_when_there(&scene.path("released")), "neard is dead\n");
        wait_for("the lock", || scene.is_unlocked().then_some(()));
    }
    times.sort();
    println!("from the death of kneard to that of neard: {times:?}");
    assert!(times[10] < Duration::from_millis(100), "median of 20 is {:?}", times[10]);
}

#[test]
fn killing_kneard_and_guard_at_once_kills_neard() {
    let scene = Scene::new(SLEEP);
    let kneard = Kneard::start(&scene, in_ms(600_000));
    let guard = guard_of(kneard.neard);
    kneard.send(Signal::SIGSTOP);
    kill(guard, Signal::SIGKILL).unwrap();
    kneard.send(Signal::SIGKILL);
    wait_for("neard's death", || (!kneard.neard.is_alive()).then_some(()));
    assert!(!scene.path("released").exists());
}

#[test]
fn a_stopped_kneard_loses_its_neard_at_the_deadline_and_learns_of_it() {
    let scene = Scene::new(SLEEP);
    let deadline = in_ms(3_000);
    let kneard = Kneard::start(&scene, deadline);
    kneard.send(Signal::SIGSTOP);
    wait_for("neard's death", || (!kneard.neard.is_alive()).then_some(()));
    let late = since(deadline);
    assert!(late < Duration::from_millis(500), "{late:?} late");
    assert!(!scene.path("heard").exists());
    kneard.send(Signal::SIGCONT);
    let heard = read_when_there(&scene.path("heard"));
    assert_eq!(heard, "neard killed by SIGKILL: its deadline passed\n");
}
