//! Moves in words, for the path to a violation.

use kneard::consul::KvEntry;
use kneard::election::{Content, Outcome};

use super::config::host_name;
use super::host::describe_write;
use super::moves::Move;
use super::world::World;

impl World {
    pub(super) fn describe(&self, what: Move) -> String {
        let name = |host: usize| host_name(host);
        let sent = |host: usize| match &self.hosts[host].request {
            Some(request) => match &request.write {
                Some(write) => describe_write(write),
                None => "the read of the key".to_owned(),
            },
            None => "nothing".to_owned(),
        };
        let answered = |host: usize| {
            self.hosts[host].request.as_ref().is_some_and(|request| request.answer.is_some())
        };
        match what {
            Move::Time => "a second passes".to_owned(),
            Move::Wake(host) => format!("a timer of {}'s is due", name(host)),
            Move::Arrive(host) => format!("{}'s request arrives: {}", name(host), sent(host)),
            Move::ArriveUnanswered(host) => {
                format!("{}'s request is committed as the leader goes: {}", name(host), sent(host))
            }
            Move::Answer(host) => format!("{} gets the answer to: {}", name(host), sent(host)),
            Move::GiveUp(host) => format!("{} gives up waiting for: {}", name(host), sent(host)),
            Move::Watch(host) => format!("{}'s watch shows {}", name(host), self.sight(host)),
            Move::NeardDies(host) => format!("{}'s neard is dead and reaped", name(host)),
            Move::HearOfDeath(host) => format!("{} hears that its neard is dead", name(host)),
            Move::GuardKills(host) => format!("{}'s guard kills neard", name(host)),
            Move::GuardReleases(host) => {
                format!("{}'s guard gives the dead kneard's lock back", name(host))
            }
            Move::Reload(host) => match &self.hosts[host].neard {
                Some(neard) if neard.key_at_home => {
                    format!("{}'s neard has loaded the key", name(host))
                }
                _ => format!("{}'s neard has unloaded the key", name(host)),
            },
            Move::Restart(host) => format!("{}'s kneard starts again", name(host)),
            Move::Thaw(host) => format!("{}'s kneard is continued", name(host)),
            Move::Heal(host) => format!("{} reaches Consul again", name(host)),
            Move::LeaderBack => "Consul has a leader again".to_owned(),
            Move::CatchUp(host) => format!("{} has the newest block too", name(host)),
            Move::LateArrives(number) => format!(
                "a late copy of {}'s arrives: {}",
                name(self.late[number].host),
                describe_write(&self.late[number].write)
            ),
            Move::Hold(host) if answered(host) => {
                format!("FAULT: the answer to {} is held up: {}", name(host), sent(host))
            }
            Move::Hold(host) => {
                format!("FAULT: {}'s request is held up: {}", name(host), sent(host))
            }
            Move::Double(host) => {
                format!("FAULT: {}'s request is doubled: {}", name(host), sent(host))
            }
            Move::HoldSight(host) => format!("FAULT: {}'s watch is slow", name(host)),
            Move::StaleSight(host) => {
                format!("FAULT: {}'s watch shows what the key was before", name(host))
            }
            Move::CutOff(host) => format!("FAULT: {} is cut off from Consul", name(host)),
            Move::CutAnswers(host) => {
                format!("FAULT: {} gets no answers from Consul any more", name(host))
            }
            Move::Freeze(host) => format!("FAULT: {}'s kneard freezes", name(host)),
            Move::Crash(host) => format!("FAULT: {}'s kneard dies", name(host)),
            Move::EndSession(number) => {
                let lock = self.key().1.and_then(|entry| entry.session.clone());
                let id = self.consul.model.sessions().nth(number).map(|(info, _)| info);
                let owner = id.map_or("?", |info| info.name.rsplit(' ').next().unwrap_or("?"));
                let held = if id.is_some_and(|info| lock.as_ref() == Some(&info.id)) {
                    ", which holds the lock"
                } else {
                    ""
                };
                format!("FAULT: a session of {owner}'s ends{held}")
            }
            Move::DeleteKey => "FAULT: an operator deletes the election key".to_owned(),
            Move::LoseLeader => "FAULT: Consul loses its leader".to_owned(),
            Move::Stop(host) => format!("FAULT: {}'s kneard is told to stop", name(host)),
            Move::SwitchOver(host) => {
                format!("FAULT: an operator asks for a switchover away from {}", name(host))
            }
            Move::NeardCrashes(host) => format!("FAULT: {}'s neard dies", name(host)),
            Move::ReloadSlowly(host) => {
                format!("FAULT: {}'s neard reloads slowly, if at all", name(host))
            }
            Move::WriteBack => "FAULT: an operator writes the record before this again".to_owned(),
            Move::Lag(host) => format!("FAULT: {} will get the next block late", name(host)),
            Move::StepClock(host) => {
                format!("FAULT: {}'s wall clock is stepped back by two seconds", name(host))
            }
        }
    }

    fn sight(&self, host: usize) -> String {
        let here = &self.hosts[host];
        let entry = match &here.held_sight {
            Some((_, entry)) => entry.as_ref(),
            None => self.key().1,
        };
        describe_entry(entry)
    }
}

pub(super) fn describe_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Committed(_) => "committed".to_owned(),
        Outcome::Refused(refusal, _) => format!("refused ({refusal:?})"),
        Outcome::Unknown(why) => format!("unknown ({why})"),
    }
}

fn describe_entry(entry: Option<&KvEntry>) -> String {
    let Some(entry) = entry else { return "that the key is missing".to_owned() };
    let lock = if entry.session.is_some() { "locked" } else { "not locked" };
    match Content::parse(&entry.value).record() {
        None => format!("an unreadable record, {lock}"),
        Some(record) => format!(
            "the record of {}: term {}, beat {}, {}, {lock}",
            record.holder,
            record.term,
            record.beat,
            format!("{:?}", record.state).to_lowercase()
        ),
    }
}
