//! A wall clock of its own for each host. The machine's clock is never touched: a small library,
//! compiled for the run and preloaded into kneard (and so into guard and neard), adds a shift.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::support::binaries;

pub struct WallClock {
    file: File,
    path: PathBuf,
    library: PathBuf,
    shift: i64,
}

/// The preloaded library, in `directory`.
pub fn library(directory: &Path) -> PathBuf {
    let library = directory.join("wall_clock.so");
    let source = directory.join("wall_clock.c");
    fs::write(&source, include_str!("wall_clock.c")).unwrap();
    let mut cc = binaries::clean("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
    let output = cc.output().unwrap_or_else(|e| panic!("cc: {e}; install a C compiler"));
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    library
}

impl WallClock {
    pub fn new(library: &Path, path: PathBuf) -> Self {
        fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        Self { file, path, library: library.to_owned(), shift: 0 }
    }

    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            ("KNEARD_CHAOS_CLOCK".into(), self.path.clone().into()),
        ]
    }

    pub fn step(&mut self, seconds: i64) {
        self.shift += seconds * 1_000_000_000;
        self.file.write_all_at(&self.shift.to_ne_bytes(), 0).unwrap();
    }
}
