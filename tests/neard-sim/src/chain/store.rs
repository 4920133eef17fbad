//! The blocks that a node keeps, in memory and in `<home>/data/chain.jsonl`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::chain::block::Block;
use crate::genesis::Genesis;
use crate::hash::Hash;

/// The file's name in the data directory.
pub const FILE: &str = "chain.jsonl";
/// Blocks kept at least; a node that is further behind begins anew at a peer's oldest.
const KEEP_MIN: u64 = 1_000;
const KEEP_MAX: u64 = 5_000;

/// A point of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    pub height: u64,
    pub hash: Hash,
    /// Wall clock of its producer, nanoseconds since 1970; 0 for the genesis.
    pub timestamp: u64,
}

/// The known blocks, and which of them are the chain.
#[derive(Debug)]
pub struct Store {
    blocks: HashMap<Hash, Rc<Block>>,
    /// The chain from the oldest kept block to the head.
    canonical: BTreeMap<u64, Hash>,
    genesis: Tip,
    head: Tip,
    keep: u64,
    file: Option<Log>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    lines: u64,
}

/// What became of a block that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is the new head.
    Head,
    /// Kept, but the head stays.
    Aside,
    /// It was there already, or is too old.
    Known,
    /// Its parent is missing.
    Orphan,
}

impl Store {
    /// An empty chain, in memory only.
    pub fn new(genesis: &Genesis) -> Self {
        let tip = Tip { height: genesis.height, hash: genesis.hash, timestamp: 0 };
        Self {
            blocks: HashMap::new(),
            canonical: BTreeMap::from([(tip.height, tip.hash)]),
            genesis: tip,
            head: tip,
            keep: genesis.epoch_length.saturating_mul(2).clamp(KEEP_MIN, KEEP_MAX),
            file: None,
        }
    }

    /// Opens the chain of a data directory and goes on where the last process stopped.
    pub fn open(genesis: &Genesis, data: &Path) -> io::Result<Self> {
        let mut store = Self::new(genesis);
        let path = data.join(FILE);
        let (mut lines, mut torn) = (0, false);
        if let Ok(file) = File::open(&path) {
            for line in BufReader::new(file).lines() {
                let Ok(block) = serde_json::from_str::<Block>(&line?) else {
                    // What a crash leaves; a peer has the block.
                    torn = true;
                    break;
                };
                lines += 1;
                if store.insert(block.clone())? == Inserted::Orphan {
                    store.restart_at(block)?;
                }
            }
        }
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        store.file = Some(Log { path, file, lines });
        if torn || lines > store.limit() {
            store.rewrite()?;
        }
        Ok(store)
    }

    /// The newest block of the chain.
    pub fn head(&self) -> Tip {
        self.head
    }

    /// The genesis.
    pub fn genesis(&self) -> Tip {
        self.genesis
    }

    /// Whether the block is kept.
    pub fn contains(&self, hash: &Hash) -> bool {
        *hash == self.genesis.hash || self.blocks.contains_key(hash)
    }

    /// The block of the chain at `height`; none where a height was skipped.
    pub fn at(&self, height: u64) -> Option<&Rc<Block>> {
        self.canonical.get(&height).and_then(|hash| self.blocks.get(hash))
    }

    /// A kept block, of the chain or beside it.
    pub fn get(&self, hash: &Hash) -> Option<&Rc<Block>> {
        self.blocks.get(hash)
    }

    /// The chain's blocks from `height` upwards.
    pub fn from(&self, height: u64) -> impl DoubleEndedIterator<Item = &Rc<Block>> {
        self.canonical.range(height..).filter_map(|(_, hash)| self.blocks.get(hash))
    }

    /// The lowest block kept.
    pub fn earliest(&self) -> Tip {
        match self.from(0).next() {
            Some(b) if !self.canonical.contains_key(&self.genesis.height) => {
                Tip { height: b.height, hash: b.hash(), timestamp: b.timestamp }
            }
            _ => self.genesis,
        }
    }

    /// Adds a checked block. The highest one is the head; of two at one height the first seen.
    pub fn insert(&mut self, block: Block) -> io::Result<Inserted> {
        let hash = block.hash();
        if self.contains(&hash) || block.height + self.keep < self.head.height {
            return Ok(Inserted::Known);
        }
        let parent_height =
            if block.prev == self.genesis.hash { Some(self.genesis.height) } else { None };
        let parent_height = parent_height.or(self.blocks.get(&block.prev).map(|b| b.height));
        match parent_height {
            None => return Ok(Inserted::Orphan),
            Some(height) if height != block.prev_height => return Ok(Inserted::Known),
            Some(_) => {}
        }
        self.write(&block)?;
        let new = Tip { height: block.height, hash, timestamp: block.timestamp };
        self.blocks.insert(hash, Rc::new(block));
        if new.height <= self.head.height {
            return Ok(Inserted::Aside);
        }
        self.adopt(new);
        self.prune()?;
        Ok(Inserted::Head)
    }

