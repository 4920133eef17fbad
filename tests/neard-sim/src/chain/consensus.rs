//! One node's part in the making of the chain. Pure but for the store and the signer's journal.

use std::collections::{BTreeMap, HashMap};
use std::io;

use serde::{Deserialize, Serialize};

use crate::chain::block::{
    Approval, Block, Chunk, Endorsement, Header, IncludedChunk, approval_hash, chunk_hash,
    endorsement_hash,
};
use crate::chain::signer::Signer;
use crate::chain::store::{Inserted, Store, Tip};
use crate::genesis::Genesis;
use crate::hash::Hash;
use crate::journal::Event;
use crate::keys::Signature;

/// Approvals are kept for at most this many heights: a halted chain must not fill the memory.
const APPROVED_HEIGHTS: usize = 500;
/// Chunks kept; each is of use only until the next block.
const CHUNKS: usize = 32;

/// What the consensus parts of two nodes say to each other. Passed on to all peers when new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gossip {
    Block(Block),
    Approval(Approval),
    Chunk(Chunk),
    Endorsement(Endorsement),
}

/// What became of a piece of gossip.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New and valid: to be passed on.
    New,
    /// Known, or of no use any more.
    Old,
    /// A block whose parent this node lacks: its sender has more.
    Orphan,
    /// Not valid; the sender is at fault.
    Invalid(&'static str),
}

/// The state of one node's consensus. Instants are milliseconds of any monotonic clock.
#[derive(Debug)]
pub struct Consensus {
    genesis: Genesis,
    pub store: Store,
    block_ms: u64,
    signer: Option<Signer>,
    /// When the head was adopted.
    head_since: u64,
    /// The height that this node approves next to its head.
    target: u64,
    skips: u64,
    next_skip: u64,
    /// Verified approvals by height and validator.
    approvals: BTreeMap<u64, HashMap<usize, (Hash, Signature)>>,
    /// The first chunk seen on a block, and its endorsements.
    chunks: HashMap<Hash, (Chunk, BTreeMap<usize, Signature>)>,
    /// Largest height that this home approved; never one height twice.
    approved: u64,
    /// See [`Self::largest_threshold`].
    largest_threshold: u64,
    /// Whether peers are known to be no further: else nothing is signed.
    in_sync: bool,
    out: Vec<Gossip>,
}

impl Consensus {
    /// Begins at the head of `store`. `approved` is the largest height that this home ever
    /// approved. Nothing is signed before [`Self::set_in_sync`].
    pub fn new(genesis: Genesis, store: Store, block_ms: u64, approved: u64, now: u64) -> Self {
        let target = store.head().height + 1;
        let mut consensus = Self {
            genesis,
            store,
            block_ms,
            signer: None,
            head_since: now,
            target,
            skips: 0,
            next_skip: 0,
            approvals: BTreeMap::new(),
            chunks: HashMap::new(),
            approved,
            largest_threshold: 0,
            in_sync: false,
            out: Vec::new(),
        };
        consensus.next_skip = now + consensus.skip_delay();
        consensus
    }

    /// The newest block.
    pub fn head(&self) -> Tip {
        self.store.head()
    }

    /// The chain's genesis.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The largest height approved, to be kept on disk before the approval is sent.
    pub fn approved(&self) -> u64 {
        self.approved
    }

    /// The largest height whose block this node could make: none of its blocks is higher.
    pub fn largest_threshold(&self) -> u64 {
        self.largest_threshold
    }

    /// The loaded key.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// The loaded key's place among the validators, if it has one.
    pub fn validator(&self) -> Option<usize> {
        let signer = self.signer.as_ref()?;
        self.genesis.position(&signer.account_id, &signer.public_key)
    }

    /// Takes a key into use, or out of use; gives back the former one.
    pub fn set_signer(&mut self, signer: Option<Signer>) -> Option<Signer> {
        std::mem::replace(&mut self.signer, signer)
    }

    /// Whether this node may sign, as far as its peers know.
    pub fn set_in_sync(&mut self, in_sync: bool) {
        self.in_sync = in_sync;
    }

