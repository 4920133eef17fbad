//! The log: one logfmt line per event, on standard error.

use std::fmt::Write as _;
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging; every line names this node.
pub fn init(node_id: &str) {
    let layer = Logfmt { pid: std::process::id(), node_id: quoted(node_id) };
    tracing_subscriber::registry().with(layer.with_filter(LevelFilter::INFO)).init();
}

struct Logfmt {
    pid: u32,
    node_id: String,
}

impl<S: Subscriber> Layer<S> for Logfmt {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // Libraries have their own errors reported by those who call them.
        if !metadata.target().starts_with("kneard") {
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
        } else {
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
    use super::{always_quoted, quoted};

    #[test]
    fn a_value_stays_on_its_line_and_inside_its_quotes() {
        assert_eq!(quoted("node-1"), "node-1");
        assert_eq!(quoted("two words"), "\"two words\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(always_quoted("say \"no\"\nand\t\\"), "\"say \\\"no\\\"\\nand \\\\\"");
    }
}
