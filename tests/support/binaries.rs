//! Where the programs under test are.

use std::{
    env,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use super::process::kill_group;

/// `KNEARD_BIN_DIR` when set (the test command sets it to release builds), else where cargo has
/// put `kneard` for this test; the stand-in is then built beside it, since cargo builds only the
/// binaries of a test's own package.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| match env::var_os("KNEARD_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let directory = Path::new(env!("CARGO_BIN_EXE_kneard")).parent().unwrap();
            build_stand_in(directory.ends_with("release"));
            directory.to_owned()
        }
    })
}

fn build_stand_in(release: bool) {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--package", "neard-sim", "--bins"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if release {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "cargo could not build the neard stand-in");
}

pub fn kneard() -> PathBuf {
    existing("kneard")
}

pub fn kneard_ctl() -> PathBuf {
    existing("kneard-ctl")
}

pub fn neard() -> PathBuf {
    existing("neard")
}

pub fn signature_check() -> PathBuf {
    existing("signature-check")
}

fn existing(name: &str) -> PathBuf {
    let path = directory().join(name);
    assert!(path.exists(), "{} is missing: run tests/run, or cargo build", path.display());
    path
}

/// A command that no setting of the caller's environment reaches.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["KUUTAMO_", "NEARD_SIM_", "CONSUL_", "NOTIFY_", "WATCHDOG_", "LISTEN_"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) || name == "CREDENTIALS_DIRECTORY" {
            command.env_remove(&*name);
        }
    }
    command
}

/// How a command ended that must end by itself, and what it said.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command that leads a process group of its own, and kills the group after `bound`.
pub fn run_to_end(mut command: Command, bound: Duration) -> Ended {
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    command.process_group(0).stdin(Stdio::null());
    command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let end = Instant::now() + bound;
    let mut status = None;
    while status.is_none() && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
        status = child.try_wait().unwrap();
    }
    kill_group(child.id() as i32);
    child.wait().unwrap();
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr) = (text(&mut stdout), text(&mut stderr));
    let status = status.unwrap_or_else(|| panic!("{command:?} goes on after {bound:?}:\n{stderr}"));
    Ended { code: status.code(), stdout, stderr }
}
