//! The chain: blocks in turn by the genesis validators, each approved by two thirds of them.
//!
//! [`consensus`] is pure (messages and instants in, messages out), so that its tests need
//! neither sockets nor time. It follows Doomslug in outline: a validator approves, for each
//! height at most once, that the block there extends its head; the producer of a height may
//! make its block once more than two thirds approved. A silent producer's height is skipped
//! after a time-out. No finality gadget, no state, no transactions: one empty chunk per block.

pub mod block;
pub mod consensus;
pub mod duties;
pub mod signer;
pub mod store;
