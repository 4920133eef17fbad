//! A small disk for each neard's home, which can be full or read-only.
//!
//! The mounts are in the run's own mount namespace: they go with its last process.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::support::binaries;

pub struct Disk {
    home: PathBuf,
    full: usize,
    read_only: usize,
}

impl Disk {
    /// Puts a file system of `mib` MiB in the place of `home`, with the files that are there. The
    /// signature log stays outside: the verdict must not depend on the disk that is broken. So do
    /// the orders to the stand-in.
    pub fn new(home: &Path, mib: usize) -> Self {
        let files: Vec<_> = fs::read_dir(home)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let path = entry.path();
                (entry.file_name(), fs::read(&path).unwrap(), fs::metadata(path).unwrap())
            })
            .collect();
        mount(&["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "kneard-chaos"], home);
        for (name, content, metadata) in files {
            fs::write(home.join(&name), content).unwrap();
            fs::set_permissions(home.join(&name), metadata.permissions()).unwrap();
        }
        for outside in ["signatures.log", "faults.json"] {
            symlink(home.with_extension(outside), home.join(outside)).unwrap();
        }
        Self { home: home.to_owned(), full: 0, read_only: 0 }
    }

    fn ballast(&self) -> PathBuf {
        self.home.join("ballast")
    }

    pub fn fill(&mut self) {
        self.full += 1;
        if let Ok(mut file) = File::create(self.ballast()) {
            // Smaller and smaller pieces, until not a byte fits.
            for size in [65_536, 4_096, 64, 1] {
                while file.write_all(&vec![0; size]).is_ok() {}
            }
        }
    }

    pub fn clear(&mut self) {
        self.full -= 1;
        if self.full == 0 {
            let _ = fs::remove_file(self.ballast());
        }
    }

    /// Lays a read-only view over the home: what is open stays as it is, and nothing else can be
    /// written.
    pub fn make_read_only(&mut self) {
        self.read_only += 1;
        if self.read_only == 1 {
            let home = self.home.to_string_lossy().into_owned();
            mount(&["--bind", &home], &self.home);
            mount(&["-o", "remount,bind,ro"], &self.home);
        }
    }

    pub fn make_writable(&mut self) {
        self.read_only -= 1;
        if self.read_only == 0 {
            unmount(&self.home);
        }
    }

    /// Copies what is small to a directory beside the home, for who looks for a cause.
    pub fn save(&self) {
        const SMALL: u64 = 32 << 20;
        let to = self.home.with_extension("saved");
        let _ = fs::create_dir(&to);
        for entry in fs::read_dir(&self.home).into_iter().flatten().flatten() {
            let is_small =
                fs::metadata(entry.path()).is_ok_and(|m| m.is_file() && m.len() <= SMALL);
            if is_small && entry.file_name() != "ballast" {
                let _ = fs::copy(entry.path(), to.join(entry.file_name()));
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.read_only > 0 {
            unmount(&self.home);
        }
        unmount(&self.home);
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let output = binaries::clean("mount").args(arguments).arg(at).output().expect("mount runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mount {arguments:?} {}: {}", at.display(), error.trim());
}

/// Lazily: a process may have its files there open still.
fn unmount(at: &Path) {
    let _ = binaries::clean("umount").arg("--lazy").arg(at).output();
}
