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

/// Where `part`, a piece of `whole`, stands in it.
fn place(part: &str, whole: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn addr() -> SocketAddr {
        "0.0.0.0:24567".parse().unwrap()
    }

    #[test]
    fn only_the_two_values_change() {
        let text = r#"{
  // written by hand
  "genesis_file": "genesis.json", /* "network": {} */
  "gas": 340282366920938463463374607431768211455,
  "rate": 1.0e-3,  "rpc": {"addr": "0.0.0.0:3030", "cors": ["*"]},
  "network": {
    "boot_nodes": "", # none yet
    "addr": "0.0.0.0:1", "big": 18446744073709551616.50,
    "public_addrs": [ ]
  },
  "unknown": "\u00e9 // no comment \" {"
}
"#;
        let announced = ["ed25519:abc@1.2.3.4:24567".to_owned()];
        let edited = with_network(text, &addr(), &announced).unwrap();
        let expected = text
            .replace("0.0.0.0:1\"", "0.0.0.0:24567\"")
            .replace("[ ]", r#"["ed25519:abc@1.2.3.4:24567"]"#);
        assert_eq!(edited, expected);
        assert_eq!(with_network(&edited, &addr(), &announced).unwrap(), edited);
    }

    #[test]
    fn comments_are_blanked_outside_of_strings_only() {
        for (text, blanked) in [
            ("{} // é\n1", "{}      \n1"),
            ("{} # a \" b\n1", "{}        \n1"),
            ("a/* \"x\n*/b", "a     \n  b"),
            ("/*/ 1 */2", "        2"),
            (r#""http://x # /* \" // " /1"#, r#""http://x # /* \" // " /1"#),
            ("1 /* no end", "1          "),
        ] {
            assert_eq!(blank_comments(text), blanked, "{text}");
        }
    }

    #[test]
    fn missing_fields_are_added_and_null_ones_replaced() {
        let announced = ["k@1.2.3.4:1".to_owned()];
        let edit = |text| with_network(text, &addr(), &announced).unwrap();
        let added = r#""addr":"0.0.0.0:24567","public_addrs":["k@1.2.3.4:1"]"#;
        assert_eq!(edit(r#"{"network":{}}"#), format!("{{\"network\":{{{added}}}}}"));
        assert_eq!(
            edit(r#"{"network": { "x": 1 }}"#),
            format!("{{\"network\": {{{added}, \"x\": 1 }}}}")
        );
        assert_eq!(
            edit(r#"{"network":{"addr":null,"public_addrs":null}}"#),
            format!("{{\"network\":{{{added}}}}}")
        );
    }

    #[test]
    fn an_empty_list_is_not_added_and_equal_values_are_left_as_written() {
        let text = r#"{"network":{"addr" : "0.0.0.0\u003a24567"}}"#;
        assert_eq!(with_network(text, &addr(), &[]).unwrap(), text);
    }

    #[test]
    fn what_kneard_reads_has_neards_defaults() {
        let config = NeardConfig::read(r#"{"network":{},"rpc":{}}"#).unwrap();
        assert_eq!(
            config,
            NeardConfig {
                rpc_addr: Some("0.0.0.0:3030".parse().unwrap()),
                validator_key_file: "validator_key.json".to_owned(),
                node_key_file: "node_key.json".to_owned(),
                allow_private_ip_in_public_addrs: false,
            }
        );
        let without = NeardConfig::read(r#"{"network":{}}"#).unwrap();
        assert_eq!(without, config);
        let config = NeardConfig::read(
            r#"{"network":{"allow_private_ip_in_public_addrs":true},"rpc":null,
                "validator_key_file":"v.json","node_key_file":"n.json"}"#,
        );
        assert_eq!(
            config.unwrap(),
            NeardConfig {
                rpc_addr: None,
                validator_key_file: "v.json".to_owned(),
                node_key_file: "n.json".to_owned(),
                allow_private_ip_in_public_addrs: true,
            }
        );
    }

    #[test]
    fn what_is_no_config_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("{} trailing", "is not JSON"),
            ("[1]", "is not a JSON object"),
            ("null", "is not a JSON object"),
            ("{}", "has no object \"network\""),
            (r#"{"network":7}"#, "has no object \"network\""),
            (r#"{"network":null}"#, "has no object \"network\""),
            (r#"{"network":{},"network":{}}"#, "has the field \"network\" twice"),
            (r#"{"network":{},"rpc":3}"#, "has an \"rpc\" that is not an object"),
            (r#"{"network":{},"rpc":{"addr":"here"}}"#, "is not ADDRESS:PORT"),
            (r#"{"network":{},"validator_key_file":"../v.json"}"#, "outside of the home"),
            (r#"{"network":{},"node_key_file":"/etc/n.json"}"#, "outside of the home"),
            (r#"{"network":{},"node_key_file":5}"#, "not a string"),
        ] {
            let error = NeardConfig::read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error:?} does not say {why:?}");
            assert!(!error.contains('\n'), "more than a line: {error}");
        }
        let twice = r#"{"network":{"addr":"a","addr":"b"}}"#;
        assert!(with_network(twice, &addr(), &[]).unwrap_err().contains("twice"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    fn any_fields() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::vec((any::<String>(), any_json()), 0..6)
            .prop_map(|fields| fields.into_iter().collect())
    }

    /// The config's top-level fields with `network` somewhere among them, `addr` and
    /// `public_addrs` somewhere in that or not at all.
    fn any_config() -> impl Strategy<Value = Value> {
        let owned = (prop::option::of(any_json()), prop::option::of(any_json()));
        (any_fields(), any_fields(), any_fields(), any_fields(), owned).prop_map(
            |(mut before, after, mut network, network_after, (addr, public_addrs))| {
                if let Some(addr) = addr {
                    network.insert("addr".to_owned(), addr);
                }
                network.extend(network_after);
                if let Some(public_addrs) = public_addrs {
                    network.insert("public_addrs".to_owned(), public_addrs);
                }
                before.insert("network".to_owned(), network.into());
                before.extend(after);
                before.into()
            },
        )
    }

    fn others(map: &Map<String, Value>) -> Vec<(String, String)> {
        map.iter()
            .filter(|(name, _)| !matches!(name.as_str(), "addr" | "public_addrs"))
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect()
    }

    proptest! {
        #[test]
        fn any_config_keeps_every_other_field_and_its_place(
            config in any_config(),
            pretty: bool,
            announced in prop::collection::vec("[a-z0-9:@.\"\\\\]{0,12}", 0..3),
        ) {
            let text = if pretty {
                serde_json::to_string_pretty(&config).unwrap()
            } else {
                config.to_string()
            };
            let edited = with_network(&text, &addr(), &announced).unwrap();
            let after: Value = serde_json::from_str(&edited).unwrap();

            let network = &after["network"];
            prop_assert_eq!(&network["addr"], &json!(addr().to_string()));
            if network.get("public_addrs").is_some() || !announced.is_empty() {
                prop_assert_eq!(&network["public_addrs"], &json!(announced));
            }
            // Compared as text, so that no number changes its form; and in order.
            let before: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(
                others(before["network"].as_object().unwrap()),
                others(network.as_object().unwrap())
            );
            let around = |config: &Value| {
                let mut config = config.clone();
                config["network"] = Value::Null;
                config.to_string()
            };
            prop_assert_eq!(around(&before), around(&after));
            prop_assert_eq!(with_network(&edited, &addr(), &announced).unwrap(), edited);
        }

        #[test]
        fn any_text_is_edited_or_refused_but_never_panics(text: String) {
            let _ = with_network(&text, &addr(), &[]);
            let _ = NeardConfig::read(&text);
            prop_assert_eq!(blank_comments(&text).len(), text.len());
        }

        #[test]
        fn comments_anywhere_between_tokens_stay(
            comment in prop_oneof![
                Just("/* é \" */"), Just("// \"network\": {}\n"), Just("# x\n"), Just("/***/")
            ]
        ) {
            let text = format!(
                "{comment}{{{comment}\"network\"{comment}:{comment}{{{comment}\"addr\":{comment}\"x\"\
                 {comment}}}{comment}}}{comment}"
            );
            let edited = with_network(&text, &addr(), &[]).unwrap();
            prop_assert_eq!(edited, text.replace("\"x\"", "\"0.0.0.0:24567\""));
        }
    }
}
