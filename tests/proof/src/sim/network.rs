//! The way to Consul and back, as `kneard::consul::Client` goes it: several addresses, a time limit
//! for each request, doubtful outcomes; and what the network does to it.

use std::rc::Rc;

use kneard::consul::model::{Answer, Condition, Op};
use kneard::consul::{Error, Kind, TxnOp};
use kneard::election::{Event, Seen, SessionId};
use kneard::supervisor::election_key;

use super::setup::nanos;
use super::{Item, MS, SECOND, World};

/// Of requests on which no lease depends.
const SLOW_LIMIT: u64 = 3 * SECOND;
/// `kneard::consul::CONNECT_LIMIT`.
const CONNECT_LIMIT: u64 = 500 * MS;

pub enum Request {
    CreateSession,
    RenewSession(SessionId),
    DestroySession(SessionId),
    Commit(Vec<TxnOp>),
    Read,
    ReadLeases,
    /// A node's own entry.
    Publish {
        key: String,
        value: Vec<u8>,
        session: SessionId,
    },
}

impl Request {
    /// Sent again after a doubtful outcome.
    fn is_repeatable(&self) -> bool {
        match self {
            Request::RenewSession(_)
            | Request::DestroySession(_)
            | Request::Read
            | Request::ReadLeases => true,
            Request::CreateSession | Request::Commit(_) | Request::Publish { .. } => false,
        }
    }
}

/// What Consul said.
pub enum Reply {
    Answer(Answer),
    Seen(Rc<Seen>),
    Longest(Option<std::time::Duration>),
    /// Not the leader, no leader, leadership lost: HTTP 500.
    ServerError,
}

/// Who waits for the answer.
#[derive(Clone, Copy)]
pub enum Asker {
    /// kneard's `life`-th process; `id` is the machine's number of a request on the entry.
    Kneard { life: u64, id: u64 },
    /// `kneard release`.
    Release { number: u64 },
}

/// A request that waits for its answer.
pub struct Call {
    pub number: u64,
    pub host: usize,
    asker: Asker,
    request: Rc<Request>,
    deadline: u64,
    /// Position of the address that is being asked, and how many were before it.
    address: usize,
    tried: usize,
    /// When the present attempt is given up.
    give_up: u64,
    /// Certainly nothing was applied so far.
    sent: bool,
}

/// One direction of a host's way to Consul.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub there_cut_until: u64,
    pub back_cut_until: u64,
    pub slow_until: u64,
    /// Of so many messages one is lost.
    pub loss_until: u64,
    pub double_until: u64,
    /// The own agent refuses connections, or takes them and never answers.
    pub agent_refuses_until: u64,
    pub agent_hangs_until: u64,
}

