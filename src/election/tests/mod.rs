//! The protocol's specification, as tests: a state and an event, and the exact actions.

mod first_start;
mod harness;
mod holder;
