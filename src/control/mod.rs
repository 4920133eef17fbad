//! The control socket: what it says, who serves it and who asks.

mod client;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod history;
mod maintenance;
mod operate;
mod orders;
mod server;
mod standbys;
mod steer;
mod types;

pub use client::{Client, ClientError};
pub use history::{History, HistoryEntry};
pub use orders::{
    FollowOrder, Followed, Maintenance, Pause, PauseOrder, Paused, RestartBegun, RestartCancelled,
    RestartOrder, Resumed, SwitchoverBegun, SwitchoverOrder,
};
pub use server::{Api, bind, serve};
pub use types::{ActiveValidator, Failure, NeardReport, NodeReport, Status};