    /// What is to be sent to all peers since the last call.
    pub fn take_out(&mut self) -> Vec<Gossip> {
        std::mem::take(&mut self.out)
    }

    /// What a new peer should hear, lest it miss a vote that was sent before it came.
    pub fn greeting(&self) -> Vec<Gossip> {
        let head = self.head();
        let mut all = Vec::new();
        for (target, votes) in self.approvals.range(head.height + 1..).rev().take(3) {
            for (validator, (prev, signature)) in votes {
                let (prev, signature) = (*prev, *signature);
                let approval = Approval { prev, target: *target, validator: *validator, signature };
                all.push(Gossip::Approval(approval));
            }
        }
        if let Some((chunk, votes)) = self.chunks.get(&head.hash) {
            let (hash, height) = (chunk.hash(), chunk.height);
            all.push(Gossip::Chunk(chunk.clone()));
            all.extend(votes.iter().map(|(&validator, &signature)| {
                Gossip::Endorsement(Endorsement { chunk: hash, height, validator, signature })
            }));
        }
        all
    }

    /// When [`Self::tick`] has something to do again.
    pub fn next_tick(&self) -> u64 {
        if self.may_approve() {
            return 0;
        }
        let block = self.head_since + self.block_ms;
        if self.ready_height().is_some() { block.min(self.next_skip) } else { self.next_skip }
    }

    /// Does what is due: approves, skips a silent producer, makes a block.
    pub fn tick(&mut self, now: u64) -> io::Result<()> {
        if now >= self.next_skip {
            self.skips += 1;
            self.target += 1;
            self.next_skip = now + self.skip_delay();
        }
        self.approve();
        self.largest_threshold = self.largest_threshold.max(self.ready_height().unwrap_or(0));
        self.produce(now)
    }

    /// Takes a message from a peer.
    pub fn hear(&mut self, now: u64, gossip: &Gossip) -> io::Result<Verdict> {
        let verdict = match gossip {
            Gossip::Block(block) => self.hear_block(now, block)?,
            Gossip::Approval(approval) => self.hear_approval(now, approval),
            Gossip::Chunk(chunk) => self.hear_chunk(chunk),
            Gossip::Endorsement(endorsement) => self.hear_endorsement(endorsement),
        };
        if verdict == Verdict::New {
            self.tick(now)?;
        }
        Ok(verdict)
    }

    /// Begins anew at a block far above the head, which a peer sent as its oldest.
    pub fn jump_to(&mut self, now: u64, block: &Block) -> io::Result<Verdict> {
        if block.height <= self.head().height {
            return Ok(Verdict::Old);
        }
        if let Err(why) = block.check(&self.genesis, |_, _| false) {
            return Ok(Verdict::Invalid(why));
        }
        self.store.restart_at(block.clone())?;
        self.on_head(now);
        Ok(Verdict::New)
    }

    /// The delay until the producer of `target` counts as silent. Grows, so that nodes that
    /// lost each other do not run ahead in height.
    fn skip_delay(&self) -> u64 {
        match self.skips {
            0 => self.block_ms * 17 / 10,
            n => self.block_ms * (2 + n).min(8) / 2,
        }
    }

    fn hear_block(&mut self, now: u64, block: &Block) -> io::Result<Verdict> {
        if self.store.contains(&block.hash()) {
            return Ok(Verdict::Old);
        }
        let votes = self.approvals.get(&block.height);
        let known = |who: usize, signature: &Signature| {
            votes.and_then(|v| v.get(&who)).is_some_and(|v| *v == (block.prev, *signature))
        };
        if let Err(why) = block.check(&self.genesis, known) {
            return Ok(Verdict::Invalid(why));
        }
        Ok(match self.store.insert(block.clone())? {
            Inserted::Head => {
                self.on_head(now);
                Verdict::New
            }
            Inserted::Aside => Verdict::New,
            Inserted::Known => Verdict::Old,
            Inserted::Orphan => Verdict::Orphan,
        })
    }

