//! A TCP server that answers whatever a test wants it to.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

#[derive(Clone)]
pub enum Behaviour {
    /// These bytes to each request, and the end of the connection.
    Answers(String),
    /// Takes connections and reads, but never says a word.
    Silent,
}

pub struct FakeServer {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (requests.clone(), end.clone());
        let serve = move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                match &behaviour {
                    Behaviour::Answers(bytes) => answer(stream, bytes),
                    Behaviour::Silent => silent.push(stream),
                }
            }
        };
        Self { address, requests, end, thread: Some(thread::spawn(serve)) }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads what comes in one go (a small request), answers and closes.
fn answer(mut stream: TcpStream, bytes: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.read(&mut [0; 16 * 1024]);
    let _ = stream.write_all(bytes.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
