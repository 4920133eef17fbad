//! Whether a neard can be given the validator key while it runs.

use serde_json::Value;

use super::config::blank_comments;

/// The chains on which neard panics when it gets the key of a current validator while it tracks all
/// shards (nearcore `chain/client/src/client_actor.rs`, `check_validator_tracked_shards`).
const PUBLIC_CHAINS: [&str; 2] = ["mainnet", "testnet"];
/// The first release series that loads a validator key on SIGHUP.
const FIRST_MAJOR: u64 = 2;

/// What stands in the way in `config.json` (its `text`), as the end of a sentence that begins with
/// the file's name; `None` if nothing does.
pub(super) fn obstacle(text: &str, chain_id: &str, account: &str) -> Option<String> {
    if !PUBLIC_CHAINS.contains(&chain_id) {
        return None;
    }
    // Its form was checked when the home was opened.
    let config: Value = serde_json::from_str(&blank_comments(text)).unwrap_or_default();
    let wanted = format!(
        r#"set "tracked_shards_config": {{"ShadowValidator": "{account}"}} and, in "store", "load_mem_tries_for_tracked_shards": true, and restart kneard"#
    );
    if let Some(why) = wrong_shards(&config, chain_id, account) {
        return Some(format!("{why}; {wanted}"));
    }
    (config["store"]["load_mem_tries_for_tracked_shards"] != true).then(|| {
        format!(
            "does not have neard hold its shards in memory, as a validator needs them; {wanted}"
        )
    })
}

/// Why a neard with this `config.json` does not start, or ends itself when it gets the key of a
/// current validator in whatever way; `None` if nothing is known. As [`obstacle`].
pub(super) fn start_obstacle(text: &str, chain_id: &str, account: &str) -> Option<String> {
    /// Before `tracked_shards_config`; nearcore refuses both at once.
    const OLDER: [&str; 4] = [
        "tracked_shards",
        "tracked_accounts",
        "tracked_shadow_validator",
        "tracked_shard_schedule",
    ];
    let config: Value = serde_json::from_str(&blank_comments(text)).unwrap_or_default();
    if !config["tracked_shards_config"].is_null()
        && let Some(older) = OLDER.iter().find(|field| !config[**field].is_null())
    {
        return Some(format!(
            "has both \"tracked_shards_config\" and \"{older}\", with which neard does not start; \
             remove \"{older}\""
        ));
    }
    let all = PUBLIC_CHAINS.contains(&chain_id) && shadowed(&config).1;
    all.then(|| obstacle(text, chain_id, account)).flatten()
}

/// Whom neard follows, and whether it tracks all shards instead.
fn shadowed(config: &Value) -> (&Value, bool) {
    let tracked = &config["tracked_shards_config"];
    // Up to nearcore 2.6 two fields said this.
    if tracked.is_null() {
        let all = config["tracked_shards"].as_array().is_some_and(|shards| !shards.is_empty());
        (&config["tracked_shadow_validator"], all)
    } else {
        (&tracked["ShadowValidator"], tracked == "AllShards")
    }
}

fn wrong_shards(config: &Value, chain_id: &str, account: &str) -> Option<String> {
    let (shadowed, all) = shadowed(config);
    if all {
        return Some(format!(
            "has neard track all shards, with which it panics on {chain_id} when it gets the key"
        ));
    }
    match shadowed.as_str() {
        Some(shadowed) if shadowed == account => None,
        Some(other) => Some(format!("has neard follow the shards of {other}, not of {account}")),
        None => Some(format!("does not have neard follow the shards of {account}")),
    }
}

/// What stands in the way in neard's version, as a sentence; `None` if nothing does or it is not
/// known.
pub fn version_obstacle(version: &str) -> Option<String> {
    let major: u64 = version.split('.').next()?.parse().ok()?;
    (major < FIRST_MAJOR)
        .then(|| format!("neard {version} cannot load a key while it runs; update neard"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "pool.near";

    fn on_testnet(text: &str) -> Option<String> {
        obstacle(text, "testnet", ACCOUNT)
    }

    #[test]
    fn a_shadow_of_the_validator_with_its_shards_in_memory_is_ready() {
        for text in [
            r#"{"tracked_shards_config": {"ShadowValidator": "pool.near"}, // comment
                "store": {"load_mem_tries_for_tracked_shards": true}}"#,
            r#"{"tracked_shards": [], "tracked_shadow_validator": "pool.near",
                "store": {"load_mem_tries_for_tracked_shards": true}}"#,
        ] {
            assert_eq!(on_testnet(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_to_be_changed_is_said() {
        let store = r#""store": {"load_mem_tries_for_tracked_shards": true}"#;
        for (fields, why) in [
            (r#""tracked_shards_config": "AllShards","#, "track all shards"),
            (r#""tracked_shards": [0],"#, "track all shards"),
            (r#""tracked_shards_config": "NoShards","#, "does not have neard follow"),
            ("", "does not have neard follow"),
            (
                r#""tracked_shards_config": {"ShadowValidator": "other.near"},"#,
                "the shards of other.near, not of pool.near",
            ),
        ] {
            let said = on_testnet(&format!("{{{fields}{store}}}")).unwrap();
            assert!(said.contains(why), "{said}");
            assert!(said.contains(r#"{"ShadowValidator": "pool.near"}"#), "{said}");
        }
        let said = on_testnet(r#"{"tracked_shards_config": {"ShadowValidator": "pool.near"}}"#);
        assert!(said.unwrap().contains("in memory"));
    }

    #[test]
    fn what_ends_neard_is_said_in_every_mode() {
        let both = r#"{"tracked_shards_config": "AllShards", "tracked_shards": []}"#;
        let said = start_obstacle(both, "localnet", ACCOUNT).unwrap();
        assert!(said.ends_with(r#"remove "tracked_shards""#), "{said}");
        let all = r#"{"tracked_shards_config": "AllShards"}"#;
        assert!(start_obstacle(all, "mainnet", ACCOUNT).unwrap().contains("panics on mainnet"));
        assert_eq!(start_obstacle(all, "localnet", ACCOUNT), None);
        let none = r#"{"tracked_shards_config": "NoShards"}"#;
        assert_eq!(start_obstacle(none, "mainnet", ACCOUNT), None);
    }

    #[test]
    fn other_chains_do_not_panic() {
        assert_eq!(
            obstacle(r#"{"tracked_shards_config": "AllShards"}"#, "localnet", ACCOUNT),
            None
        );
    }

    #[test]
    fn versions_before_2_cannot() {
        assert!(version_obstacle("1.27.0 (build 1.27.0-standin)").is_some());
        for able in ["2.0.0", "2.13.1", "trunk", ""] {
            assert_eq!(version_obstacle(able), None, "{able}");
        }
    }
}
