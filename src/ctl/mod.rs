//! The commands of `kneard-ctl` that are more than one question to the control socket, one file
//! each.

use std::path::{Path, PathBuf};

mod answer;
pub mod check_rpc;
pub mod doctor;
pub mod generate;
pub mod history;
pub mod maintenance;
mod near_rpc;
pub mod pause;
pub mod status_view;
pub mod switchover;
pub mod system_info;

/// The socket of kneard: as given, else where a kneard with the same environment has it, else in
/// this directory.
pub fn socket(flag: Option<&Path>) -> PathBuf {
    const NAME: &str = "kuutamod.sock";
    match (flag, std::env::var_os("KUUTAMO_NEARD_HOME")) {
        (Some(path), _) => path.to_owned(),
        (None, Some(home)) if !home.is_empty() => PathBuf::from(home).join(NAME),
        (None, _) => NAME.into(),
    }
}
