//! Whole chains in virtual time: nodes whose messages arrive after a set delay.

use std::collections::BTreeSet;

use super::*;
use crate::genesis::tests::of_nodes;
use crate::keys::{KeyFile, SecretKey};

struct Net {
    nodes: Vec<Consensus>,
    now: u64,
    delay: u64,
    /// (arrival, from, to, message)
    flying: Vec<(u64, usize, usize, Gossip)>,
    cut: BTreeSet<usize>,
}

fn key_of(seed: &str) -> KeyFile {
    let key = SecretKey::from_test_seed(seed).unwrap();
    KeyFile { account_id: seed.to_owned(), key }
}

impl Net {
    fn new(n: usize) -> Self {
        let genesis = of_nodes(n);
        let nodes = (0..n)
            .map(|i| {
                let store = Store::new(&genesis);
                let mut node = Consensus::new(genesis.clone(), store, 600, 0, 0);
                node.set_signer(Some(Signer::load(key_of(&format!("node{i}")), None)));
                node.set_in_sync(true);
                node
            })
            .collect();
        Self { nodes, now: 0, delay: 10, flying: vec![], cut: BTreeSet::new() }
    }

    fn send(&mut self, from: usize) {
        let out = self.nodes[from].take_out();
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.cut.contains(&from) || self.cut.contains(&to) {
                continue;
            }
            let flying = out.iter().map(|gossip| (self.now + self.delay, from, to, gossip.clone()));
            self.flying.extend(flying);
        }
    }

    fn run_for(&mut self, ms: u64) {
        for _ in 0..ms / 5 {
            self.now += 5;
            let (due, later) =
                std::mem::take(&mut self.flying).into_iter().partition(|m| m.0 <= self.now);
            self.flying = later;
            let due: Vec<_> = due;
            for (_, _, to, gossip) in due {
                if !self.cut.contains(&to) {
                    let verdict = self.nodes[to].hear(self.now, &gossip).unwrap();
                    assert!(!matches!(verdict, Verdict::Invalid(_)), "{verdict:?}");
                    self.send(to);
                }
            }
            for i in 0..self.nodes.len() {
                if self.now >= self.nodes[i].next_tick() {
                    self.nodes[i].tick(self.now).unwrap();
                }
                self.send(i);
            }
        }
    }

    fn heights(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.head().height).collect()
    }
}

#[test]
fn four_validators_make_a_block_every_600_ms_and_none_is_skipped() {
    let mut net = Net::new(4);
    net.run_for(60_000);
    let heights = net.heights();
    let (low, high) = (heights.iter().min().unwrap(), heights.iter().max().unwrap());
    assert!(*low >= 90 && high - low <= 1, "{heights:?}");
    for height in 1..=*low {
        let block = net.nodes[0].store.at(height).expect("a skipped height");
        assert!(height == 1 || block.chunk.is_some(), "no chunk at {height}");
    }
}

#[test]
fn a_silent_validators_heights_are_skipped_and_the_rest_goes_on() {
    let mut net = Net::new(4);
    net.nodes[3].set_signer(None);
    net.run_for(60_000);
    let low = *net.heights().iter().min().unwrap();
    assert!(low >= 60, "{:?}", net.heights());
    assert!((1..=low).all(|h| net.nodes[0].store.at(h).is_some() == (h % 4 != 3)));
}

#[test]
fn a_node_that_is_cut_off_makes_no_block_and_the_others_go_on() {
    let mut net = Net::new(4);
    net.run_for(6_000);
    net.cut.insert(0);
    net.run_for(500);
    let before = net.heights();
    net.run_for(30_000);
    let after = net.heights();
    assert!(after[0] <= before[0] + 1, "{before:?} {after:?}");
    assert!(after[1] >= before[1] + 30, "{before:?} {after:?}");
}

#[test]
fn two_of_four_halt_and_go_on_when_a_third_returns() {
    let mut net = Net::new(4);
    net.run_for(6_000);
    net.cut.extend([2, 3]);
    net.run_for(60_000);
    let halted = net.heights()[0];
    assert!(halted <= 11, "{halted}");
    net.cut.remove(&2);
    // What a new connection does: each tells the other what it knows.
    for (from, to) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        let head = net.nodes[from].head();
        let block = net.nodes[from].store.get(&head.hash).map(|b| (**b).clone());
        let greeting = net.nodes[from].greeting();
        for gossip in block.map(Gossip::Block).into_iter().chain(greeting) {
            net.flying.push((net.now + 10, from, to, gossip));
        }
    }
    net.run_for(30_000);
    assert!(net.heights()[0] >= halted + 10, "{:?}", net.heights());
}

#[test]
fn a_single_validator_needs_nobody() {
    let mut net = Net::new(1);
    net.run_for(30_000);
    assert!(net.heights()[0] >= 48, "{:?}", net.heights());
}

#[test]
fn a_node_out_of_sync_signs_nothing() {
    let mut net = Net::new(1);
    net.nodes[0].set_in_sync(false);
    net.run_for(10_000);
    assert_eq!(net.heights(), [0]);
    assert!(net.nodes[0].take_out().is_empty());
}

#[test]
fn no_height_is_approved_twice_even_after_a_restart() {
    let genesis = of_nodes(4);
    let mut node = Consensus::new(genesis.clone(), Store::new(&genesis), 600, 5, 0);
    node.set_signer(Some(Signer::load(key_of("node0"), None)));
    node.set_in_sync(true);
    node.tick(1).unwrap();
    assert!(node.take_out().is_empty(), "heights up to 5 were approved by an earlier process");
}

#[test]
fn a_forged_block_is_refused() {
    let mut net = Net::new(4);
    net.run_for(3_000);
    let head = net.nodes[0].head();
    let mut block = (**net.nodes[0].store.get(&head.hash).unwrap()).clone();
    block.timestamp += 1;
    let verdict = net.nodes[1].hear(net.now, &Gossip::Block(block.clone())).unwrap();
    assert_eq!(verdict, Verdict::Invalid("the producer's signature is wrong"));
    block.approvals.truncate(2);
    assert!(matches!(
        net.nodes[1].hear(net.now, &Gossip::Block(block)).unwrap(),
        Verdict::Invalid(_)
    ));
}

#[test]
fn a_key_loaded_after_a_block_arrived_makes_no_chunk_on_it() {
    let mut net = Net::new(4);
    net.run_for(6_000);
    let next_is_ours = |net: &Net| (net.nodes[3].head().height + 2) % 4 == 3;
    while next_is_ours(&net) {
        net.run_for(5);
    }
    let file = net.nodes[3].set_signer(None).unwrap();
    while !next_is_ours(&net) {
        net.run_for(5);
    }
    let head = net.nodes[3].head();
    net.nodes[3].set_signer(Some(file));
    net.run_for(100);
    assert_eq!(net.nodes[3].head(), head);
    assert!(!net.nodes[0].chunks.contains_key(&head.hash));
}
