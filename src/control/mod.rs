//! The control socket: what it says, who serves it and who asks.

mod client;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod server;
mod types;

pub use client::{Client, ClientError};
pub use server::{Api, bind, serve};
pub use types::{ActiveValidator, Failure, NeardReport, NodeReport, Status};
