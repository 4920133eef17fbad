//! Consul's side: the production model, driven through the production translations.

use std::sync::Arc;

use kneard::consul::model::{Answer, Op};
use kneard::consul::{KvEntry, SessionId};
use kneard::election::{Event, Mutant, Outcome, RecordState, Refusal, Write};
use kneard::supervisor::election_key::{broken_operations, outcome, release_after_crash, seen};

use super::config::Config;
use super::world::{Consul, World, happened};

pub const KEY: &str = "kuutamod-leader/account";

impl World {
    /// The key as it is now, with the index that a watch goes by.
    pub fn key(&self) -> (u64, Option<&KvEntry>) {
        self.consul.model.get(KEY)
    }

    fn key_owned(&self) -> (u64, Option<KvEntry>) {
        let (index, entry) = self.key();
        (index, entry.cloned())
    }

    /// Does one thing, and remembers what a server that lags still shows.
    pub fn consul_apply(&mut self, op: Op) -> Answer {
        let now = self.consul_time();
        let before = self.key_owned();
        let consul: &mut Consul = Arc::make_mut(&mut self.consul);
        let answer = consul.model.apply(now, op);
        if self.key().0 != before.0 {
            Arc::make_mut(&mut self.consul).older = Some(before);
        }
        answer
    }

    pub fn end_session(&mut self, id: SessionId) {
        self.consul_apply(Op::DestroySession(id));
    }

    /// One write reaches Consul.
    pub fn commit(&mut self, config: &Config, host: usize, write: &Write) -> Outcome {
        let settings = config.settings(host, 0);
        let operations = broken_operations(KEY, write.clone(), &settings);
        let (was_missing, before) = (self.key().1.is_none(), Arc::clone(&self.consul));
        let answer = self.consul_apply(Op::Txn(operations));
        let outcome = outcome(KEY, answer.into_txn_result());
        if let Outcome::Refused(..) = outcome {
            // All that it did is to use up an index.
            self.consul = before;
        }
        self.happened |= match &outcome {
            Outcome::Committed(_) => match write {
                Write::Acquire { .. } if was_missing => happened::CREATED | happened::ACQUIRED,
                Write::Acquire { .. } => happened::ACQUIRED,
                Write::Steal { .. } => happened::STOLEN,
                Write::Release { .. } => happened::RELEASED,
                Write::Beat { .. } => 0,
            },
            Outcome::Refused(Refusal::Conflict, _) => happened::CONFLICT,
            Outcome::Refused(Refusal::LockLost, _) => happened::LOCK_LOST,
            Outcome::Refused(Refusal::LockDelay, _) => happened::LOCK_DELAY,
            Outcome::Refused(Refusal::NotAllowed, _) | Outcome::Unknown(_) => 0,
        };
        let record = write.record();
        if let Outcome::Committed(_) = outcome
            && record.state == RecordState::Released
            && !record.head_is_bound
            && self.released.is_none_or(|(head, _)| head <= record.head)
        {
            self.released = Some((record.head, host));
        }
        outcome
    }

    /// What `kneard release` does for a dead kneard whose neard is proven dead.
    pub fn release_for_the_dead(&mut self, config: &Config, host: usize) {
        let Some((instance, session)) = self.host(host).left_behind.take() else { return };
        let now = seen(self.key_owned().1);
        let Ok(mut write) = release_after_crash(now, &session, &instance) else { return };
        if config.mutant == Some(Mutant::CrashReleasesPending) {
            write.record_mut().state = RecordState::Released;
        }
        if let Outcome::Committed(_) = self.commit(config, host, &write) {
            self.happened |= happened::CRASH_RELEASED;
        }
    }

    /// A read of the key, as the machine is told of it.
    pub fn read_event(&self, id: u64) -> Event {
        Event::Read { id, result: Ok(seen(self.key_owned().1)) }
    }

    /// Copies of writes that can never do anything any more are forgotten: the index that they
    /// check has passed, and Consul's indices only grow.
    pub fn forget_dead_copies(&mut self, config: &Config) {
        if self.late.is_empty() {
            return;
        }
        let current = self.key().1.map(|entry| entry.modify_index);
        let unchecked = |mutant| config.mutant == Some(mutant);
        self.late.retain(|late| match &late.write {
            Write::Acquire { index, .. } => {
                unchecked(Mutant::AcquireUnchecked) || index.is_none() || *index == current
            }
            Write::Steal { index, .. } => {
                unchecked(Mutant::StealUnchecked) || Some(*index) == current
            }
            Write::Beat { index, .. } => {
                unchecked(Mutant::BeatUnchecked) || Some(*index) == current
            }
            Write::Release { index, .. } => Some(*index) == current,
        });
    }
}
