//! The log, on standard error: native entries with fields where that is systemd's journal, else one
//! logfmt line per event.
//!
//! Fields whose names begin with `journal_` are for the journal only: `journal_state` becomes
//! `KNEARD_STATE` there.

use std::fmt::Write as _;
use std::io::Write as _;

use libsystemd::logging::{Priority, connected_to_journal, journal_send};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The journal's MESSAGE_ID of state changes: `journalctl MESSAGE_ID=…` shows just these.
pub const STATE_CHANGED: &str = "d6195464258e448abe7c1b81b45ee0b2";

/// What the names of fields for the journal alone begin with.
const JOURNAL_ONLY: &str = "journal_";

/// Starts logging; every line names this node.
pub fn init(node_id: &str) {
    let registry = tracing_subscriber::registry();
    if connected_to_journal() {
        let layer = Journal { node_id: node_id.to_owned() };
        registry.with(layer.with_filter(LevelFilter::INFO)).init();
    } else {
        let layer = Logfmt { pid: std::process::id(), node_id: quoted(node_id) };
        registry.with(layer.with_filter(LevelFilter::INFO)).init();
    }
}

/// Libraries have their own errors reported by those who call them.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("kneard")
}

struct Journal {
    node_id: String,
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_ours(metadata) {
            return;
        }
        let priority = match *metadata.level() {
            Level::ERROR => Priority::Error,
            Level::WARN => Priority::Warning,
            Level::INFO => Priority::Info,
            Level::DEBUG | Level::TRACE => Priority::Debug,
        };
        let mut entry = Entry::default();
        event.record(&mut entry);
        let fields = [
            ("SYSLOG_IDENTIFIER".to_owned(), "kneard".to_owned()),
            ("KNEARD_NODE_ID".to_owned(), self.node_id.clone()),
            ("KNEARD_TARGET".to_owned(), metadata.target().to_owned()),
        ];
        let fields = fields.into_iter().chain(entry.fields);
        if journal_send(priority, &entry.message, fields).is_err() {
            // The journal's other way in.
            let line = format!("{}\n", entry.message);
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

/// An entry of the journal, but for what is the same in all.
#[derive(Default)]
struct Entry {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        let name = field.name().trim_start_matches(JOURNAL_ONLY);
        match name {
            "message" => value.clone_into(&mut self.message),
            "message_id" => self.fields.push(("MESSAGE_ID".to_owned(), value.to_owned())),
            name => {
                let name = name.to_ascii_uppercase();
                self.fields.push((format!("KNEARD_{name}"), value.to_owned()));
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

struct Logfmt {
    pid: u32,
    node_id: String,
}

impl<S: Subscriber> Layer<S> for Logfmt {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_ours(metadata) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = format!(
            "level={} pid={} message={} target=\"{}\" node_id={}{}\n",
            metadata.level().as_str().to_ascii_lowercase(),
            self.pid,
            always_quoted(&fields.message),
            metadata.target(),
            self.node_id,
            fields.rest,
        );
        // One write, so that lines of several processes do not mix. A full disk or a closed
        // terminal must not stop a validator.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else if !field.name().starts_with(JOURNAL_ONLY) {
            let _ = write!(self.rest, " {}={}", field.name(), quoted(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn quoted(value: &str) -> String {
    let plain = !value.is_empty()
        && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
    if plain { value.to_owned() } else { always_quoted(value) }
}

fn always_quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_for_the_journal_get_its_names_and_stay_out_of_logfmt() {
        struct Collect(std::sync::mpsc::Sender<(Entry, Fields)>);
        impl<S: Subscriber> Layer<S> for Collect {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let (mut entry, mut fields) = (Entry::default(), Fields::default());
                event.record(&mut entry);
                event.record(&mut fields);
                self.0.send((entry, fields)).unwrap();
            }
        }
        let (sender, collected) = std::sync::mpsc::channel();
        let subscriber = tracing_subscriber::registry().with(Collect(sender));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                journal_message_id = STATE_CHANGED,
                journal_state = %"Voting",
                journal_term = Some(7u64),
                journal_peer = None::<&str>,
                reason = "because",
                "two\nlines"
            );
        });
        let (entry, fields) = collected.recv().unwrap();
        let pairs: Vec<_> = entry.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("MESSAGE_ID", STATE_CHANGED),
                ("KNEARD_STATE", "Voting"),
                ("KNEARD_TERM", "7"),
                ("KNEARD_REASON", "because"),
            ]
        );
        assert_eq!(
            (entry.message.as_str(), fields.rest.as_str()),
            ("two\nlines", " reason=because")
        );
    }

    #[test]
    fn a_value_stays_on_its_line_and_inside_its_quotes() {
        assert_eq!(quoted("node-1"), "node-1");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(always_quoted("say \"no\"\nand\t\\"), "\"say \\\"no\\\"\\nand \\\\\"");
    }
}
