//! A standby's blocking query on the election's entry, as the shell keeps it up.

use std::rc::Rc;
use std::time::Duration;

use kneard::consul::BlockingIndex;
use kneard::election::{Event, Seen};

use super::cluster::{Sight, Waiter};
use super::{Item, MS, SECOND, World};

/// For how long Consul holds a query, and how much it adds of its own accord.
const WAIT: u64 = 60 * SECOND;
const WAIT_SPREAD: u64 = WAIT / 16;
/// How long a failed query waits before its next try.
const RETRY: u64 = 500 * MS;
/// Until TCP's keepalive finds a connection dead.
const FOUND_DEAD: u64 = 8 * SECOND;

/// One kneard's watch.
#[derive(Default)]
pub struct Watch {
    /// Counts queries; an answer to another one than the last reaches nobody.
    query: u64,
    wanted: bool,
    index: BlockingIndex,
    asked_at: u64,
    /// Whether the end of the present query's wait is planned, perhaps for an earlier query.
    ends: bool,
    /// The follower that answers is behind by `lag`.
    pub stale_until: u64,
    pub lag: u64,
}

impl World<'_> {
    pub(super) fn watch(&mut self, host: usize, wanted: bool) {
        let watch = &mut self.hosts[host].watch;
        watch.wanted = wanted;
        watch.index = BlockingIndex::new();
        if wanted {
            self.send_query(host, 0);
        } else {
            self.forget_query(host);
        }
    }

    /// The process is gone, or does not care any more.
    pub(super) fn forget_query(&mut self, host: usize) {
        let watch = &mut self.hosts[host].watch;
        watch.wanted = false;
        watch.query += 1;
        self.cluster.waiters.retain(|waiter| waiter.host != host);
    }

    fn send_query(&mut self, host: usize, pause: u64) {
        let at = self.now + pause + self.delay(host);
        let watch = &mut self.hosts[host].watch;
        watch.query += 1;
        watch.asked_at = self.now + pause;
        let query = watch.query;
        self.queue.push(at, Item::QueryArrives { host, query });
    }

    fn follower_lag(&mut self, host: usize) -> u64 {
        let watch = &self.hosts[host].watch;
        if self.now < watch.stale_until {
            watch.lag
        } else {
            self.random.below(self.setup.follower_lag + 1)
        }
    }

    pub(super) fn query_arrives(&mut self, host: usize, query: u64) {
        if self.hosts[host].watch.query != query {
            return;
        }
        let link = self.hosts[host].link;
        let agent = link.agent_refuses_until.max(link.agent_hangs_until);
        let no_agent = self.setup.addresses == 1 && self.now < agent;
        if self.now < link.there_cut_until || self.now < self.cluster.down_until || no_agent {
            let at = self.now + self.random.below(FOUND_DEAD);
            return self.queue.push(at, Item::QueryFails { host, query });
        }
        let index = self.hosts[host].watch.index.next();
        let lag = self.follower_lag(host);
        let now_there = self.cluster.behind(self.now, lag);
        if now_there.index > index {
            let sight = now_there.clone();
            return self.answer_query(host, query, 0, &sight);
        }
        // On its way to this follower.
        if let Some(sight) = self.cluster.first_above(index).cloned() {
            let wait = (sight.at + lag).saturating_sub(self.now);
            return self.answer_query(host, query, wait, &sight);
        }
        self.cluster.waiters.push(Waiter { host, query, index });
        if !std::mem::replace(&mut self.hosts[host].watch.ends, true) {
            self.queue.push(self.now + WAIT, Item::QueryEnds { host });
        }
    }

    /// The entry has changed: answers whoever waits for that.
    pub(super) fn wake_waiters(&mut self, all: bool) {
        let sight = self.cluster.newest().clone();
        let mut position = 0;
        while position < self.cluster.waiters.len() {
            if !all && sight.index <= self.cluster.waiters[position].index {
                position += 1;
                continue;
            }
            let Waiter { host, query, .. } = self.cluster.waiters.swap_remove(position);
            let lag = self.follower_lag(host);
            self.answer_query(host, query, lag, &sight);
        }
    }

    fn answer_query(&mut self, host: usize, query: u64, wait: u64, sight: &Sight) {
        let at = self.now + wait + self.delay(host);
        let (index, seen) = (sight.index, Rc::clone(&sight.seen));
        self.queue.push(at, Item::QueryAnswered { host, query, index, seen });
    }

    /// Consul's wait for a change is over.
    pub(super) fn query_ends(&mut self, host: usize) {
        let watch = &mut self.hosts[host].watch;
        let end = watch.asked_at + WAIT;
        if watch.wanted && end > self.now {
            let at = end + self.random.below(WAIT_SPREAD);
            return self.queue.push(at, Item::QueryEnds { host });
        }
        watch.ends = false;
        let waiting = self.cluster.waiters.iter().position(|waiter| waiter.host == host);
        if let Some(position) = waiting {
            let query = self.cluster.waiters.swap_remove(position).query;
            let sight = self.cluster.newest().clone();
            self.answer_query(host, query, 0, &sight);
        }
    }

    pub(super) fn query_answered(&mut self, host: usize, query: u64, index: u64, seen: Rc<Seen>) {
        let here = &self.hosts[host];
        if here.watch.query != query {
            return;
        }
        if self.now < here.link.back_cut_until {
            let at = self.now + self.random.below(FOUND_DEAD);
            return self.queue.push(at, Item::QueryFails { host, query });
        }
        if self.now < here.frozen_until {
            let at = here.frozen_until + self.random.below(2 * MS);
            return self.queue.push(at, Item::QueryAnswered { host, query, index, seen });
        }
        let life = here.life;
        let took = self.now - here.watch.asked_at;
        let random = self.random.next();
        let index_there = &mut self.hosts[host].watch.index;
        let progress = index_there.update(index);
        let (took, wait) = (Duration::from_nanos(took), Duration::from_nanos(WAIT));
        let pause = index_there.pause(progress, took, wait, random);
        self.send_query(host, super::setup::nanos(pause));
        self.tell(host, life, Event::Watched(Seen::clone(&seen)));
    }

    pub(super) fn query_fails(&mut self, host: usize, query: u64) {
        let here = &mut self.hosts[host];
        if here.watch.query != query {
            return;
        }
        if self.now < here.frozen_until {
            let at = here.frozen_until;
            return self.queue.push(at, Item::QueryFails { host, query });
        }
        here.watch.index.reset();
        self.send_query(host, RETRY);
    }
}
