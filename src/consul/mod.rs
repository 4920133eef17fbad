//! Consul as kneard uses it: sessions, the KV store, transactions and blocking queries.
//!
//! [`client`] talks HTTP to one of several addresses, [`types`] are the values that go over the
//! wire, [`error`] says what the caller has to do about a failure, [`watch`] keeps the index of a
//! blocking query. [`model`] is Consul as a plain state machine for the model checker and the
//! simulation, and [`stand_in`] its HTTP face for a localnet without a real Consul.

mod answer;
mod autopilot;
pub mod client;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod model;
mod right;
pub mod stand_in;
mod tls;
mod token;
mod transport;
pub mod types;
pub mod watch;

pub use autopilot::{Health, ServerHealth};
pub use client::{AgentSelf, Client, ClientConfig, Consistency, Read, Tls};
pub use error::{Error, Kind, Refusal, TxnError};
pub use right::Right;
pub use transport::CONNECT_LIMIT;
pub use types::{Behavior, KvEntry, SessionId, SessionInfo, SessionRequest, TxnOp};
pub use watch::{BlockingIndex, Progress};
