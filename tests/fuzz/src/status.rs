//! neard's answers: what decides is read as it stands, or the answer is refused.

use kneard::fuzzing::neard::{duties, gauge, status};
use serde_json::Value;

const ACCOUNT: &str = "a.near";

pub fn run(data: &[u8]) {
    match status(data) {
        Ok(status) => {
            // What is not read may be worse than JSON.
            let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
            let sync = match &value["sync_info"] {
                // The parser takes a list for a structure as well.
                Value::Array(fields) => (fields[0].as_bool(), fields[1].as_u64()),
                sync => (sync["syncing"].as_bool(), sync["latest_block_height"].as_u64()),
            };
            assert_eq!(sync, (Some(status.syncing), Some(status.head)));
            // "No key" is never read out of something else.
            let key = &value["validator_public_key"];
            let read = status.validator_public_key.as_ref().map(|key| key.as_str());
            assert_eq!(read, key.as_str());
            assert!(key.is_string() || key.is_null());
        }
        Err(why) => super::assert_one_line(&why),
    }
    match duties(data, ACCOUNT) {
        Ok(duties) => {
            let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
            // "Does not validate" is said by a list that it is not in.
            let validators = &value["result"]["current_validators"];
            let listed = validators.as_array().is_some_and(|validators| {
                validators.iter().any(|validator| validator["account_id"] == ACCOUNT)
            });
            assert_eq!(duties.is_some(), listed);
            assert!(validators.is_array());
        }
        Err(why) => super::assert_one_line(&why),
    }
    let text = String::from_utf8_lossy(data);
    let name = "near_largest_threshold_height";
    if let Some(value) = gauge(&text, name) {
        assert!(text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(name)
                && words.next().and_then(|word| word.parse().ok()) == Some(value)
        }));
    }
}
