//! Waiting for a condition, with a bound, and the clock that all measurements share.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

/// Probes until it yields something; panics with `what` once `bound` has passed.
pub fn wait_until<T>(bound: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    poll(bound, Duration::from_millis(10), &mut probe)
        .unwrap_or_else(|| panic!("not within {bound:?}: {what}"))
}

/// As [`wait_until`], for what is measured: probes every 0.2 ms. Cheap probes only.
pub fn watch_closely<T>(bound: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    poll(bound, Duration::from_micros(200), &mut probe)
        .unwrap_or_else(|| panic!("not within {bound:?}: {what}"))
}

/// Watches for `span` that a thing stays so: the probe yields what is wrong, if anything.
pub fn stays(span: Duration, what: &str, mut wrong: impl FnMut() -> Option<String>) {
    if let Some(wrong) = poll(span, Duration::from_millis(20), &mut wrong) {
        panic!("{what}: {wrong}");
    }
}

fn poll<T>(bound: Duration, every: Duration, probe: &mut impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        // The last probe comes after the bound, so that a busy machine does not fail a test
        // whose condition holds.
        let last = Instant::now() >= end;
        match probe() {
            Some(found) => return Some(found),
            None if last => return None,
            None => thread::sleep(every),
        }
    }
}

/// CLOCK_BOOTTIME, the clock of kneard's leases and of the signature logs.
pub fn boot_time() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has a boot clock").into()
}

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The middle of the samples (the upper one of two).
pub fn median(samples: &[Duration]) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

/// Prints samples as one line of the test's output, and gives their median.
pub fn report(what: &str, samples: &[Duration]) -> Duration {
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let (median, count) = (median(samples), samples.len());
    let least = ms(samples.iter().copied().min().unwrap());
    let most = ms(samples.iter().copied().max().unwrap());
    println!("{what}: median {:.1} ms of {count} ({least:.1} to {most:.1})", ms(median));
    median
}
