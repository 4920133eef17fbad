//! The protocol's specification, as tests: a state and an event, and the exact actions.

mod candidate;
mod doppelganger;
mod first_start;
mod harness;
mod holder;
mod neard;
mod operate;
mod promotion;
mod release;
mod session;
mod sights;
mod swap;
mod takeover;
mod units;