    /// Begins anew at a checked block far above the head, as a state sync does.
    pub fn restart_at(&mut self, block: Block) -> io::Result<()> {
        self.write(&block)?;
        let hash = block.hash();
        self.head = Tip { height: block.height, hash, timestamp: block.timestamp };
        self.canonical = BTreeMap::from([(block.height, hash)]);
        self.blocks = HashMap::from([(hash, Rc::new(block))]);
        Ok(())
    }

    fn adopt(&mut self, new: Tip) {
        let mut path = vec![(new.height, new.hash)];
        let mut at = new.hash;
        while let Some(block) = self.blocks.get(&at) {
            if self.canonical.get(&block.prev_height) == Some(&block.prev) {
                self.canonical.split_off(&(block.prev_height + 1));
                break;
            }
            path.push((block.prev_height, block.prev));
            at = block.prev;
        }
        self.canonical.extend(path);
        self.head = new;
    }

    /// Blocks at which the old ones are dropped: seldom, so that its cost does not count.
    fn limit(&self) -> u64 {
        self.keep + self.keep / 4
    }

    fn prune(&mut self) -> io::Result<()> {
        if self.blocks.len() as u64 <= self.limit() {
            return Ok(());
        }
        let oldest = self.head.height.saturating_sub(self.keep);
        self.canonical = self.canonical.split_off(&oldest);
        self.blocks.retain(|_, block| block.height >= oldest);
        self.rewrite()
    }

    fn write(&mut self, block: &Block) -> io::Result<()> {
        let Some(log) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(block)?;
        line.push(b'\n');
        log.lines += 1;
        log.file.write_all(&line)
    }

    /// Replaces the file by one with the chain's blocks only.
    fn rewrite(&mut self) -> io::Result<()> {
        let Some(mut log) = self.file.take() else { return Ok(()) };
        let new = log.path.with_extension("new");
        let mut out = BufWriter::new(File::create(&new)?);
        log.lines = 0;
        for block in self.from(0) {
            serde_json::to_writer(&mut out, block.as_ref())?;
            out.write_all(b"\n")?;
            log.lines += 1;
        }
        out.flush()?;
        fs::rename(&new, &log.path)?;
        log.file = OpenOptions::new().append(true).open(&log.path)?;
        self.file = Some(log);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::tests::of_nodes;
    use crate::keys::SecretKey;

    fn child(of: Tip, height: u64, timestamp: u64) -> Block {
        // The store trusts its caller to have checked signatures.
        let signature = SecretKey::from_test_seed("x").unwrap().sign(b"");
        Block {
            height,
            prev: of.hash,
            prev_height: of.height,
            producer: 0,
            timestamp,
            approvals: vec![],
            chunk: None,
            signature,
        }
    }

    #[test]
    fn a_higher_sibling_replaces_the_head_and_its_place_in_the_chain() {
        let genesis = of_nodes(4);
        let mut store = Store::new(&genesis);
        let root = store.head();
        assert_eq!(store.insert(child(root, 1, 1)).unwrap(), Inserted::Head);
        assert_eq!(store.insert(child(root, 2, 2)).unwrap(), Inserted::Head);
        assert!(store.at(1).is_none(), "the replaced block is no longer on the chain");
        assert_eq!(store.insert(child(root, 1, 9)).unwrap(), Inserted::Aside);
        assert_eq!(store.head().height, 2);
    }

    #[test]
    fn a_block_without_its_parent_is_an_orphan_and_may_begin_a_new_chain() {
        let genesis = of_nodes(4);
        let mut store = Store::new(&genesis);
        let lost = Tip { height: 99, hash: Hash::of(&[b"lost"]), timestamp: 0 };
        let block = child(lost, 100, 1);
        assert_eq!(store.insert(block.clone()).unwrap(), Inserted::Orphan);
        store.restart_at(block).unwrap();
        assert_eq!((store.head().height, store.earliest().height), (100, 100));
    }

    #[test]
    fn a_reopened_store_goes_on_and_drops_a_torn_line() {
        let genesis = of_nodes(4);
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&genesis, dir.path()).unwrap();
        for height in 1..=5 {
            let head = store.head();
            store.insert(child(head, height, height)).unwrap();
        }
        let head = store.head();
        drop(store);
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"height\":6,");
        fs::write(&path, bytes).unwrap();
        let mut store = Store::open(&genesis, dir.path()).unwrap();
        assert_eq!(store.head(), head);
        store.insert(child(head, 6, 6)).unwrap();
        drop(store);
        assert_eq!(Store::open(&genesis, dir.path()).unwrap().head().height, 6);
    }

    #[test]
    fn old_blocks_are_dropped_and_the_file_stays_small() {
        let genesis = of_nodes(4);
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&genesis, dir.path()).unwrap();
        for height in 1..=3_000 {
            let head = store.head();
            store.insert(child(head, height, height)).unwrap();
        }
        assert!(store.blocks.len() <= 1_250);
        let lines = fs::read_to_string(dir.path().join(FILE)).unwrap().lines().count();
        assert!(lines <= 1_250, "{lines}");
        assert!(store.earliest().height > 1);
        let reopened = Store::open(&genesis, dir.path()).unwrap();
        assert_eq!(reopened.head(), store.head());
    }
}
