//! The index of a blocking query.

/// The `index` to send with the next blocking query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockingIndex(u64);
