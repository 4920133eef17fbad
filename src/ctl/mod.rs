//! What kneard-ctl does beyond asking the control socket one question.

use std::path::{Path, PathBuf};

pub mod doctor;
pub mod status_view;

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
