//! TCP ports that nobody else uses.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    process,
    sync::{Mutex, PoisonError},
};

use nix::fcntl::Flock;

use super::lock::try_lock;

/// Below the kernel's ephemeral range, so that no outgoing connection takes a port between its
/// choice here and its use.
const FIRST: u16 = 12_000;
const BLOCK: u16 = 100;
const BLOCKS: u16 = 180;

/// What is left of this process's newest block, and the locks on all of its blocks: until it ends,
/// no other test takes a port that was chosen here and is not in use yet.
static OWN: Mutex<(Range<u16>, Vec<Flock<File>>)> = Mutex::new((0..0, Vec::new()));

/// A port that was free on all addresses a moment ago; never the same twice in one process.
pub fn free_port() -> u16 {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (ports, locks) = &mut *own;
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
        if let Some(port) = ports.find(free) {
            return port;
        }
        // Ports that were in use a moment ago come last.
        let start = (process::id() % u32::from(BLOCKS)) as u16;
        let mut blocks = (start..BLOCKS).chain(0..start);
        let (block, lock) = blocks
            .find_map(|block| Some((block, lock(block)?)))
            .unwrap_or_else(|| panic!("all ports from {FIRST} on are taken by tests that run"));
        locks.push(lock);
        let first = FIRST + block * BLOCK;
        *ports = first..first + BLOCK;
    }
}

fn lock(block: u16) -> Option<Flock<File>> {
    let directory = env::temp_dir().join("kneard-test-ports");
    fs::create_dir_all(&directory).unwrap();
    try_lock(&directory.join(block.to_string()))
}