    fn hear_approval(&mut self, now: u64, approval: &Approval) -> Verdict {
        let Approval { prev, target, validator, signature } = *approval;
        let Some(who) = self.genesis.validators.get(validator) else {
            return Verdict::Invalid("an approval by nobody");
        };
        if target <= self.head().height {
            return Verdict::Old;
        }
        let known = self.approvals.get(&target).and_then(|votes| votes.get(&validator));
        if known.is_some_and(|(known_prev, _)| *known_prev == prev) {
            return Verdict::Old;
        }
        if !who.public_key.verifies(&approval_hash(&prev, target).0, &signature) {
            return Verdict::Invalid("an approval's signature is wrong");
        }
        self.store_approval(approval);
        self.catch_up_with_skips(now);
        Verdict::New
    }

    fn store_approval(&mut self, approval: &Approval) {
        let votes = self.approvals.entry(approval.target).or_default();
        // A second word on one height, by a second process with the key, replaces the first
        // one only if that was about a block which is not our head.
        let head = self.store.head().hash;
        if votes.get(&approval.validator).is_none_or(|(prev, _)| *prev != head) {
            votes.insert(approval.validator, (approval.prev, approval.signature));
        }
        while self.approvals.len() > APPROVED_HEIGHTS {
            self.approvals.pop_first();
        }
    }

    /// When more than a third already skipped beyond our target, follows them: else nodes
    /// whose timers differ, after a restart for instance, would never approve one height.
    fn catch_up_with_skips(&mut self, now: u64) {
        let head = self.head().hash;
        let mut ahead: Vec<usize> = Vec::new();
        for (target, votes) in self.approvals.range(self.target + 1..).rev() {
            let voters = votes.iter().filter(|(_, (prev, _))| *prev == head).map(|(who, _)| *who);
            ahead.extend(voters);
            ahead.sort_unstable();
            ahead.dedup();
            if self.genesis.is_blocking(ahead.iter().copied()) {
                self.target = *target;
                self.skips += 1;
                self.next_skip = now + self.skip_delay();
                return;
            }
        }
    }

    fn hear_chunk(&mut self, chunk: &Chunk) -> Verdict {
        if chunk.height <= self.head().height || self.chunks.contains_key(&chunk.prev) {
            return Verdict::Old;
        }
        if let Err(why) = chunk.check(&self.genesis) {
            return Verdict::Invalid(why);
        }
        self.add_chunk(chunk.clone());
        Verdict::New
    }

    fn add_chunk(&mut self, chunk: Chunk) {
        if self.chunks.len() >= CHUNKS {
            let head = self.head().height;
            self.chunks.retain(|_, (chunk, _)| chunk.height > head);
        }
        self.chunks.insert(chunk.prev, (chunk.clone(), BTreeMap::new()));
        let Some(validator) = self.validator().filter(|_| self.in_sync) else { return };
        let Some(signer) = &self.signer else { return };
        let (hash, height) = (chunk.hash(), chunk.height);
        let digest = endorsement_hash(&hash);
        let signature = signer.sign(Event::Endorsement, height, &digest);
        let endorsement = Endorsement { chunk: hash, height, validator, signature };
        if let Some((_, votes)) = self.chunks.get_mut(&chunk.prev) {
            votes.insert(validator, signature);
        }
        self.out.push(Gossip::Endorsement(endorsement));
    }

    fn hear_endorsement(&mut self, endorsement: &Endorsement) -> Verdict {
        let Endorsement { chunk: hash, validator, signature, .. } = *endorsement;
        let found = self.chunks.values_mut().find(|(chunk, _)| chunk.hash() == hash);
        let (Some((_, votes)), Some(who)) = (found, self.genesis.validators.get(validator)) else {
            return Verdict::Old;
        };
        if votes.contains_key(&validator) {
            return Verdict::Old;
        }
        if !who.public_key.verifies(&endorsement_hash(&hash).0, &signature) {
            return Verdict::Invalid("an endorsement's signature is wrong");
        }
        votes.insert(validator, signature);
        Verdict::New
    }

