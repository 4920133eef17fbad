//! `kneard release`, which a guard becomes after its kneard's death.

use kneard::consul::Error;
use kneard::election::{InstanceId, Mutant, Outcome, RecordState, Seen, SessionId};
use kneard::supervisor::election_key;

use super::network::{Asker, Reply, Request};
use super::{Item, MS, SECOND, World};

const PATIENCE: u64 = 10 * SECOND;
const RETRY: u64 = 50 * MS;
/// From the guard's last breath to the first request.
const START: u64 = 60 * MS;

pub struct Releasing {
    number: u64,
    instance: InstanceId,
    session: SessionId,
    deadline: u64,
}

impl World<'_> {
    pub(super) fn release_starts(
        &mut self,
        host: usize,
        instance: InstanceId,
        session: Option<SessionId>,
    ) {
        let Some(session) = session else { return };
        self.releases += 1;
        let (number, deadline) = (self.releases, self.now + PATIENCE);
        self.hosts[host].releasing = Some(Releasing { number, instance, session, deadline });
        let at = self.now + MS + self.random.below(START);
        self.queue.push(at, Item::Release { host, number });
    }

    /// Reads the entry, to write next.
    pub(super) fn release(&mut self, host: usize, number: u64) {
        if self.hosts[host].releasing.as_ref().is_some_and(|release| release.number == number) {
            self.ask(host, Asker::Release { number }, Request::Read);
        }
    }

    pub(super) fn release_heard(&mut self, host: usize, number: u64, heard: Result<Reply, Error>) {
        let here = &mut self.hosts[host];
        let Some(release) = here.releasing.as_ref().filter(|release| release.number == number)
        else {
            return;
        };
        let done = match heard {
            Ok(Reply::Seen(seen)) => {
                let (session, instance) = (&release.session, &release.instance);
                match election_key::release_after_crash(Seen::clone(&seen), session, instance) {
                    Err(_) => true,
                    Ok(mut write) => {
                        if self.options.mutant == Some(Mutant::CrashReleasesPending) {
                            write.record_mut().state = RecordState::Released;
                        }
                        let operations = election_key::operations(&self.cluster.election, write);
                        let asker = Asker::Release { number };
                        return self.ask(host, asker, Request::Commit(operations));
                    }
                }
            }
            Ok(Reply::Answer(answer)) => {
                let answer = answer.into_txn_result();
                let outcome = election_key::outcome(&self.cluster.election, answer);
                matches!(outcome, Outcome::Committed(_))
            }
            Ok(_) | Err(_) => false,
        };
        if done || self.now >= release.deadline {
            here.releasing = None;
            let how = if done { "is done" } else { "gives up" };
            return self.say(host, || format!("kneard release {how}"));
        }
        self.queue.push(self.now + RETRY, Item::Release { host, number });
    }
}
