//! The signature log: `<home>/signatures.log`, one JSON line per event, never rewritten.
//!
//! A signature is written here before the process can send it. The times are boot times, which
//! are comparable between all processes of one machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::alive::{Alive, Stamp};
use crate::clock;
use crate::hash::Hash;
use crate::keys::PublicKey;

/// The file's name in the home.
pub const FILE: &str = "signatures.log";

/// What a line of the journal reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The process began; it holds no key yet.
    Start,
    /// From here on the process could sign.
    KeyLoaded,
    /// Before this the process gave up the key.
    KeyUnloaded,
    /// The last line of a process that ended in good order.
    Exit,
    /// Written by the next process of the home: when an earlier one was last seen running
    /// with a key.
    LastAlive,
    Block,
    Chunk,
    /// That a chunk is valid.
    Endorsement,
    /// That the block at a height shall extend a certain block (Doomslug).
    Approval,
}

impl Event {
    /// Whether the line stands for a signature.
    pub fn is_signature(self) -> bool {
        matches!(self, Self::Block | Self::Chunk | Self::Endorsement | Self::Approval)
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub t: u64,
    /// Names the process for good: pid and boot time of its start.
    pub run: String,
    pub pid: u32,
    pub event: Event,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The height for which was signed; for an approval, the height that it approves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// The hash of what was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// The name of a run in [`Entry::run`].
pub fn run_name(pid: u32, started: u64) -> String {
    format!("{pid}-{started}")
}

/// The open journal of this process.
#[derive(Debug)]
pub struct Journal {
    file: File,
    run: String,
    pid: u32,
    alive: Alive,
}

impl Journal {
    /// Opens the journal of `home`, notes when the last process was last seen alive if it
    /// could not say so itself, and begins this process's own part.
    pub fn open(home: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(home.join(FILE))?;
        end_last_line(&mut file)?;
        if let Some(stamp) = Stamp::read(home)?.filter(|stamp| stamp.last != 0) {
            let entry = Entry {
                t: stamp.last,
                run: run_name(stamp.pid, stamp.started),
                pid: stamp.pid,
                event: Event::LastAlive,
                account: None,
                key: None,
                height: None,
                hash: None,
            };
            append(&mut file, &entry)?;
        }
        let (pid, started) = (std::process::id(), clock::boot_ns());
        let alive = Alive::start(home, pid, started)?;
        let mut journal = Self { file, run: run_name(pid, started), pid, alive };
        journal.write(Event::Start, None, None)?;
        Ok(journal)
    }

    /// Call it before the key can sign.
    pub fn key_loaded(&mut self, account: &str, key: &PublicKey) -> io::Result<()> {
        self.alive.hold();
        self.write(Event::KeyLoaded, Some((account, key)), None)
    }

    /// Call it when the key can sign no more.
    pub fn key_unloaded(&mut self, account: &str, key: &PublicKey) -> io::Result<()> {
        self.write(Event::KeyUnloaded, Some((account, key)), None)?;
        self.alive.let_go();
        Ok(())
    }

    /// Call it before the signature is sent.
    pub fn signed(
        &mut self,
        event: Event,
        account: &str,
        key: &PublicKey,
        height: u64,
        hash: &Hash,
    ) -> io::Result<()> {
        self.write(event, Some((account, key)), Some((height, hash)))
    }

    /// The last line; nothing may be signed after it.
    pub fn exit(&mut self) -> io::Result<()> {
        self.write(Event::Exit, None, None)?;
        self.alive.let_go();
        Ok(())
    }

    fn write(
        &mut self,
        event: Event,
        who: Option<(&str, &PublicKey)>,
        what: Option<(u64, &Hash)>,
    ) -> io::Result<()> {
        let entry = Entry {
            t: clock::boot_ns(),
            run: self.run.clone(),
            pid: self.pid,
            event,
            account: who.map(|(account, _)| account.to_owned()),
            key: who.map(|(_, key)| key.to_string()),
            height: what.map(|(height, _)| height),
            hash: what.map(|(_, hash)| hash.to_string()),
        };
        append(&mut self.file, &entry)
    }
}

/// One `write(2)` per line: with O_APPEND, lines of two processes never mix.
fn append(file: &mut File, entry: &Entry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    let written = file.write(&line)?;
    if written != line.len() {
        return Err(io::Error::other("the line was written in part"));
    }
    Ok(())
}

/// Ends a line that a crash of the machine left open, so that the next one stands alone.
fn end_last_line(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use std::fs;

    fn entries(home: &Path) -> Vec<Entry> {
        let text = fs::read_to_string(home.join(FILE)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_process_that_died_gets_its_last_sign_of_life_from_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::from_test_seed("node3").unwrap().public();
        let mut first = Journal::open(dir.path()).unwrap();
        first.key_loaded("node3", &key).unwrap();
        first.signed(Event::Block, "node3", &key, 7, &Hash::of(&[b"x"])).unwrap();
        let run = first.run.clone();
        // The first one says nothing more: as if it had been killed.
        let _second = Journal::open(dir.path()).unwrap();
        let entries = entries(dir.path());
        let events: Vec<Event> = entries.iter().map(|e| e.event).collect();
        use Event::*;
        assert_eq!(events, [Start, KeyLoaded, Block, LastAlive, Start]);
        assert_eq!(entries[3].run, run);
        assert!(entries[3].t >= entries[1].t - 5_000_000);
        assert_eq!((entries[2].height, entries[2].account.as_deref()), (Some(7), Some("node3")));
    }

    #[test]
    fn a_process_that_let_go_leaves_no_sign_of_life_behind() {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretKey::from_test_seed("node3").unwrap().public();
        let mut first = Journal::open(dir.path()).unwrap();
        first.key_loaded("node3", &key).unwrap();
        first.key_unloaded("node3", &key).unwrap();
        let _second = Journal::open(dir.path()).unwrap();
        let events: Vec<Event> = entries(dir.path()).iter().map(|e| e.event).collect();
        use Event::*;
        assert_eq!(events, [Start, KeyLoaded, KeyUnloaded, Start]);
    }

    #[test]
    fn an_open_last_line_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"t\":1,\"ru").unwrap();
        let _journal = Journal::open(dir.path()).unwrap();
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("{\"t\":1,\"ru\n{"));
    }
}
