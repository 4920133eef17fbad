//! A world of a few machines over one linearizable store, with virtual time, drifting clocks, a bad
//! network, guards that kill on their own, and faults. Everything follows from a seed.

mod host;
mod network;
mod random;
mod store;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use host::Host;
use random::Random;
use store::Store;

use crate::election::{Event, Step, Write};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// What befalls the world. Hosts are counted modulo their number; lengths are milliseconds.
#[derive(Debug, Clone)]
pub enum Fault {
    /// kneard dies, its guard kills neard and perhaps releases the lock; it comes back later.
    Crash {
        host: usize,
        down: u64,
        releases: bool,
    },
    /// kneard is stopped and continued; its guard is not.
    Freeze {
        host: usize,
        length: u64,
    },
    /// Requests to Consul and answers from it are lost.
    Cut {
        host: usize,
        length: u64,
    },
    ConsulDown {
        length: u64,
    },
    /// Requests and answers take long, get lost or arrive twice.
    Storm {
        length: u64,
    },
    NeardCrash {
        host: usize,
    },
    StatusFails {
        host: usize,
        length: u64,
    },
    OutOfSync {
        host: usize,
        length: u64,
    },
    /// SIGTERM; it is started anew later.
    Stop {
        host: usize,
        down: u64,
    },
    EndLockHoldersSession,
    DeleteKey,
    Garbage,
    Snapshot,
    Restore,
}

pub enum Item {
    /// For the kneard process of this number.
    Tell {
        host: usize,
        life: u64,
        event: Event,
    },
    Tick {
        host: usize,
        life: u64,
        number: u64,
    },
    /// A request reaches Consul; `answer` is where its answer goes, `None` for a doubled one.
    Arrive {
        host: usize,
        life: u64,
        request: network::Request,
        answer: Option<network::Answer>,
    },
    Answer {
        host: usize,
        life: u64,
        number: u64,
        event: Event,
    },
    Poll {
        host: usize,
        life: u64,
        watch: u64,
    },
    AnswerStatus {
        host: usize,
        life: u64,
        neard: u64,
        id: u64,
    },
    Guard {
        host: usize,
        neard: u64,
    },
    /// neard is dead and reaped.
    Exit {
        host: usize,
        neard: u64,
    },
    Boot {
        host: usize,
    },
    Expire,
    Fault(Fault),
}

pub struct World {
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    items: std::collections::HashMap<u64, Item>,
    queued: u64,
    random: Random,
    store: Store,
    snapshot: Option<Store>,
    hosts: Vec<Host>,
    consul_down_until: u64,
    storm_until: u64,
    /// Filled only when asked for: a second run of the same seed tells what happened.
    trace: Option<Vec<String>>,
    neards: u64,
    requests: u64,
}

impl World {
    pub fn new(seed: u64, hosts: usize, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let hosts = (0..hosts).map(|number| Host::new(number, &mut random)).collect::<Vec<_>>();
        let mut world = World {
            now: 0,
            queue: BinaryHeap::new(),
            items: std::collections::HashMap::new(),
            queued: 0,
            random,
            store: Store::default(),
            snapshot: None,
            hosts,
            consul_down_until: 0,
            storm_until: 0,
            trace: traced.then(Vec::new),
            neards: 0,
            requests: 0,
        };
        for host in 0..world.hosts.len() {
            let at = world.random.below(2_000 * MS);
            world.at(at, Item::Boot { host });
        }
        world.at(100 * MS, Item::Expire);
        world
    }

    pub fn plan(&mut self, at: u64, fault: Fault) {
        self.at(at, Item::Fault(fault));
    }

