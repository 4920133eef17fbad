//! Does the same to both sides and compares every answer.

use std::fmt::{self, Write as _};

use super::side::{Side, ranks};
use super::steps::{Round, Step};

/// Two that must answer alike.
pub struct Pair {
    pub real: Side,
    pub model: Side,
    pub counts: Counts,
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Counts {
    pub operations: usize,
    pub indexes: usize,
    /// Steps with blocking readers.
    pub wakes: usize,
    /// Readers of something missing that slept in Consul through another key's change, and woke
    /// in the model: the one difference that is allowed.
    pub slept: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations compared ({} of them with blocking readers), {} indexes ranked, {} \
             readers of a missing key slept through another key's change",
            self.operations, self.wakes, self.indexes, self.slept
        )
    }
}

/// A round under way.
pub struct Running {
    round: Round,
    name: String,
    story: String,
}

impl Pair {
    pub fn new(real: String, model: String) -> Self {
        Self { real: Side::new(real), model: Side::new(model), counts: Counts::default() }
    }

    /// A round of its own seed, keys and sessions. `name` says how to run it again.
    pub fn round(&mut self, seed: u64, name: String) -> Running {
        self.real.indexes.clear();
        self.model.indexes.clear();
        let round = Round::new(seed, format!("round{seed}"), self.real.sessions.len());
        Running { round, name, story: String::new() }
    }

    /// The next steps of a round.
    pub async fn steps(&mut self, running: &mut Running, count: usize) {
        let before = self.real.indexes.len();
        for _ in 0..count {
            let step = running.round.step();
            let (expected, answered) = self.run(&step).await;
            writeln!(running.story, "{step:?}\n    -> {expected}").expect("a string");
            let (name, story) = (&running.name, &running.story);
            assert_eq!(expected, answered, "{name}, after\n{story}");
            assert_eq!(
                ranks(&self.real.indexes),
                ranks(&self.model.indexes),
                "{name}: indexes {:?} and {:?}, after\n{story}",
                self.real.indexes,
                self.model.indexes
            );
            self.counts.operations += 1;
        }
        self.counts.indexes += self.real.indexes.len() - before;
    }

    async fn run(&mut self, step: &Step) -> (String, String) {
        let Step::Wake { readers, by } = step else {
            return (self.real.run(step).await, self.model.run(step).await);
        };
        let expected = self.real.wake(readers, by, false).await;
        let answered = self.model.wake(readers, by, true).await;
        self.counts.wakes += 1;
        assert_eq!(expected.optional.len(), answered.optional.len(), "{step:?}");
        self.counts.slept += expected.optional.iter().filter(|woke| !**woke).count();
        (expected.text, answered.text)
    }
}
