//! What the tests of `consul_conformance.rs` stand on.

pub mod gap;
pub mod raw;
pub mod rounds;
pub mod side;
pub mod steps;
pub mod timed;
pub mod wake;

use std::time::Duration;

use kneard::consul::stand_in::StandIn;

/// For one request. Long, because three servers may be electing a leader.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A stand-in of its own, on this very thread.
pub async fn stand_in() -> String {
    let stand_in = StandIn::bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
    let url = format!("http://{}", stand_in.local_addr());
    tokio::spawn(stand_in.serve());
    url
}
