//! What was seen of an election: the last status, and the changes that led there.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use crate::control::{HistoryEntry, Pause, Status};
use crate::election::RecordState;

/// More than fit on any screen.
const EVENTS: usize = 100;

#[derive(Default)]
pub struct Watched {
    /// The last answer.
    pub status: Option<Status>,
    /// Why there is none now, and since when.
    pub silent: Option<(SystemTime, String)>,
    /// When the last answer came.
    pub answered: Option<SystemTime>,
    /// Oldest first.
    pub events: VecDeque<(SystemTime, String)>,
    /// The newest record and when it was first seen.
    beat: Option<((u64, u64), SystemTime)>,
    holder: Option<String>,
    states: BTreeMap<String, String>,
    paused: Option<Option<Pause>>,
    /// When watching began.
    started: Option<SystemTime>,
    /// The changes of the holder from before, newest first, as Consul keeps them.
    history: Vec<HistoryEntry>,
}

impl Watched {
    pub fn new() -> Self {
        Watched::default()
    }

    /// Whether the history is to be asked for. Once: what comes after is watched.
    pub fn wants_history(&self) -> bool {
        self.status.is_some() && self.started.is_none()
    }

    /// Takes in the history; none, if it could not be told.
    pub fn remember(&mut self, now: SystemTime, history: Vec<HistoryEntry>) {
        self.started = Some(now);
        self.history = history;
    }

    /// When and what, the newest first: what was watched, then what the history tells of before.
    pub fn news(&self) -> impl Iterator<Item = (SystemTime, String)> {
        let watched = self.events.iter().rev().cloned();
        let before = self.history.iter().filter_map(|entry| {
            let time = humantime::parse_rfc3339(&entry.time).ok()?;
            let from = entry.from.as_ref().map(|from| format!(" from {from}"));
            let without = entry.seconds_without_signer;
            let without = without.map(|seconds| format!(", {seconds:.1} s without a signer"));
            let (from, without) = (from.unwrap_or_default(), without.unwrap_or_default());
            let HistoryEntry { to, term, reason, .. } = entry;
            Some((time, format!("{to} took the key{from} (term {term}){without}: {reason}")))
        });
        watched.chain(before)
    }

    pub fn take_in(&mut self, now: SystemTime, answer: Result<Status, String>) {
        match answer {
            Ok(status) => {
                if self.silent.take().is_some() {
                    self.event(now, "kneard answers again".to_owned());
                }
                self.compare(now, &status);
                self.answered = Some(now);
                self.status = Some(status);
            }
            Err(why) => {
                let since = match self.silent.take() {
                    Some((since, _)) => since,
                    None => {
                        self.event(now, "kneard does not answer".to_owned());
                        now
                    }
                };
                self.silent = Some((since, why));
            }
        }
    }

    /// What is left of the holder's lease: as the holder says, else from the first sight of its
    /// last beat; and the whole of it.
    pub fn lease(&self, now: SystemTime) -> Option<(Duration, Duration)> {
        let status = self.status.as_ref()?;
        let record = status.record.as_ref().filter(|_| status.locked)?;
        let lease = Duration::from_millis(record.lease_ms);
        let since = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let left = match (status.lease_left_ms, self.answered, self.beat) {
            (Some(left), Some(answered), _) => {
                Duration::from_millis(left).saturating_sub(since(answered))
            }
            (_, _, Some((_, seen))) => lease.saturating_sub(since(seen)),
            _ => return None,
        };
        Some((left.min(lease), lease))
    }

    fn compare(&mut self, now: SystemTime, status: &Status) {
        if let Some(record) = &status.record {
            let beat = (record.term, record.beat);
            if self.beat.is_none_or(|(last, _)| last != beat) {
                self.beat = Some((beat, now));
            }
        }
        let holder = holder(status);
        if self.holder.as_ref() != Some(&holder) {
            self.event(now, holder.clone());
            self.holder = Some(holder);
        }
        // The own node is known at once, the others by what they publish.
        let mut states = BTreeMap::from([(status.node.node_id.clone(), status.node.state.clone())]);
        for node in status.nodes.iter().flatten() {
            states.entry(node.node_id.clone()).or_insert_with(|| node.state.clone());
        }
        if status.nodes.is_none() {
            // Not known is not gone.
            for (node, state) in &self.states {
                states.entry(node.clone()).or_insert_with(|| state.clone());
            }
        }
        if self.paused.as_ref() != Some(&status.paused) {
            match (&status.paused, &self.paused) {
                (Some(pause), _) => self.event(now, format!("takeovers are {pause}")),
                (None, Some(Some(_))) => self.event(now, "takeovers are allowed again".to_owned()),
                (None, _) => {}
            }
            self.paused = Some(status.paused.clone());
        }
        let before = std::mem::replace(&mut self.states, states.clone());
        for (node, state) in &states {
            match before.get(node) {
                Some(last) if last == state => {}
                Some(last) => self.event(now, format!("{node}: {last} -> {state}")),
                None => self.event(now, format!("{node}: {state}")),
            }
        }
        for node in before.keys().filter(|node| !states.contains_key(*node)) {
            self.event(now, format!("{node} is gone"));
        }
    }

    fn event(&mut self, now: SystemTime, text: String) {
        self.events.push_back((now, text));
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }
}

/// Who has the key, in a sentence.
pub fn holder(status: &Status) -> String {
    match &status.record {
        None => "nobody holds the key".to_owned(),
        Some(record) if !status.locked || record.state == RecordState::Released => {
            format!("nobody holds the key; {} had it (term {})", record.holder, record.term)
        }
        Some(record) if record.state == RecordState::Active => {
            format!("{} holds the key (term {})", record.holder, record.term)
        }
        Some(record) => format!("{} is taking over (term {})", record.holder, record.term),
    }
}
