//! `genesis.json`: the chain's name and its validators, who take turns for ever.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::strip_comments;
use crate::hash::Hash;
use crate::keys::{PublicKey, SecretKey};
use crate::{clock, version};

/// The stake of each validator of a localnet, in yoctoNEAR, as nearcore sets it.
pub const LOCALNET_STAKE: u128 = 50_000_000 * 1_000_000_000_000_000_000_000_000;

/// One validator of the genesis.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Validator {
    pub account_id: String,
    pub public_key: PublicKey,
    /// In yoctoNEAR; decides its weight in every quorum.
    #[serde(rename = "amount", with = "decimal")]
    pub stake: u128,
}

/// nearcore writes balances as decimal strings, because JSON numbers are too small.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[derive(Deserialize)]
struct Raw {
    chain_id: String,
    #[serde(default)]
    genesis_time: Value,
    #[serde(default)]
    genesis_height: u64,
    epoch_length: u64,
    validators: Vec<Validator>,
}

/// What all nodes of a chain agree on from the start.
#[derive(Debug, Clone)]
pub struct Genesis {
    pub chain_id: String,
    pub height: u64,
    /// In blocks; the validators stay the same, only the counters start anew.
    pub epoch_length: u64,
    pub validators: Vec<Validator>,
    /// Identifies the chain; nodes of another genesis are not talked to.
    pub hash: Hash,
}

impl Genesis {
    /// Reads `genesis.json`.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path)
            .map_err(|e| format!("Failed to read genesis config file {}: {e}", path.display()))?;
        Self::parse(&text)
            .map_err(|e| format!("Failed to deserialize the genesis {}: {e}", path.display()))
    }

    /// Reads the content of `genesis.json`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(&strip_comments(text)).map_err(|e| e.to_string())?;
        if raw.validators.is_empty() {
            return Err("no validators".to_owned());
        }
        if raw.epoch_length == 0 {
            return Err("epoch_length is 0".to_owned());
        }
        let identity = json!([
            raw.chain_id,
            raw.genesis_time,
            raw.genesis_height,
            raw.epoch_length,
            raw.validators
        ]);
        Ok(Self {
            hash: Hash::of(&[b"genesis", identity.to_string().as_bytes()]),
            chain_id: raw.chain_id,
            height: raw.genesis_height,
            epoch_length: raw.epoch_length,
            validators: raw.validators,
        })
    }

    /// Whose turn the block at `height` is.
    pub fn block_producer(&self, height: u64) -> usize {
        (height % self.validators.len() as u64) as usize
    }

    /// Who makes the chunk that extends the block below `height`. Another one than the block's
    /// producer, so that a missing chunk and a missing block can be told apart.
    pub fn chunk_producer(&self, height: u64) -> usize {
        self.block_producer(height + 1)
    }

    /// The position of the validator with both this account and this key.
    pub fn position(&self, account_id: &str, key: &PublicKey) -> Option<usize> {
        self.validators.iter().position(|v| v.account_id == account_id && v.public_key == *key)
    }

    fn stake_of(&self, who: impl Iterator<Item = usize>) -> (u128, u128) {
        let total = self.validators.iter().map(|v| v.stake).sum();
        (who.filter_map(|i| self.validators.get(i)).map(|v| v.stake).sum(), total)
    }

    /// Whether these validators (each named once) hold more than two thirds of the stake.
    pub fn is_quorum(&self, who: impl Iterator<Item = usize>) -> bool {
        let (stake, total) = self.stake_of(who);
        stake * 3 > total * 2
    }

    /// Whether these validators hold more than a third, so that one of them is honest.
    pub fn is_blocking(&self, who: impl Iterator<Item = usize>) -> bool {
        let (stake, total) = self.stake_of(who);
        stake * 3 > total
    }

    /// The first height of the epoch to which `height` belongs.
    pub fn epoch_start(&self, height: u64) -> u64 {
        height - (height.saturating_sub(self.height)) % self.epoch_length
    }
}

/// What a new chain's `genesis.json` depends on.
#[derive(Debug)]
pub struct NewGenesis<'a> {
    pub chain_id: &'a str,
    pub epoch_length: u64,
    pub shards: u64,
    pub validators: &'a [Validator],
    /// Accounts without a stake.
    pub others: &'a [(String, PublicKey)],
    pub block_producer_seats: u64,
    pub treasury: &'a str,
}

/// The liquid balance and the stake together of every account of a new chain, in yoctoNEAR.
const BALANCE: u128 = 1_000_000_000 * 1_000_000_000_000_000_000_000_000;
/// The account that every chain has, with the key that nearcore gives it in tests.
const TREASURY: &str = "near";

