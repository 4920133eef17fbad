//! Without a fuzzer: the corpus, and random changes to it.

use std::path::{Path, PathBuf};

use super::TARGETS;

/// Changed inputs for each target; `KNEARD_FUZZ_RUNS=n` for more.
const RUNS: u64 = 3_000;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a small bound")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A seed with a few changes, or with a piece of another one in it, or noise.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if self.below(10) == 0 {
            return (0..self.below(200)).map(|_| self.byte()).collect();
        }
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(4) {
            let at = self.below(input.len() + 1);
            match self.below(5) {
                0 if at < input.len() => input[at] = self.byte(),
                1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 => input.truncate(at),
                3 => input.insert(at, self.byte()),
                _ => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(20)).min(other.len());
                    input.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
        input
    }
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |file: PathBuf| (file.clone(), std::fs::read(file).expect("a seed"));
    files.into_iter().map(read).collect()
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let corpus = corpus(name);
    assert!(corpus.len() >= 3, "{name} has no corpus");
    for (file, seed) in &corpus {
        println!("{}", file.display());
        target(seed);
    }
    let seeds: Vec<Vec<u8>> = corpus.into_iter().map(|(_, seed)| seed).collect();
    let runs = std::env::var("KNEARD_FUZZ_RUNS").map_or(RUNS, |n| n.parse().expect("a number"));
    let mut random = Random(1);
    for run in 0..runs {
        let input = random.input(&seeds);
        let outcome = std::panic::catch_unwind(|| target(&input));
        assert!(outcome.is_ok(), "{name}, run {run}: {:?}", String::from_utf8_lossy(&input));
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_here() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

replays! {
    config consul_answer control_client control_server election guard key_file record status
}

/// The fuzzer starts from everything that the machine can do.
#[test]
fn the_elections_corpus_gets_everywhere() {
    let mut missing = super::election::KINDS.to_vec();
    for (file, seed) in corpus("election") {
        let reached = super::election::reach(&seed);
        println!("{}: {reached:?}", file.display());
        missing.retain(|kind| !reached.contains(kind));
    }
    assert!(missing.is_empty(), "no seed reaches {missing:?}");
}
