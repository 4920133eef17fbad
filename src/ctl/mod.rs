//! The commands of `kneard-ctl` that order something or tell of it, one file each.

mod answer;
pub mod history;
pub mod maintenance;
pub mod pause;
pub mod switchover;
