//! What follows when nothing goes wrong any more: one fair, deterministic continuation.

use kneard::election::{Content, State};

use super::config::Config;
use super::moves::Move;
use super::mutants::ticks;
use super::world::{Cut, World};

impl World {
    /// The next move of a world in which faults heal and everything happens as soon as it can.
    fn fair_move(&self, config: &Config, only: Option<usize>) -> Move {
        let mut moves = Vec::new();
        self.faultless_moves(config, &mut moves);
        moves.retain(|what| only.is_none() || what.host().is_none_or(|host| only == Some(host)));
        let rank = |what: &Move| match what {
            Move::LeaderBack => 0,
            Move::Heal(_) => 1,
            Move::Thaw(_) => 2,
            Move::CatchUp(_) => 3,
            Move::HearOfDeath(_) => 4,
            Move::NeardDies(_) | Move::Reload(_) => 5,
            Move::GuardReleases(_) => 6,
            Move::LateArrives(_) => 7,
            Move::Arrive(_) => 8,
            Move::Answer(_) => 9,
            Move::Watch(_) => 10,
            Move::Wake(_) => 11,
            Move::Restart(_) => 12,
            Move::GiveUp(_) => 13,
            Move::GuardKills(_) => 14,
            Move::Time => 15,
            _ => 16,
        };
        moves.into_iter().min_by_key(rank).unwrap_or(Move::Time)
    }

    /// Goes on without faults until `done`, for so many ticks at most; whether it came to that.
    pub fn go_on(&mut self, config: &Config, ticks: u32, done: impl Fn(&World) -> bool) -> bool {
        let end = self.tick + ticks;
        while self.broken.is_none() {
            if done(self) {
                return true;
            }
            let what = self.fair_move(config, None);
            if what == Move::Time && self.tick >= end {
                return false;
            }
            self.make(config, what);
        }
        false
    }

    /// Whether each standby that is ready takes over in time once everyone else is dead: at the
    /// latest when it has known the record for a lease, and a moment more. Ready is who knows the
    /// record that is there: an older answer may come after a newer one, which costs a lease.
    pub fn takes_over_in_time(&self, config: &Config) -> bool {
        (0..self.hosts.len()).all(|host| self.standby_takes_over(config, host))
    }

    fn standby_takes_over(&self, config: &Config, host: usize) -> bool {
        let here = &self.hosts[host];
        let (Some(machine), Some((index, since))) = (&here.machine, here.first_sight) else {
            return true;
        };
        let knows_all = here.watching
            && here.shown == Some(self.key().0)
            && index == self.key().0
            && here.held_sight.is_none()
            && here.request.is_none();
        let ready = machine.state() == State::Voting
            && machine.step().is_none()
            && machine.session().is_some_and(|id| self.consul.model.session(id).is_some())
            && !here.frozen
            && here.cut == Cut::No
            && self.consul.has_leader
            && knows_all;
        let (_, Some(entry)) = self.key() else { return true };
        let content = Content::parse(&entry.value);
        let (true, Some(record)) = (ready, content.record()) else { return true };
        let due = (since + ticks(record.lease())).max(self.tick) + 2;
        let mut world = self.clone();
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            world.crash(other);
            let there = world.host(other);
            there.neard = None;
            there.left_behind = None;
        }
        world.late.clear();
        while world.active() != Some(host) {
            let what = world.fair_move(config, Some(host));
            if what == Move::Time && world.tick >= due || world.broken.is_some() {
                return world.broken.is_some();
            }
            world.make(config, what);
        }
        true
    }
}