impl NewGenesis<'_> {
    /// The file's content, with the fields of nearcore 2.13.
    ///
    /// # Errors
    /// No key can be made.
    pub fn to_json(&self) -> Result<Value, String> {
        let treasury_key = SecretKey::from_test_seed(TREASURY)?.public();
        let accounts: Vec<(&str, PublicKey, u128)> = self
            .validators
            .iter()
            .map(|v| (v.account_id.as_str(), v.public_key, v.stake))
            .chain(self.others.iter().map(|(name, key)| (name.as_str(), *key, 0)))
            .chain([(TREASURY, treasury_key, 0)])
            .collect();
        let records: Vec<Value> = accounts
            .iter()
            .flat_map(|(name, key, stake)| {
                [
                    json!({"Account": {"account_id": name, "account": {
                        "amount": (BALANCE - stake).to_string(), "locked": stake.to_string(),
                        "code_hash": "11111111111111111111111111111111", "storage_usage": 0,
                        "version": "V1"}}}),
                    json!({"AccessKey": {"account_id": name, "public_key": key,
                        "access_key": {"nonce": 0, "permission": "FullAccess"}}}),
                ]
            })
            .collect();
        let supply = BALANCE * accounts.len() as u128;
        let indices = 0..self.shards;
        let index_map: serde_json::Map<String, Value> =
            indices.clone().map(|i| (i.to_string(), json!(i))).collect();
        let boundaries: Vec<String> = (1..self.shards).map(|i| format!("test{i}")).collect();
        Ok(json!({
            "protocol_version": version::PROTOCOL,
            "genesis_time": clock::rfc3339(clock::unix_ns()),
            "chain_id": self.chain_id,
            "genesis_height": 0,
            "num_block_producer_seats": self.block_producer_seats,
            "dynamic_resharding": false,
            "protocol_upgrade_stake_threshold": [4, 5],
            "epoch_length": self.epoch_length,
            "gas_limit": 1_000_000_000_000_000_u64,
            "min_gas_price": "100000000",
            "max_gas_price": "10000000000000000000000",
            "block_producer_kickout_threshold": 90,
            "chunk_producer_kickout_threshold": 90,
            "chunk_validator_only_kickout_threshold": 80,
            "target_validator_mandates_per_shard": 68,
            "online_min_threshold": [9, 10],
            "online_max_threshold": [99, 100],
            "gas_price_adjustment_rate": [1, 100],
            "validators": self.validators,
            "transaction_validity_period": 100,
            "protocol_reward_rate": [1, 10],
            "max_inflation_rate": [1, 20],
            "total_supply": supply.to_string(),
            "num_blocks_per_year": 31_536_000,
            "protocol_treasury_account": self.treasury,
            "fishermen_threshold": "10000000000000000000000000",
            "minimum_stake_divisor": 10,
            "shard_layout": {"V2": {
                "boundary_accounts": boundaries,
                "shard_ids": indices.collect::<Vec<u64>>(),
                "id_to_index_map": index_map,
                "index_to_id_map": index_map,
                "shards_split_map": null,
                "shards_parent_map": null,
                "version": 0
            }},
            "minimum_validators_per_shard": 1,
            "max_kickout_stake_perc": 100,
            "minimum_stake_ratio": [1, 6250],
            "shuffle_shard_assignment_for_chunk_producers": false,
            "use_production_config": false,
            "num_chunk_producer_seats": 100,
            "num_chunk_validator_seats": 300,
            "chunk_producer_assignment_changes_limit": 5,
            "records": records
        }))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A genesis of `n` equal validators `node0`, `node1`, … with nearcore's test keys.
    pub fn of_nodes(n: usize) -> Genesis {
        let validators: Vec<Validator> = (0..n)
            .map(|i| Validator {
                account_id: format!("node{i}"),
                public_key: SecretKey::from_test_seed(&format!("node{i}")).unwrap().public(),
                stake: LOCALNET_STAKE,
            })
            .collect();
        Genesis::parse(&of(&validators).to_string()).unwrap()
    }

    fn of(validators: &[Validator]) -> Value {
        let new = NewGenesis {
            chain_id: "localnet",
            epoch_length: 500,
            shards: 1,
            validators,
            others: &[],
            block_producer_seats: 4,
            treasury: TREASURY,
        };
        new.to_json().unwrap()
    }

    #[test]
    fn the_supply_is_what_the_records_hold() {
        let genesis = of(&[Validator {
            account_id: "node0".into(),
            public_key: SecretKey::from_test_seed("node0").unwrap().public(),
            stake: LOCALNET_STAKE,
        }]);
        let number = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
        let accounts = genesis["records"].as_array().unwrap().iter();
        let accounts = accounts.filter_map(|record| record.get("Account"));
        let held: u128 = accounts
            .map(|a| number(&a["account"]["amount"]) + number(&a["account"]["locked"]))
            .sum();
        assert_eq!(held, number(&genesis["total_supply"]));
    }

    #[test]
    fn three_of_four_are_a_quorum_and_two_are_not() {
        let genesis = of_nodes(4);
        assert!(genesis.is_quorum([0, 1, 2].into_iter()));
        assert!(!genesis.is_quorum([0, 1].into_iter()));
        assert!(genesis.is_blocking([0, 1].into_iter()));
        assert!(!genesis.is_blocking([3].into_iter()));
    }

    #[test]
    fn epochs_start_at_multiples_of_their_length() {
        let genesis = of_nodes(1);
        assert_eq!(genesis.epoch_start(499), 0);
        assert_eq!(genesis.epoch_start(500), 500);
        assert_eq!(genesis.epoch_start(1234), 1000);
    }

    #[test]
    fn a_genesis_without_validators_is_refused() {
        assert!(Genesis::parse(&of(&[]).to_string()).unwrap_err().contains("no validators"));
    }
}
