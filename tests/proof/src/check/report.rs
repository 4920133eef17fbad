//! Runs one exploration and puts the result in words.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::config::{Config, Start};
use super::model::Election;
use super::moves::Move;
use super::world::World;

/// How an exploration goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    pub threads: usize,
    /// Breadth first finds the shortest trace but keeps more states in memory.
    pub breadth_first: bool,
    /// Stops at the first broken promise.
    pub stop_at_failure: bool,
    /// Stops after about so many states.
    pub max_states: Option<usize>,
}

/// What an exploration found.
#[derive(Debug)]
pub struct Report {
    pub config: Config,
    /// Steps made, those to a state known already included.
    pub states: usize,
    pub unique: usize,
    pub depth: usize,
    pub time: Duration,
    /// The whole space was explored.
    pub complete: bool,
    /// Promises kept or broken, with the trace.
    pub always: Vec<(&'static str, Option<Vec<String>>)>,
    /// What can happen, and whether it did.
    pub sometimes: Vec<(&'static str, bool)>,
}

impl Report {
    /// The first broken promise and its trace.
    pub fn failure(&self) -> Option<(&'static str, &[String])> {
        let mut broken =
            self.always.iter().filter_map(|(name, trace)| Some((*name, trace.as_ref()?)));
        broken.next().map(|(name, trace)| (name, trace.as_slice()))
    }

    /// What never happened.
    pub fn never(&self) -> Vec<&'static str> {
        self.sometimes.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect()
    }
}

/// Explores.
pub fn check(config: &Config, search: Search) -> Report {
    let model = Election::new(config.clone());
    let properties = model.properties();
    let begin = Instant::now();
    let mut builder = model.checker().threads(search.threads);
    if search.stop_at_failure {
        builder = builder.finish_when(HasDiscoveries::AnyFailures);
    }
    if let Some(limit) = search.max_states {
        builder = builder.target_state_count(limit);
    }
    let (states, unique, depth, discoveries) = if search.breadth_first {
        results(builder.spawn_bfs().join())
    } else {
        results(builder.spawn_dfs().join())
    };
    let time = begin.elapsed();
    let mut always = Vec::new();
    let mut sometimes = Vec::new();
    for property in properties {
        let found = discoveries.iter().find(|(name, _, _)| *name == property.name);
        if property.expectation == Expectation::Always {
            let trace = found.map(|(_, start, moves)| narrate(config, start, moves));
            always.push((property.name, trace));
        } else {
            sometimes.push((property.name, found.is_some()));
        }
    }
    let stopped = search.stop_at_failure && always.iter().any(|(_, trace)| trace.is_some());
    let complete = !stopped && search.max_states.is_none_or(|limit| states < limit);
    Report { config: config.clone(), states, unique, depth, time, complete, always, sometimes }
}

type Discovery = (&'static str, World, Vec<Move>);

fn results(checker: impl Checker<Election>) -> (usize, usize, usize, Vec<Discovery>) {
    let discoveries = checker.discoveries().into_iter().filter_map(|(name, path)| {
        let steps = path.into_vec();
        let start = steps.first()?.0.clone();
        Some((name, start, steps.into_iter().filter_map(|(_, what)| what).collect()))
    });
    let discoveries = discoveries.collect();
    (checker.state_count(), checker.unique_state_count(), checker.max_depth(), discoveries)
}

/// A run as a list of plain sentences.
pub fn narrate(config: &Config, start: &World, moves: &[Move]) -> Vec<String> {
    let mut world = start.clone();
    world.story = Some(Vec::new());
    for what in moves {
        world.make(config, *what);
    }
    let mut story = world.story.take().unwrap_or_default();
    match &world.broken {
        Some(broken) => story.push(format!("      => {broken}")),
        None => {
            let mut after = world.clone();
            let back = after.go_on(config, 30, |world| world.active().is_some());
            if !back {
                story.push("      => from here on nobody signs again".to_owned());
            }
        }
    }
    story
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.config.name, self.config.describe())?;
        if let Some(mutant) = self.config.mutant {
            writeln!(f, "  with the defect {mutant}: {}", mutant.sentence())?;
        }
        let seconds = self.time.as_secs_f64();
        writeln!(
            f,
            "  {} states explored, {} of them unique, depth {}, {seconds:.1} s, {:.0} states/s{}",
            self.states,
            self.unique,
            self.depth,
            self.states as f64 / seconds.max(0.001),
            if self.complete { ", complete" } else { ", NOT complete" },
        )?;
        for (name, trace) in &self.always {
            let Some(trace) = trace else {
                writeln!(f, "  always     {name}: holds")?;
                continue;
            };
            writeln!(f, "  always     {name}: BROKEN")?;
            let mut number = 0;
            for line in trace {
                if line.starts_with("      ") {
                    writeln!(f, "       {line}")?;
                } else {
                    number += 1;
                    writeln!(f, "  {number:>4}. {line}")?;
                }
            }
        }
        let found: Vec<&str> =
            self.sometimes.iter().filter(|(_, found)| *found).map(|(name, _)| *name).collect();
        writeln!(f, "  sometimes  reached: {}", found.join("; "))?;
        let never = self.never();
        if !never.is_empty() {
            writeln!(f, "  sometimes  never reached: {}", never.join("; "))?;
        }
        Ok(())
    }
}

/// The worlds that CI explores: together a few minutes on two cores.
pub const CI: [&str; 7] =
    ["small", "small-hot-swap", "prompt", "prompt-hot-swap", "cold", "three", "two-hot-swap"];

/// The explorations that have names.
pub fn named(name: &str) -> Option<Config> {
    Some(match name {
        "small" => Config::new(name, 2, Start::Held, 8, 1),
        "small-hot-swap" => Config::new(name, 2, Start::Held, 8, 1).hot_swap(),
        "prompt" => Config::new(name, 2, Start::Held, 8, 1).without_lock_delay(),
        "prompt-hot-swap" => {
            Config::new(name, 2, Start::Held, 8, 1).without_lock_delay().hot_swap()
        }
        "cold" => Config::new(name, 2, Start::Cold, 8, 1),
        "two" => Config::new(name, 2, Start::Held, 5, 2),
        "two-hot-swap" => Config::new(name, 2, Start::Held, 5, 2).hot_swap(),
        "three" => Config::new(name, 3, Start::Held, 6, 1),
        "large" => Config::new(name, 2, Start::Held, 7, 2),
        _ => return None,
    })
}
