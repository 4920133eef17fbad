//! One fault, from a healthy cluster to a healthy cluster.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    cluster::{Beat, Cluster, beat},
    figures::Round,
    journal::{Hold, Journal},
    options::Job,
    scenario::Scenario,
    support::{
        netns::NetNs,
        random::Random,
        signatures::longest_silence,
        tail::Tail,
        wait::{boot_time, millis, secs, wait_until},
    },
};

/// Beyond the lease: a restart of neard with its sync.
const PATIENCE: Duration = secs(60);
/// A signer keeps the key or loses it within a lease; then it signs every block.
const AFTER: Duration = secs(5);
/// Blocks that are looked at beyond the first signature: a height that was missed shows when the
/// next block is there.
const MORE_BLOCKS: u64 = 3;

pub fn play(cluster: &mut Cluster, job: &Job, number: u32, random: &mut Random) -> Round {
    cluster.get_ready();
    // At any moment between two beats and two blocks.
    thread::sleep(random.time(0..=1_200));
    let struck = cluster.holder;
    let standby = cluster.nodes[cluster.standby()].home();
    let homes = cluster.homes();
    let height = cluster.chain_height().expect("the chain answers");
    let beats = (job.scenario == Scenario::LeaderLoss).then(|| Beats::watch(cluster));
    let start = boot_time();
    job.scenario.strike(cluster);
    if job.scenario.moves_the_key() {
        let bound = secs(job.lease_s) + PATIENCE;
        let mut signed = signatures(&standby);
        wait_slowly(bound, &format!("{job}: the standby signs"), || signed.newest() > Some(start));
    } else {
        let end = start + secs(job.lease_s) + AFTER;
        thread::sleep(end.saturating_sub(boot_time()));
        let mut tails: Vec<_> = homes.iter().map(|home| signatures(home)).collect();
        wait_slowly(PATIENCE, &format!("{job}: somebody signs"), || {
            tails.iter_mut().any(|signed| signed.newest() > Some(end))
        });
    }
    let no_beat = beats.map(Beats::longest_gap);
    let end = boot_time();
    let last = cluster.chain_height().expect("the chain answers") + MORE_BLOCKS;
    wait_slowly(secs(30), "the chain goes on", || cluster.chain_height() >= Some(last));
    let missed = cluster.missed(height + 1, last - 1).len();
    let journal = Journal::read(&homes);
    let mut round = Round {
        job: *job,
        number,
        old_ends_ms: None,
        new_has_key_ms: None,
        new_signs_ms: None,
        silence_ms: ms(longest_silence(&homes, start, end)),
        missed,
        ends: 0,
        moved: false,
        no_beat_ms: no_beat.map(ms),
        violations: journal.violations(),
    };
    judge(&mut round, &journal, &standby, start);
    job.scenario.heal(cluster, struck);
    round
}

fn signatures(home: &Path) -> Tail {
    Tail::new(home.join("signatures.log"))
}

fn judge(round: &mut Round, journal: &Journal, standby: &Path, start: Duration) {
    let after = |at: Duration| ms(at) - ms(start);
    let holds = journal.since(start);
    round.ends = holds.len();
    round.moved = holds.iter().any(|hold| hold.home == standby);
    if !round.job.scenario.moves_the_key() {
        return;
    }
    let old = journal.holder(start);
    let new = holds.into_iter().find(|hold| hold.home == standby);
    round.old_ends_ms = old.map(|hold| after(hold.end()));
    round.new_has_key_ms = new.map(|hold| after(hold.start()));
    round.new_signs_ms = new.and_then(Hold::first_signature).map(after);
    if let (Some(last), Some(first)) =
        (old.and_then(Hold::last_signature), new.and_then(Hold::first_signature))
    {
        round.silence_ms = ms(first) - ms(last);
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What is measured is in the logs: looking for it must not take the time of those who write them.
fn wait_slowly(bound: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(bound, what, || {
        if holds() {
            return Some(());
        }
        thread::sleep(millis(100));
        None
    });
}

/// Watches the election's record on every server, for the span in which no beat gets there.
struct Beats {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<BTreeMap<Beat, Duration>>>,
}

impl Beats {
    fn watch(cluster: &Cluster) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watch = |(host, address): (NetNs, SocketAddr)| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                host.enter();
                let mut sights = BTreeMap::new();
                while !over.load(Ordering::Relaxed) {
                    if let Some(beat) = beat(address) {
                        sights.entry(beat).or_insert_with(boot_time);
                    }
                    thread::sleep(millis(20));
                }
                sights
            })
        };
        let threads = cluster.servers().into_iter().map(watch).collect();
        Self { over, threads }
    }

    fn longest_gap(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        let mut first: BTreeMap<Beat, Duration> = BTreeMap::new();
        for thread in self.threads {
            for (beat, at) in thread.join().expect("the record was watched") {
                first.entry(beat).and_modify(|first| *first = at.min(*first)).or_insert(at);
            }
        }
        let mut times: Vec<_> = first.into_values().collect();
        times.push(boot_time());
        times.sort();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}
