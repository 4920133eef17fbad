//! What the fuzzer runs, and what every test run plays the corpus through: a target panics when
//! something that must hold for every input does not.

pub mod config;
pub mod consul_answer;
pub mod control_client;
pub mod control_server;
pub mod election;
pub mod guard;
pub mod key_file;
pub mod record;
pub mod status;

#[cfg(test)]
mod replay;

pub type Target = fn(&[u8]);

/// Every target and its corpus' name.
pub const TARGETS: [(&str, Target); 9] = [
    ("config", config::run),
    ("consul_answer", consul_answer::run),
    ("control_client", control_client::run),
    ("control_server", control_server::run),
    ("election", election::run),
    ("guard", guard::run),
    ("key_file", key_file::run),
    ("record", record::run),
    ("status", status::run),
];

/// What operators read is one line.
fn assert_one_line(text: &str) {
    assert!(!text.contains(['\n', '\r']), "more than a line: {text:?}");
}
