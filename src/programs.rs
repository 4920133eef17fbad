//! Where programs are.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Whether a program that is named by a path, or by a name for the `PATH`, can be run.
pub fn is_found(program: &Path) -> bool {
    // As execvp(3): a name with a slash is a path.
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        is_program(program)
    } else {
        in_path(program).is_some()
    }
}

/// The program of this name that the `PATH` leads to first.
pub fn in_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| is_program(path))
}

pub fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