    /// Runs until `end`, or until `done` says so; fails when two neards hold the key at once.
    pub fn run(&mut self, end: u64, done: impl Fn(&World) -> bool) -> Result<(), String> {
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > end || done(self) {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(at);
            if let Some(item) = self.items.remove(&number) {
                self.handle(item);
            }
            let keyed: Vec<usize> =
                (0..self.hosts.len()).filter(|host| self.hosts[*host].has_key()).collect();
            if keyed.len() > 1 {
                return Err(format!("hosts {keyed:?} hold the key at {} ms", self.now / MS));
            }
        }
        Ok(())
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// The host whose machine is active, with its term, if neard has the key.
    pub fn active(&self) -> Option<(usize, u64)> {
        self.hosts.iter().enumerate().find_map(|(number, host)| {
            let machine = host.machine.as_ref()?;
            let active = machine.step() == Some(&Step::Active) && host.has_key();
            active.then(|| (number, machine.record().map_or(0, |record| record.term)))
        })
    }

    pub fn describe(&self) -> String {
        let states = self.hosts.iter().map(|host| {
            host.machine.as_ref().map_or("down".to_owned(), |machine| {
                format!("{} {:?}", machine.state(), machine.step())
            })
        });
        states.collect::<Vec<_>>().join(", ")
    }

    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", self.now as f64 / SECOND as f64, text()));
        }
    }

    fn at(&mut self, at: u64, item: Item) {
        self.queued += 1;
        self.queue.push(Reverse((at.max(self.now), self.queued)));
        self.items.insert(self.queued, item);
    }

    fn after(&mut self, length: u64, item: Item) {
        self.at(self.now + length, item);
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Tell { host, life, event } => self.tell(host, life, event),
            Item::Tick { host, life, number } => {
                if self.hosts[host].tick == number {
                    self.tell(host, life, Event::Tick);
                }
            }
            Item::Arrive { host, life, request, answer } => {
                self.arrive(host, life, request, answer);
            }
            Item::Answer { host, life, number, event } => {
                if self.hosts[host].awaited.contains(&number) {
                    // Queued behind a frozen process's earlier events, it is still the one answer.
                    self.hosts[host].awaited.remove(&number);
                    self.tell(host, life, event);
                }
            }
            Item::Poll { host, life, watch } => self.poll(host, life, watch),
            Item::AnswerStatus { host, life, neard, id } => {
                let result = self.hosts[host].status(neard, self.now);
                self.tell(host, life, Event::Status { id, result });
            }
            Item::Guard { host, neard } => self.guard(host, neard),
            Item::Exit { host, neard } => self.exit(host, neard),
            Item::Boot { host } => self.boot(host),
            Item::Expire => {
                for id in self.store.expired(self.now) {
                    self.note(|| format!("session {} expires", id.0));
                    self.end_session(&id);
                }
                self.after(100 * MS, Item::Expire);
            }
            Item::Fault(fault) => self.befall(&fault),
        }
    }

    fn befall(&mut self, fault: &Fault) {
        self.note(|| format!("fault: {fault:?}"));
        let now = self.now;
        let number = |host: &usize| host % self.hosts.len();
        match fault {
            Fault::Crash { host, down, releases } => self.crash(number(host), *down, *releases),
            Fault::Freeze { host, length } => {
                let host = number(host);
                self.hosts[host].frozen_until = now + length * MS;
            }
            Fault::Cut { host, length } => {
                let host = number(host);
                self.hosts[host].cut_until = now + length * MS;
            }
            Fault::ConsulDown { length } => self.consul_down_until = now + length * MS,
            Fault::Storm { length } => self.storm_until = now + length * MS,
            Fault::NeardCrash { host } => {
                let host = number(host);
                self.kill(host, 0);
            }
            Fault::StatusFails { host, length } => {
                let host = number(host);
                self.hosts[host].status_fails_until = now + length * MS;
            }
            Fault::OutOfSync { host, length } => {
                let host = number(host);
                self.hosts[host].out_of_sync_until = now + length * MS;
            }
            Fault::Stop { host, down } => {
                let host = number(host);
                self.hosts[host].down_after_stop = down * MS;
                let life = self.hosts[host].life;
                self.tell(host, life, Event::Stop);
            }
            Fault::EndLockHoldersSession => {
                if let Some(id) = self.store.lock_holder().cloned() {
                    self.end_session(&id);
                }
            }
            Fault::DeleteKey => self.store.delete(),
            Fault::Garbage => self.store.overwrite_with_garbage(),
            Fault::Snapshot => self.snapshot = Some(self.store.clone()),
            Fault::Restore => {
                // Not in the very moment of a takeover: a second candidate that has not seen the
                // first one's claim could repeat it on the entry that came back, index and all.
                let settled = self.active().is_some() && now > self.store.taken_at() + SECOND;
                if let Some(snapshot) = self.snapshot.clone().filter(|_| settled) {
                    self.store.restore(&snapshot, now + 12 * SECOND);
                }
            }
        }
    }

    fn end_session(&mut self, id: &crate::election::SessionId) {
        let locked_out_until = self.now + host::LOCK_DELAY;
        self.store.end_session(id, locked_out_until);
    }

    fn commit(&mut self, write: &Write) -> crate::election::Outcome {
        let outcome = self.store.write(self.now, write);
        self.note(|| format!("consul: {write:?} -> {outcome:?}"));
        outcome
    }
}
