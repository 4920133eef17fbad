//! `config.json`: an edit sets two values, and every other byte of every field stays where it is;
//! the file is the old one or the new one.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kneard::fuzzing::neard::{blank_comments, config, with_network};
use kneard::neard::home::{Home, Role};
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

pub fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let addr: SocketAddr =
        if choice & 1 == 0 { "0.0.0.0:24567" } else { "[::1]:1" }.parse().unwrap();
    let public: Vec<String> = match choice >> 1 & 3 {
        0 => Vec::new(),
        1 => vec!["ed25519:abc@1.2.3.4:24567".to_owned()],
        2 => vec!["\"".to_owned(), "\\\u{e9}//".to_owned()],
        _ => vec![String::new(); 3],
    };

    let blanked = blank_comments(text);
    assert_eq!(blanked.len(), text.len());
    let read = config(text);
    match with_network(text, &addr, &public) {
        Ok(edited) => {
            check_edit(text, &edited, &addr, &public);
            assert_eq!(with_network(&edited, &addr, &public).as_ref(), Ok(&edited), "twice");
            assert_eq!(config(&edited), read, "other things are read");
        }
        Err(why) => super::assert_one_line(&why),
    }
    match read {
        Ok((validator, node)) => {
            for name in [validator.as_str(), node.as_str()] {
                assert!(Path::new(name).file_name().is_some_and(|file| file == name), "{name:?}");
            }
            if choice & 8 != 0 {
                check_file(text, addr);
            }
        }
        Err(why) => super::assert_one_line(&why),
    }
}

type Fields<'a> = Vec<(String, &'a RawValue)>;

/// The fields of an object as they stand, doubled ones too.
fn fields(text: &str) -> Fields<'_> {
    struct InOrder;
    impl<'de> Visitor<'de> for InOrder {
        type Value = Fields<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
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
    let fields = deserializer.deserialize_map(InOrder).expect("an object");
    deserializer.end().expect("nothing after it");
    fields
}

fn check_edit(before: &str, after: &str, addr: &SocketAddr, public: &[String]) {
    let (before, after) = (blank_comments(before), blank_comments(after));
    let (before, after) = (fields(&before), fields(&after));
    let network = |fields: &Fields<'_>| {
        let position = fields.iter().position(|(name, _)| name == "network");
        position.expect("a network")
    };
    let (at, same_place) = (network(&before), network(&after));
    assert_eq!(at, same_place);
    let texts = |fields: &[(String, &RawValue)]| -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
    };
    assert_eq!(texts(&before[..at]), texts(&after[..at]));
    assert_eq!(texts(&before[at + 1..]), texts(&after[at + 1..]));

    let (before, after) = (fields(before[at].1.get()), fields(after[at].1.get()));
    let others = |fields: &Fields<'_>| -> Vec<(String, String)> {
        let mut others = texts(fields);
        others.retain(|(name, _)| !["addr", "public_addrs"].contains(&name.as_str()));
        others
    };
    assert_eq!(others(&before), others(&after));
    let value = |name: &str| {
        let mut values = after.iter().filter(|(field, _)| field == name);
        let value = values.next().map(|(_, value)| value.get());
        assert!(values.next().is_none(), "{name} twice");
        value
    };
    let now: String = serde_json::from_str(value("addr").expect("addr")).expect("a string");
    assert_eq!(now, addr.to_string());
    match value("public_addrs") {
        Some(text) => assert_eq!(serde_json::from_str::<Vec<String>>(text).unwrap(), public),
        None => assert!(public.is_empty()),
    }
}

thread_local! {
    /// A home in memory.
    static HOME: RefCell<Option<(tempfile::TempDir, PathBuf)>> = const { RefCell::new(None) };
}

/// A home with this `config.json` is prepared or refused; its file is the old text or the new one,
/// and nothing is left beside it.
fn check_file(text: &str, addr: SocketAddr) {
    HOME.with_borrow_mut(|made| {
        let (dir, key) = made.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
            let dir = tempfile::tempdir_in(parent).unwrap();
            let key = dir.path().join("operators-key");
            std::fs::write(&key, "{}").unwrap();
            std::fs::create_dir(dir.path().join("home")).unwrap();
            (dir, key)
        });
        let home = dir.path().join("home");
        let file = home.join("config.json");
        std::fs::write(&file, text).unwrap();
        let role = Role::Standby {
            validator_key: key.clone(),
            node_key: None,
            network_addr: addr,
            public_address: None,
        };
        let prepared = Home::open(&home).and_then(|home| home.prepare(&role));
        let after = std::fs::read_to_string(&file).unwrap();
        match prepared {
            Ok(()) => assert_eq!(Ok(after), with_network(text, &addr, &[])),
            Err(error) => {
                super::assert_one_line(&error.to_string());
                assert_eq!(after, text, "changed in spite of {error}");
            }
        }
        let beside = std::fs::read_dir(&home).unwrap().count();
        assert_eq!(beside, 1, "something is left beside config.json");
    });
}