    fn on_head(&mut self, now: u64) {
        let head = self.head();
        self.head_since = now;
        // A height that this home approved on another block is lost for this one: go past it,
        // and do not wait for time-outs to get there.
        self.target = (head.height + 1).max(self.approved + 1);
        self.skips = 0;
        self.next_skip = now + self.skip_delay();
        self.approvals = self.approvals.split_off(&(head.height + 1));
        self.chunks.retain(|_, (chunk, _)| chunk.height > head.height);
        self.make_chunk(head);
    }

    /// Only when a block arrives, as in nearcore: a key that is loaded later does not make
    /// the chunk on a block that an earlier holder may have served already.
    fn make_chunk(&mut self, head: Tip) {
        let height = head.height + 1;
        let producer = self.genesis.chunk_producer(height);
        if self.validator() != Some(producer) || !self.in_sync {
            return;
        }
        let Some(signer) = &self.signer else { return };
        if self.chunks.contains_key(&head.hash) {
            return;
        }
        let made = crate::clock::unix_ns();
        let hash = chunk_hash(&head.hash, height, producer, made);
        let signature = signer.sign(Event::Chunk, height, &hash);
        let chunk = Chunk { prev: head.hash, height, producer, made, signature };
        self.out.push(Gossip::Chunk(chunk.clone()));
        self.add_chunk(chunk);
    }

    fn may_approve(&self) -> bool {
        self.in_sync && self.target > self.approved && self.validator().is_some()
    }

    fn approve(&mut self) {
        let target = self.target;
        let Some(validator) = self.validator().filter(|_| self.may_approve()) else { return };
        let Some(signer) = &self.signer else { return };
        self.approved = target;
        let prev = self.store.head().hash;
        let signature = signer.sign(Event::Approval, target, &approval_hash(&prev, target));
        let approval = Approval { prev, target, validator, signature };
        self.store_approval(&approval);
        self.out.push(Gossip::Approval(approval));
    }

    /// The lowest height above the head that is ours and has its quorum.
    fn ready_height(&self) -> Option<u64> {
        let me = self.validator().filter(|_| self.in_sync)?;
        let head = self.head();
        let mut heights = self.approvals.range(head.height + 1..);
        let found = heights.find(|(height, votes)| {
            let approving = votes.iter().filter(|(_, (prev, _))| *prev == head.hash);
            self.genesis.block_producer(**height) == me
                && self.genesis.is_quorum(approving.map(|(who, _)| *who))
        });
        found.map(|(height, _)| *height)
    }

    fn produce(&mut self, now: u64) -> io::Result<()> {
        if now < self.head_since + self.block_ms {
            return Ok(());
        }
        let (Some(height), Some(producer)) = (self.ready_height(), self.validator()) else {
            return Ok(());
        };
        let head = self.head();
        let votes = self.approvals.get(&height).into_iter().flatten();
        let mut approvals: Vec<(usize, Signature)> = votes
            .filter(|(_, (prev, _))| *prev == head.hash)
            .map(|(who, (_, signature))| (*who, *signature))
            .collect();
        approvals.sort_unstable_by_key(|(who, _)| *who);
        let chunk = self.chunks.get(&head.hash).and_then(|(chunk, votes)| {
            let endorsements = votes.iter().map(|(who, s)| (*who, *s)).collect();
            self.genesis
                .is_quorum(votes.keys().copied())
                .then(|| IncludedChunk { chunk: chunk.clone(), endorsements })
        });
        let timestamp = crate::clock::unix_ns();
        let header = Header {
            height,
            prev: &head.hash,
            producer,
            timestamp,
            approvals: &approvals,
            chunk: chunk.as_ref(),
        };
        let hash = header.hash();
        let Some(signer) = &self.signer else { return Ok(()) };
        let signature = signer.sign(Event::Block, height, &hash);
        let (prev, prev_height) = (head.hash, head.height);
        let block =
            Block { height, prev, prev_height, producer, timestamp, approvals, chunk, signature };
        // On disk before it is sent: a restarted process does not make it a second time.
        if self.store.insert(block.clone())? == Inserted::Head {
            self.out.push(Gossip::Block(block));
            self.on_head(now);
            self.approve();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "consensus_test.rs"]
mod tests;
