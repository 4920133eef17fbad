//! Blocking queries: readers wait, something is done, and some of them wake.

use std::time::Duration;

use kneard::consul::KvEntry;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::LIMIT;
use super::raw::{self, Answer};
use super::side::Side;
use super::steps::{Reader, Step};

/// How long a reader waits. Consul keeps the connection of one that has gone away for as long.
const WAIT: &str = "6s";
/// How long one that has to wake may take.
const PROMPT: Duration = Duration::from_secs(5);
/// How long the others are given to wake without a reason.
const GRACE: Duration = Duration::from_millis(5);

/// What came of it on one side.
pub struct Woken {
    /// The change's answer, and the answers of the readers that had to wake or must not.
    pub text: String,
    /// Whether the readers woke that may do either: what they read was missing and still is, but
    /// Consul's index of a missing thing grows with every change to any key.
    pub optional: Vec<bool>,
}

impl Reader {
    fn path(&self) -> String {
        match self {
            Reader::Key(key) => format!("/v1/kv/{key}?consistent"),
            Reader::Tree(prefix) => format!("/v1/kv/{prefix}?recurse&consistent"),
        }
    }
}

impl Side {
    /// Let the readers wait, do `by`, and see who wakes. `all`: those that may must, too.
    pub async fn wake(&mut self, readers: &[Reader], by: &Step, all: bool) -> Woken {
        let mut before = Vec::new();
        let mut waiting = JoinSet::new();
        for (number, reader) in readers.iter().enumerate() {
            let now = self.look(reader).await;
            let index = now.index.expect("an index");
            let (address, path) =
                (self.address, format!("{}&wait={WAIT}&index={index}", reader.path()));
            // No matter whether it gets there before the change: it compares indexes.
            waiting.spawn(async move { (number, raw::ask(address, "GET", &path, "").await) });
            before.push((index, now.status != 404));
        }
        let mut text = self.run(by).await;

        let mut after = Vec::new();
        for reader in readers {
            after.push(self.look(reader).await);
        }
        let changed: Vec<bool> = before
            .iter()
            .zip(&after)
            .map(|((index, _), after)| after.index.is_some_and(|now| now > *index))
            .collect();
        let optional: Vec<bool> = (0..readers.len())
            .map(|i| changed[i] && !before[i].1 && after[i].status == 404)
            .collect();

        let mut answers: Vec<Option<Answer>> = readers.iter().map(|_| None).collect();
        let end = Instant::now() + PROMPT;
        let must = |i: usize| changed[i] && (all || !optional[i]);
        while (0..readers.len()).any(|i| must(i) && answers[i].is_none()) {
            let woken = timeout_at(end, waiting.join_next()).await;
            let woken = woken.unwrap_or_else(|_| panic!("{readers:?} do not all wake by {by:?}"));
            let (number, answer) = woken.expect("a reader").expect("not cancelled");
            answers[number] = Some(answer.expect("an answer"));
        }
        let end = Instant::now() + GRACE;
        while let Ok(Some(woken)) = timeout_at(end, waiting.join_next()).await {
            let (number, answer) = woken.expect("not cancelled");
            answers[number] = Some(answer.expect("an answer"));
        }

        for (i, answer) in answers.iter().enumerate().filter(|(i, _)| !optional[*i]) {
            let seen = match answer {
                None => "slept".to_owned(),
                Some(answer) => {
                    self.indexes.extend(answer.index);
                    format!("woke: {} {}", answer.status, self.listed(&answer.body))
                }
            };
            text += &format!("; {:?} {seen}", readers[i]);
        }
        let optional = optional.iter().enumerate().filter(|(_, optional)| **optional);
        Woken { text, optional: optional.map(|(i, _)| answers[i].is_some()).collect() }
    }

    async fn look(&self, reader: &Reader) -> Answer {
        let (address, path) = (self.address, reader.path());
        let asked = raw::ask(address, "GET", &path, "");
        tokio::time::timeout(LIMIT, asked).await.ok().flatten().expect("an answer")
    }

    fn listed(&mut self, body: &str) -> String {
        if body.is_empty() {
            return "nothing".to_owned();
        }
        let entries: Vec<KvEntry> = serde_json::from_str(body).expect("entries");
        self.entries(entries)
    }
}
