//! The exhaustive model check.
mod config;
mod consul;
mod host;
mod make;
mod model;
mod moves;
mod mutants;
mod recovery;
mod report;
mod words;
mod world;

pub use config::{Config, Kind, Start};
pub use model::Election;
pub use mutants::{hunt, hunting_ground};
pub use report::{CI, Report, Search, check, named, narrate};
