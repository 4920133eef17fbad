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

#[test]
fn a_planned_end_is_set_and_undone_to_the_byte() {
    for text in [
        "{ // mine\n  \"network\": {}, \"x\": 1.50 }\n",
        "{}",
        "/* { */ {\"network\":{}}",
        "{\"network\":{},\"expected_shutdown\" : null}",
        "{\"expected_shutdown\": 123, # by hand\n \"network\":{}}",
    ] {
        let (edited, before) = with_shutdown(text, 4567).unwrap();
        let value: Value = serde_json::from_str(&blank_comments(&edited)).unwrap();
        assert_eq!(value["expected_shutdown"], 4567, "{edited}");
        assert_eq!(without_shutdown(&edited, 4567, before.as_deref()).unwrap(), text);
        // An operator's own is not touched.
        assert_eq!(without_shutdown(&edited, 1, before.as_deref()).unwrap(), edited);
    }
    let twice = r#"{"network":{},"expected_shutdown":1,"expected_shutdown":2}"#;
    assert!(with_shutdown(twice, 3).unwrap_err().contains("twice"));
    // Printed anew meanwhile.
    let moved = "{\"network\": {},\n \"expected_shutdown\": 9}";
    let undone = without_shutdown(moved, 9, None).unwrap();
    assert_eq!(undone, moved.replace('9', "null"));
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