impl World<'_> {
    pub(super) fn ask(&mut self, host: usize, asker: Asker, request: Request) {
        let limit = match (&request, asker) {
            (Request::Commit(_) | Request::Read, Asker::Kneard { .. }) => {
                nanos(self.setup.of(host).beat_interval())
            }
            (_, Asker::Release { .. }) => SECOND,
            _ => SLOW_LIMIT,
        };
        self.calls_made += 1;
        let call = Call {
            number: self.calls_made,
            host,
            asker,
            request: Rc::new(request),
            deadline: self.now + limit,
            address: self.hosts[host].preferred,
            tried: 0,
            give_up: 0,
            sent: false,
        };
        let slot = match self.calls.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.calls.push(None);
                self.calls.len() - 1
            }
        };
        self.attempt(slot, call);
    }

    /// Asks the next address.
    fn attempt(&mut self, slot: usize, mut call: Call) {
        let now = self.now;
        let left = call.deadline.saturating_sub(now);
        let addresses = self.setup.addresses;
        let share = if call.request.is_repeatable() {
            left / (addresses - call.tried) as u64
        } else {
            left
        };
        call.give_up = now + share;
        let (number, link) = (call.number, self.hosts[call.host].link);
        let own_agent = call.address == 0;
        if own_agent && now < link.agent_refuses_until {
            let at = now + MS / 5;
            self.calls[slot] = Some(call);
            self.queue.push(at, Item::NotSent { slot, number });
            return;
        }
        // A connection that was open before is found dead only by the silence on it.
        let cut = now < link.there_cut_until || now < link.back_cut_until;
        if !own_agent && cut && self.random.one_in(2) {
            let at = now + share.min(CONNECT_LIMIT);
            self.calls[slot] = Some(call);
            self.queue.push(at, Item::NotSent { slot, number });
            return;
        }
        call.sent = true;
        let delay = self.delay(call.host);
        let request = Rc::clone(&call.request);
        let host = call.host;
        if own_agent && now < link.agent_hangs_until {
            let give_up = call.give_up;
            self.calls[slot] = Some(call);
            self.queue.push(give_up, Item::GiveUp { slot, number });
            return;
        }
        self.calls[slot] = Some(call);
        if now < link.double_until && self.random.one_in(4) {
            // It is applied twice, and the second answer reaches nobody.
            let late = now + self.random.below(5 * SECOND);
            let request = Rc::clone(&request);
            self.queue.push(late, Item::Arrive { host, request, answer_to: None });
        }
        let answer_to = Some((slot, number));
        self.queue.push(now + delay, Item::Arrive { host, request, answer_to });
    }

    pub(super) fn delay(&mut self, host: usize) -> u64 {
        let longest = if self.now < self.hosts[host].link.slow_until {
            self.random.pick(&[self.setup.delay, 900 * MS, 3 * SECOND])
        } else {
            self.setup.delay
        };
        MS / 10 + self.random.below(longest)
    }

    fn is_lost(&mut self, host: usize, cut_until: u64) -> bool {
        self.now < cut_until
            || (self.now < self.hosts[host].link.loss_until && self.random.one_in(5))
    }

    /// A request reaches Consul's servers.
    pub(super) fn arrive(
        &mut self,
        host: usize,
        request: Rc<Request>,
        answer_to: Option<(usize, u64)>,
    ) {
        let cut_until = self.hosts[host].link.there_cut_until;
        if self.is_lost(host, cut_until) || self.now < self.cluster.down_until {
            return self.will_give_up(answer_to);
        }
        if self.now < self.cluster.leaderless_until {
            return self.without_leader(host, request, answer_to);
        }
        let reply = self.serve(host, &request);
        self.reply(host, answer_to, reply);
    }

    /// Servers hold a request back until there is a leader again, or say that there is none.
    fn without_leader(
        &mut self,
        host: usize,
        request: Rc<Request>,
        answer_to: Option<(usize, u64)>,
    ) {
        let until = self.cluster.leaderless_until;
        match self.random.below(if self.gentle { 8 } else { 10 }) {
            0..6 => {
                let at = until + self.random.below(300 * MS);
                // The client may have given up by then, and it is applied all the same.
                self.will_give_up_before(answer_to, at);
                self.queue.push(at, Item::Arrive { host, request, answer_to });
            }
            6..8 => self.reply(host, answer_to, Reply::ServerError),
            8 => self.will_give_up(answer_to),
            _ => {
                // Committed by the leader that is just being lost.
                self.serve(host, &request);
                self.reply(host, answer_to, Reply::ServerError);
            }
        }
    }

    fn reply(&mut self, host: usize, answer_to: Option<(usize, u64)>, reply: Reply) {
        let Some((slot, number)) = answer_to else { return };
        let at = self.now + self.delay(host);
        self.will_give_up_before(answer_to, at);
        self.queue.push(at, Item::Reply { slot, number, reply });
    }

    fn will_give_up(&mut self, answer_to: Option<(usize, u64)>) {
        self.will_give_up_before(answer_to, u64::MAX);
    }

    /// Plans the end of the client's patience, if an answer at `answer` would be too late.
    fn will_give_up_before(&mut self, answer_to: Option<(usize, u64)>, answer: u64) {
        let Some((slot, number)) = answer_to else { return };
        let Some(call) = self.calls[slot].as_ref().filter(|call| call.number == number) else {
            return;
        };
        if call.give_up <= answer {
            self.queue.push(call.give_up.max(self.now), Item::GiveUp { slot, number });
        }
    }

    fn serve(&mut self, host: usize, request: &Request) -> Reply {
        let op = match request {
            Request::CreateSession => {
                let account = self.cluster.keys.account();
                Op::CreateSession(election_key::session_request(account, self.setup.of(host)))
            }
            Request::RenewSession(id) => Op::RenewSession(id.clone()),
            Request::DestroySession(id) => Op::DestroySession(id.clone()),
            Request::Commit(operations) => Op::Txn(operations.clone()),
            Request::Read => return Reply::Seen(Rc::clone(&self.cluster.newest().seen)),
            Request::ReadLeases => {
                let (_, entries) = self.cluster.model.list(&self.cluster.keys.nodes());
                let entries: Vec<_> = entries.into_iter().cloned().collect();
                return Reply::Longest(election_key::longest_lease(&entries));
            }
            Request::Publish { key, value, session } => Op::Put {
                key: key.clone(),
                value: value.clone(),
                flags: 0,
                condition: Condition::Acquire(session.clone()),
            },
        };
        let answer = self.apply(op);
        if let Answer::Created(id) = &answer {
            self.start_session_timer(id.clone());
        }
        if let Request::Commit(_) = request {
            self.committed(host, &answer);
        }
        Reply::Answer(answer)
    }

    /// An answer reaches the host.
    pub(super) fn replied(&mut self, slot: usize, number: u64, reply: Reply) {
        let Some(call) = self.calls[slot].as_ref().filter(|call| call.number == number) else {
            return;
        };
        let (host, asker) = (call.host, call.asker);
        if let Some(thaw) = self.frozen(host, asker) {
            let at = thaw + self.random.below(2 * MS);
            self.queue.push(at, Item::Reply { slot, number, reply });
            return self.will_give_up_before(Some((slot, number)), at);
        }
        let cut_until = self.hosts[host].link.back_cut_until;
        if self.is_lost(host, cut_until) {
            return self.will_give_up(Some((slot, number)));
        }
        if let Reply::ServerError = reply {
            return self.failed(slot, number, Kind::Unknown, "no cluster leader");
        }
        if let Some(call) = self.calls[slot].take() {
            self.hosts[host].preferred = call.address;
            self.finish(&call, Ok(reply));
        }
    }

    pub(super) fn not_sent(&mut self, slot: usize, number: u64) {
        let Some(call) = self.calls[slot].as_ref().filter(|call| call.number == number) else {
            return;
        };
        if let Some(thaw) = self.frozen(call.host, call.asker) {
            let at = thaw + self.random.below(2 * MS);
            return self.queue.push(at, Item::NotSent { slot, number });
        }
        self.failed(slot, number, Kind::NotSent, "nobody takes the connection");
    }

    pub(super) fn given_up(&mut self, slot: usize, number: u64) {
        let Some(call) = self.calls[slot].as_ref().filter(|call| call.number == number) else {
            return;
        };
        if let Some(thaw) = self.frozen(call.host, call.asker) {
            let at = thaw + self.random.below(2 * MS);
            return self.queue.push(at, Item::GiveUp { slot, number });
        }
        if call.give_up <= self.now {
            self.failed(slot, number, Kind::Unknown, "no answer in time");
        }
    }

    /// An attempt failed: on to the next address, if that is allowed.
    fn failed(&mut self, slot: usize, number: u64, kind: Kind, why: &str) {
        if self.calls[slot].as_ref().is_none_or(|call| call.number != number) {
            return;
        }
        let Some(mut call) = self.calls[slot].take() else { return };
        call.address = (call.address + 1) % self.setup.addresses;
        call.tried += 1;
        self.hosts[call.host].preferred = call.address;
        let may = kind == Kind::NotSent || call.request.is_repeatable();
        if may && call.tried < self.setup.addresses && self.now < call.deadline {
            // A late answer to the attempt before is not one to this.
            self.calls_made += 1;
            call.number = self.calls_made;
            return self.attempt(slot, call);
        }
        let kind = if call.sent { Kind::Unknown } else { kind };
        let error = Error { address: "consul".to_owned(), what: why.to_owned(), kind };
        self.finish(&call, Err(error));
    }

    fn frozen(&self, host: usize, asker: Asker) -> Option<u64> {
        let until = self.hosts[host].frozen_until;
        (matches!(asker, Asker::Kneard { .. }) && until > self.now).then_some(until)
    }

    /// Brings what became of a request to whoever asked, as the shell does.
    fn finish(&mut self, call: &Call, result: Result<Reply, Error>) {
        let host = call.host;
        match call.asker {
            Asker::Kneard { life, id } => {
                if self.hosts[host].life != life {
                    return;
                }
                if let Request::Publish { .. } = &*call.request {
                    let done = matches!(result, Ok(Reply::Answer(Answer::Done(true))));
                    return self.published(host, done, result.is_ok());
                }
                if let Some(event) = self.event(&call.request, id, result) {
                    self.tell(host, life, event);
                }
            }
            Asker::Release { number } => self.release_heard(host, number, result),
        }
    }

    fn event(&self, request: &Request, id: u64, result: Result<Reply, Error>) -> Option<Event> {
        let text = |error: Error| error.to_string();
        Some(match request {
            Request::CreateSession => Event::SessionCreated(match result {
                Ok(Reply::Answer(Answer::Created(id))) => Ok(id),
                Ok(_) => Err("Consul makes no session".to_owned()),
                Err(error) => Err(text(error)),
            }),
            Request::RenewSession(_) => Event::SessionRenewed(match result {
                Ok(Reply::Answer(Answer::Session(session))) => Ok(session.is_some()),
                Ok(_) => Err("no answer to this question".to_owned()),
                Err(error) => Err(text(error)),
            }),
            Request::Commit(_) => {
                let result = match result {
                    Ok(Reply::Answer(answer)) => answer.into_txn_result(),
                    Ok(_) => return None,
                    Err(error) => Err(error),
                };
                Event::Written {
                    id,
                    outcome: election_key::outcome(&self.cluster.election, result),
                }
            }
            Request::Read => Event::Read {
                id,
                result: match result {
                    Ok(Reply::Seen(seen)) => Ok(Seen::clone(&seen)),
                    Ok(_) => return None,
                    Err(error) => Err(text(error)),
                },
            },
            Request::ReadLeases => Event::Leases(match result {
                Ok(Reply::Longest(longest)) => Ok(longest),
                Ok(_) => return None,
                Err(error) => Err(text(error)),
            }),
            Request::DestroySession(_) | Request::Publish { .. } => return None,
        })
    }
}
