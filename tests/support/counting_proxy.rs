//! A TCP proxy that counts the HTTP/1.1 requests which pass through it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

pub struct CountingProxy {
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

/// Ends each request line.
const MARK: &[u8] = b" HTTP/1.1\r\n";

impl CountingProxy {
    /// Listens on `address` (port 0: any) until the process ends, and passes on to `target`.
    pub fn start(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let count = requests.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A refused connection is passed on as an end of this one.
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let count = count.clone();
                thread::spawn(move || pass(client, server, Some(&count)));
                thread::spawn(move || pass(server2, client2, None));
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut buffer = [0; 16 * 1024];
    let mut matched = 0;
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if let Some(count) = count {
            count.fetch_add(marks(&buffer[..n], &mut matched), Ordering::Relaxed);
        }
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// How often the mark ends in these bytes; `matched` carries a mark cut in two by the reads.
fn marks(bytes: &[u8], matched: &mut usize) -> u64 {
    let mut found = 0;
    for byte in bytes {
        if *byte != MARK[*matched] {
            *matched = 0;
        }
        // The mark's first byte occurs in it only there, so this needs no further bookkeeping.
        if *byte == MARK[*matched] {
            *matched += 1;
        }
        if *matched == MARK.len() {
            *matched = 0;
            found += 1;
        }
    }
    found
}
