//! The way to Consul and back: delays, losses, doubles, partitions, and the client's time limit.

use super::{Item, MS, SECOND, World};
use crate::election::{Event, Outcome, SessionId, Write};

/// After so long the client gives a request up, which may still arrive.
const LIMIT: u64 = 1_500 * MS;
/// Consul ends a session between once and twice its TTL after the last renewal.
const TTL: u64 = 10 * SECOND;

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "as the actions that it comes from")]
pub enum Request {
    CreateSession,
    RenewSession(SessionId),
    DestroySession(SessionId),
    Commit { id: u64, write: Write },
    Read { id: u64 },
    ReadLeases,
}

/// The way back of one answer.
pub struct Answer {
    number: u64,
    delay: u64,
}

impl Request {
    /// What the machine is told when no answer comes in time.
    fn given_up(&self) -> Option<Event> {
        let why = || "no answer in time".to_owned();
        match self {
            Request::CreateSession => Some(Event::SessionCreated(Err(why()))),
            Request::RenewSession(_) => Some(Event::SessionRenewed(Err(why()))),
            Request::DestroySession(_) => None,
            Request::Commit { id, .. } => {
                Some(Event::Written { id: *id, outcome: Outcome::Unknown(why()) })
            }
            Request::Read { id } => Some(Event::Read { id: *id, result: Err(why()) }),
            Request::ReadLeases => Some(Event::Leases(Err(why()))),
        }
    }
}

impl World {
    pub(super) fn send(&mut self, host: usize, request: Request) {
        let life = self.hosts[host].life;
        self.requests += 1;
        let number = self.requests;
        self.hosts[host].awaited.insert(number);
        if let Some(event) = request.given_up() {
            self.after(LIMIT, Item::Answer { host, life, number, event });
        }
        let storm = self.now < self.storm_until;
        let delay = self.delay();
        if storm && self.random.one_in(6) {
            let delay = self.random.below(5 * SECOND);
            let (request, answer) = (request.clone(), None);
            self.after(delay, Item::Arrive { host, life, request, answer });
        }
        if !(storm && self.random.one_in(6)) {
            let answer = Some(Answer { number, delay: self.delay() });
            self.after(delay, Item::Arrive { host, life, request, answer });
        }
    }

    fn delay(&mut self) -> u64 {
        let storm = self.now < self.storm_until && self.random.one_in(3);
        let longest = if storm { 2 * SECOND } else { 30 * MS };
        self.random.below(longest)
    }

    fn is_cut(&self, host: usize) -> bool {
        self.now < self.hosts[host].cut_until || self.now < self.consul_down_until
    }

    pub(super) fn arrive(
        &mut self,
        host: usize,
        life: u64,
        request: Request,
        answer: Option<Answer>,
    ) {
        if self.is_cut(host) {
            return;
        }
        let until = self.now + TTL + self.random.below(TTL);
        let event = match request {
            Request::CreateSession => Event::SessionCreated(Ok(self.store.create_session(until))),
            Request::RenewSession(id) => Event::SessionRenewed(Ok(self.store.renew(&id, until))),
            Request::DestroySession(id) => {
                self.end_session(&id);
                return;
            }
            Request::Commit { id, write } => Event::Written { id, outcome: self.commit(&write) },
            Request::Read { id } => Event::Read { id, result: Ok(self.store.read()) },
            Request::ReadLeases => Event::Leases(Ok(None)),
        };
        let Some(Answer { number, delay }) = answer else { return };
        let storm = self.now < self.storm_until;
        if !(storm && self.random.one_in(6)) {
            self.after(delay, Item::Answer { host, life, number, event });
        }
    }

    /// A watch tells of the key again and again, sometimes late and out of order.
    pub(super) fn poll(&mut self, host: usize, life: u64, watch: u64) {
        if self.hosts[host].life != life || self.hosts[host].watch != Some(watch) {
            return;
        }
        if !self.is_cut(host) {
            let event = Event::Watched(self.store.read());
            let delay = self.delay();
            self.after(delay, Item::Tell { host, life, event });
        }
        let pause = 20 * MS + self.random.below(300 * MS);
        self.after(pause, Item::Poll { host, life, watch });
    }
}
