//! What the stand-in calls itself.

/// nearcore's version with a suffix that no release of nearcore carries.
pub const VERSION: &str = "2.13.1-standin";
/// The version that it claims when it plays a neard without support for SIGHUP.
pub const OLD_VERSION: &str = "1.27.0-standin";
/// Where nearcore names its commit.
pub const BUILD: &str = "stand-in";
/// The protocol version that goes with `VERSION`; kneard reads it only to show it.
pub const PROTOCOL: u32 = 85;
/// The compiler that this version of nearcore is built with.
pub const RUSTC: &str = "1.93.0";

/// What `neard --version` prints after the program's name.
pub const LONG: &str = "(release 2.13.1-standin) (build stand-in) (commit none) \
(rustc 1.93.0) (min_protocol 83) (protocol 85) (db 49)\nfeatures: [default, json_rpc]\n\
This is the stand-in that ships with kneard for tests and demos; it is not a NEAR node.";
