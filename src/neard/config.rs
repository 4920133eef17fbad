//! neard's `config.json`: read the few fields that kneard needs, change the two that it owns, and
//! leave every other byte as it is: unknown fields, order, number formats, white space, comments
//! (neard accepts `//`, `#` and `/* */`).
//!
//! The text is never printed anew. The parser only says where a value stands, and the new value is
//! put there.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;

/// neard's own defaults (nearcore, `nearcore/src/config.rs`).
const DEFAULT_RPC_ADDR: &str = "0.0.0.0:3030";
const DEFAULT_VALIDATOR_KEY_FILE: &str = "validator_key.json";
const DEFAULT_NODE_KEY_FILE: &str = "node_key.json";

/// What kneard reads of `config.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NeardConfig {
    /// `None` if neard serves no RPC.
    pub rpc_addr: Option<SocketAddr>,
    /// A name in the home, without folders.
    pub validator_key_file: String,
    /// A name in the home, without folders.
    pub node_key_file: String,
    pub allow_private_ip_in_public_addrs: bool,
}

/// The text with comments blanked out, byte for byte as long as the original, so that a place in
/// the one is the same place in the other.
pub(super) fn blank_comments(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    blank_comments_in(&mut bytes);
    // Only whole characters were replaced; text it stays.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same in place, so that no copy of a secret is made.
pub(super) fn blank_comments_in(text: &mut [u8]) {
    #[derive(Clone, Copy)]
    enum State {
        Code,
        String,
        /// After a backslash in a string.
        Escaped,
        Line,
        Block,
    }
    let mut state = State::Code;
    let mut place = 0;
    while let Some(&byte) = text.get(place) {
        let next = text.get(place + 1).copied();
        // What follows belongs to it.
        let mut pair = false;
        let (after, is_comment) = match (state, byte) {
            (State::Code, b'#') => (State::Line, true),
            (State::Code, b'/') if next == Some(b'/') => (State::Line, true),
            (State::Code, b'/') if next == Some(b'*') => {
                pair = true;
                (State::Block, true)
            }
            (State::Code, b'"') | (State::Escaped, _) => (State::String, false),
            (State::String, b'"') => (State::Code, false),
            (State::String, b'\\') => (State::Escaped, false),
            (State::Line, b'\n') => (State::Code, true),
            (State::Block, b'*') if next == Some(b'/') => {
                pair = true;
                (State::Code, true)
            }
            (State::Line | State::Block, _) => (state, true),
            (State::Code | State::String, _) => (state, false),
        };
        let length = if pair { 2 } else { 1 };
        if is_comment {
            for byte in text[place..place + length].iter_mut().filter(|byte| **byte != b'\n') {
                *byte = b' ';
            }
        }
        (state, place) = (after, place + length);
    }
}

/// The whole of it, for those who only show a part; null if it cannot be read.
pub(crate) fn parse_config(text: &str) -> serde_json::Value {
    serde_json::from_str(&blank_comments(text)).unwrap_or_default()
}

/// An object's fields in order, each value as the piece of text it is.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer.deserialize_map(Fields)?;
        deserializer.end()?;
        Ok(Self(fields))
    }

    /// The value of a field, `None` if it is missing or null.
    fn get(&self, name: &str) -> Result<Option<&'a RawValue>, String> {
        let mut values = self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| *value);
        let value = values.next();
        if values.next().is_some() {
            return Err(format!("has the field \"{name}\" twice; keep one"));
        }
        Ok(value.filter(|value| value.get() != "null"))
    }

    /// Whether the field is there, be it null.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    fn string(&self, name: &str) -> Result<Option<String>, String> {
        self.get(name)?
            .map(|value| {
                serde_json::from_str(value.get())
                    .map_err(|_| format!("has a \"{name}\" that is not a string; correct it"))
            })
            .transpose()
    }
}

fn root(blanked: &str) -> Result<Object<'_>, String> {
    if blanked.trim_ascii_start().starts_with('{') {
        Object::parse(blanked).map_err(|error| format!("is not JSON: {error}; correct it"))
    } else if serde_json::from_str::<serde::de::IgnoredAny>(blanked).is_ok() {
        Err("is not a JSON object; run neard init".to_owned())
    } else {
        Err("is not JSON; run neard init".to_owned())
    }
}

fn network<'a>(root: &Object<'a>) -> Result<(&'a RawValue, Object<'a>), String> {
    const MISSING: &str = "has no object \"network\"; run neard init";
    let value = root.get("network")?.ok_or(MISSING)?;
    let object = Object::parse(value.get()).map_err(|_| MISSING)?;
    Ok((value, object))
}

