//! The protocol's specification, as tests: a state and an event, and the exact actions.
