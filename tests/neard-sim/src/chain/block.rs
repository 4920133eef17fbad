//! What is signed and sent: approvals, chunks, endorsements and blocks.

use serde::{Deserialize, Serialize};

use crate::genesis::Genesis;
use crate::hash::Hash;
use crate::keys::Signature;

/// A validator's word that the block at `target` shall extend `prev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub prev: Hash,
    pub target: u64,
    pub validator: usize,
    pub signature: Signature,
}

/// What an approval signs. Two processes that agree on the chain sign the same bytes.
pub fn approval_hash(prev: &Hash, target: u64) -> Hash {
    Hash::of(&[b"approval", &prev.0, &target.to_le_bytes()])
}

/// The one shard's part of a block: empty, but made and signed by its own producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The block on which the chunk builds.
    pub prev: Hash,
    /// One above the height of `prev`, whichever block includes the chunk in the end.
    pub height: u64,
    pub producer: usize,
    /// Differs with every making, as a real chunk's content would.
    pub made: u64,
    pub signature: Signature,
}

impl Chunk {
    /// What the producer signs and the validators endorse.
    pub fn hash(&self) -> Hash {
        chunk_hash(&self.prev, self.height, self.producer, self.made)
    }
}

/// The hash of a chunk with these contents.
pub fn chunk_hash(prev: &Hash, height: u64, producer: usize, made: u64) -> Hash {
    Hash::of(&[
        b"chunk",
        &prev.0,
        &height.to_le_bytes(),
        &(producer as u64).to_le_bytes(),
        &made.to_le_bytes(),
    ])
}

/// A validator's word that a chunk is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    pub chunk: Hash,
    pub height: u64,
    pub validator: usize,
    pub signature: Signature,
}

/// What an endorsement signs.
pub fn endorsement_hash(chunk: &Hash) -> Hash {
    Hash::of(&[b"endorsement", &chunk.0])
}

/// A chunk inside a block, with the endorsements of two thirds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncludedChunk {
    pub chunk: Chunk,
    pub endorsements: Vec<(usize, Signature)>,
}

/// A block of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub height: u64,
    pub prev: Hash,
    pub prev_height: u64,
    pub producer: usize,
    /// Wall clock of the producer, nanoseconds since 1970.
    pub timestamp: u64,
    /// Approvals of (`prev`, `height`) by more than two thirds.
    pub approvals: Vec<(usize, Signature)>,
    pub chunk: Option<IncludedChunk>,
    pub signature: Signature,
}

/// The signed part of a block.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    pub height: u64,
    pub prev: &'a Hash,
    pub producer: usize,
    pub timestamp: u64,
    pub approvals: &'a [(usize, Signature)],
    pub chunk: Option<&'a IncludedChunk>,
}

impl Header<'_> {
    /// The block's hash, which is what its producer signs.
    pub fn hash(&self) -> Hash {
        let mut approvals = Vec::with_capacity(self.approvals.len());
        for (who, signature) in self.approvals {
            approvals.extend_from_slice(&(*who as u64).to_le_bytes());
            approvals.extend_from_slice(signature.as_bytes());
        }
        let mut chunk = Vec::new();
        if let Some(included) = self.chunk {
            chunk.extend_from_slice(&included.chunk.hash().0);
            for (who, _) in &included.endorsements {
                chunk.extend_from_slice(&(*who as u64).to_le_bytes());
            }
        }
        Hash::of(&[
            b"block",
            &self.height.to_le_bytes(),
            &self.prev.0,
            &(self.producer as u64).to_le_bytes(),
            &self.timestamp.to_le_bytes(),
            &approvals,
            &chunk,
        ])
    }
}

impl Block {
    /// The block's hash.
    pub fn hash(&self) -> Hash {
        Header {
            height: self.height,
            prev: &self.prev,
            producer: self.producer,
            timestamp: self.timestamp,
            approvals: &self.approvals,
            chunk: self.chunk.as_ref(),
        }
        .hash()
    }

    /// Checks everything that needs no knowledge of other blocks: whose turn it was, the
    /// signatures, the quorums. `known` says which approvals were verified before.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub fn check(
        &self,
        genesis: &Genesis,
        known: impl Fn(usize, &Signature) -> bool,
    ) -> Result<(), &'static str> {
        if self.height <= self.prev_height {
            return Err("not above its parent");
        }
        if self.producer != genesis.block_producer(self.height) {
            return Err("made by a validator whose turn it was not");
        }
        let key = &genesis.validators[self.producer].public_key;
        if !key.verifies(&self.hash().0, &self.signature) {
            return Err("the producer's signature is wrong");
        }
        let approved = approval_hash(&self.prev, self.height);
        check_votes(genesis, &self.approvals, &approved, known)?;
        let Some(included) = &self.chunk else { return Ok(()) };
        included.chunk.check(genesis)?;
        if included.chunk.prev != self.prev {
            return Err("its chunk builds on another block");
        }
        let endorsed = endorsement_hash(&included.chunk.hash());
        check_votes(genesis, &included.endorsements, &endorsed, |_, _| false)
    }
}

impl Chunk {
    /// Checks whose turn it was and the signature.
    pub fn check(&self, genesis: &Genesis) -> Result<(), &'static str> {
        if self.producer != genesis.chunk_producer(self.height) {
            return Err("a chunk by a validator whose turn it was not");
        }
        let key = &genesis.validators[self.producer].public_key;
        if key.verifies(&self.hash().0, &self.signature) {
            Ok(())
        } else {
            Err("a chunk's signature")
        }
    }
}

fn check_votes(
    genesis: &Genesis,
    votes: &[(usize, Signature)],
    of: &Hash,
    known: impl Fn(usize, &Signature) -> bool,
) -> Result<(), &'static str> {
    // Strictly ascending: nobody votes twice.
    if !votes.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Err("its votes are not in order");
    }
    if !genesis.is_quorum(votes.iter().map(|(who, _)| *who)) {
        return Err("fewer than two thirds voted for it");
    }
    for (who, signature) in votes {
        let Some(validator) = genesis.validators.get(*who) else {
            return Err("a vote by nobody");
        };
        if !known(*who, signature) && !validator.public_key.verifies(&of.0, signature) {
            return Err("a vote's signature is wrong");
        }
    }
    Ok(())
}