impl NeardConfig {
    /// # Errors
    /// The end of a sentence that begins with the file's name.
    pub fn read(text: &str) -> Result<Self, String> {
        let blanked = blank_comments(text);
        let root = root(&blanked)?;
        let (_, network) = network(&root)?;
        let addr = match root.get("rpc")? {
            // To neard "not there" is the default, and null is none.
            None if root.has("rpc") => None,
            None => Some(DEFAULT_RPC_ADDR.to_owned()),
            Some(rpc) => {
                let addr = Object::parse(rpc.get())
                    .map_err(|_| "has an \"rpc\" that is not an object; correct it")?
                    .string("addr")?;
                Some(addr.unwrap_or_else(|| DEFAULT_RPC_ADDR.to_owned()))
            }
        };
        let rpc_addr = addr
            .map(|addr| {
                addr.parse().map_err(|_| {
                    format!("has an rpc.addr {addr:?} that is not ADDRESS:PORT; correct it")
                })
            })
            .transpose()?;
        let allow_private = network.get("allow_private_ip_in_public_addrs")?;
        Ok(Self {
            rpc_addr,
            validator_key_file: file_name(&root, "validator_key_file", DEFAULT_VALIDATOR_KEY_FILE)?,
            node_key_file: file_name(&root, "node_key_file", DEFAULT_NODE_KEY_FILE)?,
            allow_private_ip_in_public_addrs: allow_private
                .is_some_and(|value| value.get() == "true"),
        })
    }
}

/// A key file's name. kneard swaps the file in the home; one elsewhere it could not keep its
/// promise about.
fn file_name(root: &Object<'_>, field: &str, default: &str) -> Result<String, String> {
    let name = root.string(field)?.unwrap_or_else(|| default.to_owned());
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(format!("has a {field} {name:?} outside of the home; set it to {default:?}"));
    }
    Ok(name)
}

/// `text` with `network.addr` and `network.public_addrs` set; exactly `text` if they say so
/// already.
///
/// # Errors
/// As [`NeardConfig::read`].
pub(super) fn with_network(
    text: &str,
    addr: &SocketAddr,
    public_addrs: &[String],
) -> Result<String, String> {
    let blanked = blank_comments(text);
    let root = root(&blanked)?;
    let (value, network) = network(&root)?;
    let wanted = [
        ("addr", serde_json::json!(addr.to_string())),
        ("public_addrs", serde_json::json!(public_addrs)),
    ];

    // From the last place to the first, so that an edit does not move the ones still to come.
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let mut missing: Vec<String> = Vec::new();
    for (field, wanted) in wanted {
        // Not `get`: a null has a place too.
        match network.0.iter().find(|(name, _)| name == field) {
            Some((_, present)) => {
                network.get(field)?;
                if serde_json::from_str::<serde_json::Value>(present.get()).ok().as_ref()
                    != Some(&wanted)
                {
                    edits.push((place(present.get(), &blanked), wanted.to_string()));
                }
            }
            // "Not there" and "empty" are the same to neard.
            None if wanted == serde_json::json!([]) => {}
            None => missing.push(format!("\"{field}\":{wanted}")),
        }
    }
    if !missing.is_empty() {
        let mut missing = missing.join(",");
        if !network.0.is_empty() {
            missing.push(',');
        }
        let after_brace = place(value.get(), &blanked).start + 1;
        edits.push((after_brace..after_brace, missing));
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut edited = text.to_owned();
    for (range, replacement) in edits {
        edited.replace_range(range, &replacement);
    }
    Ok(edited)
}

const SHUTDOWN: &str = "expected_shutdown";

/// `text` with neard's end at this height, and what [`without_shutdown`] needs to undo that: the
/// field's value as it was written, `None` if there was no field.
///
/// # Errors
/// As [`NeardConfig::read`].
pub(super) fn with_shutdown(text: &str, height: u64) -> Result<(String, Option<String>), String> {
    let blanked = blank_comments(text);
    let root = root(&blanked)?;
    root.get(SHUTDOWN)?;
    let mut edited = text.to_owned();
    if let Some((_, present)) = root.0.iter().find(|(name, _)| name == SHUTDOWN) {
        edited.replace_range(place(present.get(), &blanked), &height.to_string());
        return Ok((edited, Some(present.get().to_owned())));
    }
    let comma = if root.0.is_empty() { "" } else { "," };
    edited.insert_str(after_brace(&blanked), &format!("{}{comma}", added_shutdown(height)));
    Ok((edited, None))
}

/// `text` as it was before [`with_shutdown`] set this height; exactly `text` if it says something
/// else by now.
///
/// # Errors
/// As [`NeardConfig::read`].
pub(super) fn without_shutdown(
    text: &str,
    height: u64,
    before: Option<&str>,
) -> Result<String, String> {
    let blanked = blank_comments(text);
    let root = root(&blanked)?;
    let mut edited = text.to_owned();
    let Some(present) = root.get(SHUTDOWN)?.filter(|value| value.get() == height.to_string())
    else {
        return Ok(edited);
    };
    let start = after_brace(&blanked);
    let added = added_shutdown(height);
    if before.is_none() && blanked[start..].starts_with(&added) {
        let comma = usize::from(blanked[start + added.len()..].starts_with(','));
        edited.replace_range(start..start + added.len() + comma, "");
    } else {
        edited.replace_range(place(present.get(), &blanked), before.unwrap_or("null"));
    }
    Ok(edited)
}

fn added_shutdown(height: u64) -> String {
    format!("\"{SHUTDOWN}\":{height}")
}

/// The place after the brace that opens the root, which [`root`] has found to be an object.
fn after_brace(blanked: &str) -> usize {
    blanked.find('{').map_or(0, |brace| brace + 1)
}

/// Where `part`, a piece of `whole`, stands in it.
fn place(part: &str, whole: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests;
