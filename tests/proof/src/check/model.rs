//! The world as stateright explores it, and what must hold in it.

use kneard::election::{RecordState, State, Step};
use stateright::{Model, Property};

use super::config::{Config, Start};
use super::moves::Move;
use super::world::{Broken, World, happened};

/// Ticks in which somebody signs again once nothing goes wrong any more: a lock delay or a lease, a
/// session's creation, a backoff of neard's, the wait for the head.
const RECOVERY: u32 = 30;

/// One exploration, for stateright.
pub struct Election {
    pub config: Config,
    starts: Vec<World>,
    end: u32,
}

impl Election {
    pub fn new(config: Config) -> Self {
        let starts: Vec<World> = config
            .clocks
            .iter()
            .map(|clocks| {
                let mut world = World::new(&config, clocks);
                if config.start == Start::Held {
                    let stands_by = |world: &World| {
                        let others = 1..world.hosts.len();
                        let ready = others.clone().all(|host| {
                            let machine = world.hosts[host].machine.as_ref();
                            machine.is_some_and(|machine| machine.state() == State::Voting)
                        });
                        ready && world.active() == Some(0) && world.is_quiet(&config)
                    };
                    // With some defects this alone breaks a promise.
                    world.go_on(&config, RECOVERY, stands_by);
                    world.happened = 0;
                }
                world
            })
            .collect();
        let end = starts.iter().map(|world| world.tick).max().unwrap_or(0) + config.horizon;
        Election { config, starts, end }
    }

    fn is_over(&self, world: &World) -> bool {
        world.broken.is_some() || world.tick >= self.end
    }
}

impl World {
    /// Nothing is left to do before time passes.
    fn is_quiet(&self, config: &Config) -> bool {
        let mut moves = Vec::new();
        self.faultless_moves(config, &mut moves);
        moves == [Move::Time]
    }

    fn has_step(&self, wanted: impl Fn(&Step) -> bool) -> bool {
        (0..self.hosts.len()).any(|host| self.step(host).is_some_and(&wanted))
    }
}

impl Model for Election {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        self.starts.clone()
    }

    fn actions(&self, world: &World, out: &mut Vec<Move>) {
        if !self.is_over(world) {
            world.moves(&self.config, out);
        }
    }

    fn next_state(&self, world: &World, what: Move) -> Option<World> {
        let mut next = world.clone();
        next.make(&self.config, what);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("at most one node can sign", |_, world: &World| {
                !matches!(world.broken, Some(Broken::TwoSigners(..)))
            }),
            Property::always(
                "nothing is signed at or below a released head",
                |_, world: &World| !matches!(world.broken, Some(Broken::BelowReleasedHead { .. })),
            ),
            Property::always("no height is signed by two", |_, world: &World| {
                !matches!(world.broken, Some(Broken::SignedTwice { .. }))
            }),
            Property::sometimes("Startup", |_, world: &World| world.any_in(State::Startup)),
            Property::sometimes("Syncing", |_, world: &World| world.any_in(State::Syncing)),
            Property::sometimes("Registering", |_, w: &World| w.any_in(State::Registering)),
            Property::sometimes("Voting", |_, world: &World| world.any_in(State::Voting)),
            Property::sometimes("Validating", |_, world: &World| world.any_in(State::Validating)),
            Property::sometimes("Shutdown", |_, world: &World| world.any_in(State::Shutdown)),
            Property::sometimes("holds the lock and waits", |_, world: &World| {
                world.has_step(|step| *step == Step::Waiting)
            }),
            Property::sometimes("restarts neard with the key", |_, world: &World| {
                world.has_step(|step| matches!(step, Step::Promoting { .. }))
            }),
            Property::sometimes("stops neard to give the key back", |_, world: &World| {
                world.has_step(|step| *step == Step::Draining)
            }),
            Property::sometimes("gives the lock back", |_, world: &World| {
                world.has_step(|step| *step == Step::Releasing)
            }),
            Property::sometimes("a released record is there", |_, world: &World| {
                world.record_state() == Some(RecordState::Released)
            }),
            Property::sometimes("the key is created", |_, w: &World| w.did(happened::CREATED)),
            Property::sometimes("a free lock is taken", |_, w: &World| w.did(happened::ACQUIRED)),
            Property::sometimes("the guard kills neard", |_, w: &World| {
                w.did(happened::GUARD_KILLED)
            }),
        ];
        if self.config.faults > 0 {
            all.extend([
                Property::sometimes("the lock is stolen", |_, w: &World| w.did(happened::STOLEN)),
                Property::sometimes("the lock is given back", |_, w: &World| {
                    w.did(happened::RELEASED)
                }),
                Property::sometimes("a dead kneard's lock is given back", |_, w: &World| {
                    w.did(happened::CRASH_RELEASED)
                }),
                Property::sometimes("a write meets a newer record", |_, w: &World| {
                    w.did(happened::CONFLICT)
                }),
                Property::sometimes("a write finds the lock lost", |_, w: &World| {
                    w.did(happened::LOCK_LOST)
                }),
                Property::sometimes("a lock delay is met", |_, w: &World| {
                    w.did(happened::LOCK_DELAY)
                }),
                Property::sometimes("a late copy is committed", |_, w: &World| {
                    w.did(happened::LATE_COMMITTED)
                }),
                Property::sometimes("a request gets no answer in time", |_, w: &World| {
                    w.did(happened::GAVE_UP)
                }),
                Property::sometimes("kneard stops in good order", |_, w: &World| {
                    w.did(happened::EXITED)
                }),
                Property::sometimes("a read finds one's own claim", |_, w: &World| {
                    w.did(happened::FOUND_OWN_CLAIM)
                }),
            ]);
        }
        if self.config.prompt {
            all.push(Property::always(
                "a standby takes over in time",
                |model: &Self, world: &World| {
                    !model.is_over(world)
                        || world.broken.is_some()
                        || world.takes_over_in_time(&model.config)
                },
            ));
        }
        if self.config.recovery {
            all.push(Property::always(
                "somebody signs once faults stop",
                |model: &Self, world: &World| {
                    !model.is_over(world) || world.broken.is_some() || {
                        let mut world = world.clone();
                        let back = world.go_on(&model.config, RECOVERY, |w| w.active().is_some());
                        back || world.broken.is_some()
                    }
                },
            ));
        }
        all
    }
}

impl World {
    fn did(&self, what: u32) -> bool {
        self.happened & what != 0
    }

    fn record_state(&self) -> Option<RecordState> {
        let entry = self.key().1?;
        kneard::election::Content::parse(&entry.value).record().map(|record| record.state)
    }
}
