//! `genesis.json`: the chain's name and its validators, who take turns for ever.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::strip_comments;
use crate::hash::Hash;
use crate::keys::PublicKey;
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

/// The content of a new chain's `genesis.json`, with the fields of nearcore 2.x.
pub fn new_json(chain_id: &str, epoch_length: u64, shards: u64, validators: &[Validator]) -> Value {
    let records: Vec<Value> = validators
        .iter()
        .map(|v| {
            json!({"Account": {"account_id": v.account_id, "account": {
                "amount": "950000000000000000000000000000000", "locked": v.stake.to_string(),
                "code_hash": "11111111111111111111111111111111", "storage_usage": 0,
                "version": "V1"}}})
        })
        .collect();
    json!({
        "protocol_version": version::PROTOCOL,
        "genesis_time": clock::rfc3339(clock::unix_ns()),
        "chain_id": chain_id,
        "genesis_height": 0,
        "num_block_producer_seats": 50,
        "num_block_producer_seats_per_shard": vec![50; shards as usize],
        "avg_hidden_validator_seats_per_shard": vec![0; shards as usize],
        "dynamic_resharding": false,
        "protocol_upgrade_stake_threshold": [4, 5],
        "epoch_length": epoch_length,
        "gas_limit": 1_000_000_000_000_000_u64,
        "min_gas_price": "100000000",
        "max_gas_price": "10000000000000000000000",
        "block_producer_kickout_threshold": 90,
        "chunk_producer_kickout_threshold": 90,
        "online_min_threshold": [9, 10],
        "online_max_threshold": [99, 100],
        "gas_price_adjustment_rate": [1, 100],
        "validators": validators,
        "transaction_validity_period": 100,
        "protocol_reward_rate": [1, 10],
        "max_inflation_rate": [1, 20],
        "total_supply": "4000000000000000000000000000000000",
        "num_blocks_per_year": 31_536_000,
        "protocol_treasury_account": "near",
        "fishermen_threshold": "10000000000000000000000000",
        "minimum_stake_divisor": 10,
        "shard_layout": {"V0": {"num_shards": shards, "version": 0}},
        "num_chunk_only_producer_seats": 300,
        "minimum_validators_per_shard": 1,
        "max_kickout_stake_perc": 100,
        "minimum_stake_ratio": [1, 6250],
        "use_production_config": false,
        "records": records
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::keys::SecretKey;

    /// A genesis of `n` equal validators `node0`, `node1`, … with nearcore's test keys.
    pub fn of_nodes(n: usize) -> Genesis {
        let validators: Vec<Validator> = (0..n)
            .map(|i| Validator {
                account_id: format!("node{i}"),
                public_key: SecretKey::from_test_seed(&format!("node{i}")).unwrap().public(),
                stake: LOCALNET_STAKE,
            })
            .collect();
        Genesis::parse(&new_json("localnet", 500, 1, &validators).to_string()).unwrap()
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
        let text = new_json("localnet", 500, 1, &[]).to_string();
        assert!(Genesis::parse(&text).unwrap_err().contains("no validators"));
    }
}
