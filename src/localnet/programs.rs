//! Finds the programs that a localnet is made of.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::programs::{in_path, is_program};

/// neard: the one in the PATH, else the stand-in that was built beside this program.
pub fn neard() -> Result<Program> {
    find("neard").context("install neard, or build the stand-in with: cargo build --workspace")
}

/// consul in the PATH, if there is one.
pub fn consul() -> Option<Program> {
    in_path("consul".as_ref()).map(Program::of)
}

/// The daemon that belongs to this kneard-ctl.
pub fn kneard() -> Result<PathBuf> {
    beside("kneard").context("there is no kneard beside kneard-ctl: build it with: cargo build")
}

/// The judge of the stand-in's signature logs.
pub fn signature_check() -> Result<PathBuf> {
    Ok(find("signature-check").context("build it with: cargo build --workspace")?.path)
}

#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    /// The first line of `--version`.
    pub version: String,
}

impl Program {
    fn of(path: PathBuf) -> Self {
        let output = Command::new(&path).arg("--version").output().ok();
        let version = output
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .and_then(|text| text.lines().next().map(str::to_owned))
            .unwrap_or_else(|| "unknown version".to_owned());
        Program { path, version }
    }

    pub fn is_stand_in(&self) -> bool {
        self.version.contains("stand-in") || self.version.contains("standin")
    }
}

fn find(name: &str) -> Result<Program> {
    match in_path(name.as_ref()).or_else(|| beside(name)) {
        Some(path) => Ok(Program::of(path)),
        None => bail!("there is no {name} in the PATH nor beside kneard-ctl"),
    }
}

fn beside(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    Some(own.parent()?.join(name)).filter(|path| is_program(path))
}
