//! The timeline, in words. Nothing of it is made unless it is asked for.

use kneard::election::{Content, Entry, Event, Outcome, RecordState, Seen};

use super::{SECOND, World};

impl World<'_> {
    pub(super) fn say(&mut self, host: usize, text: impl FnOnce() -> String) {
        if self.trace.is_some() {
            self.line(&format!("host {host}"), text);
        }
    }

    pub(super) fn say_consul(&mut self, text: impl FnOnce() -> String) {
        self.line("consul", text);
    }

    pub(super) fn say_world(&mut self, text: impl FnOnce() -> String) {
        self.line("", text);
    }

    fn line(&mut self, who: &str, text: impl FnOnce() -> String) {
        let now = self.now as f64 / SECOND as f64;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>12.4} s  {who:<8} {}", text()));
        }
    }

    /// Only what is no routine.
    pub(super) fn say_event(&mut self, host: usize, event: &Event) {
        let text = match event {
            Event::Written { outcome: Outcome::Committed(_), .. }
            | Event::Status { result: Ok(_), .. }
            | Event::SessionRenewed(Ok(true))
            | Event::Tick
            | Event::NeardStarted
            | Event::Read { result: Ok(_), .. }
            | Event::Watched(_)
            | Event::Duties(_)
            | Event::Leases(_) => return,
            Event::NeardNotStarted(why) => format!("neard is not started: {why}"),
            Event::NeardExited(_) => "kneard learns that neard is dead".to_owned(),
            Event::GuardSilent => "the guard owes kneard an answer".to_owned(),
            Event::Status { result: Err(_), .. } => return,
            Event::SessionCreated(Ok(id)) => format!("has the session {}", short(id.as_str())),
            Event::SessionCreated(Err(why)) => format!("no session: {why}"),
            Event::SessionRenewed(Ok(false)) => "its session is gone".to_owned(),
            Event::SessionRenewed(Err(why)) => format!("its session is not renewed: {why}"),
            Event::Read { result: Err(why), .. } => format!("cannot read the entry: {why}"),
            Event::Written { outcome: Outcome::Refused(refusal, _), .. } => {
                format!("Consul refuses its write: {refusal:?}")
            }
            Event::Written { outcome: Outcome::Unknown(why), .. } => {
                format!("a write's outcome is unknown: {why}")
            }
            Event::KeyNotLoaded(why) => format!("the key is not loaded: {why}"),
            Event::KeyNotUnloaded(why) => format!("the key is not unloaded: {why}"),
            Event::Switchover { to } => format!("is asked for a switchover to {to:?}"),
            Event::Stop => "is asked to stop".to_owned(),
        };
        self.say(host, || text);
    }

    /// The election's entry, unless all that is new is a beat.
    pub(super) fn say_entry(&mut self) {
        if self.trace.is_none() {
            return;
        }
        let text = match &*self.cluster.newest().seen {
            Seen::Missing => "there is no entry".to_owned(),
            Seen::Entry(Entry { session, content, .. }) => {
                let lock = match session {
                    Some(id) => format!("locked by {}", short(id.as_str())),
                    None => "not locked".to_owned(),
                };
                match content {
                    Content::Unreadable => format!("the entry is unreadable, {lock}"),
                    Content::Record(record) => {
                        let head = match (record.head_is_bound, record.state) {
                            (true, _) => format!(", head at most {}", record.head),
                            (false, RecordState::Active) => String::new(),
                            (false, _) => format!(", head {}", record.head),
                        };
                        let state = format!("{:?}", record.state).to_lowercase();
                        format!(
                            "the record is {state}, term {}, of {} ({}){head}, {lock}",
                            record.term, record.holder, record.instance.0,
                        )
                    }
                }
            }
        };
        if self.last_entry != text {
            self.say_consul(|| text.clone());
            self.last_entry = text;
        }
    }

    pub(super) fn describe(&mut self) {
        let setup = &self.setup;
        let rates = setup.faster.iter().map(|millionths| format!("+{millionths}"));
        let rates: Vec<String> = rates.collect();
        let hosts: Vec<String> = (0..setup.hosts)
            .map(|host| {
                let settings = setup.of(host);
                format!("{} lease {:?}", settings.node_id, settings.lease)
            })
            .collect();
        let text = format!(
            "{}; {:?}; kill margin {:?}, /status each {} s; clocks {} ppm; {:?}",
            hosts.join(", "),
            setup.of(0).promotion,
            setup.of(0).kill_margin,
            setup.status_interval() / SECOND,
            rates.join(" "),
            setup.intensity,
        );
        self.say_world(|| text);
    }
}

fn short(id: &str) -> &str {
    &id[id.len().saturating_sub(6)..]
}
