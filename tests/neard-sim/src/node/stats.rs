//! The line that neard logs every ten seconds.

use std::fs;

use crate::chain::consensus::Consensus;
use crate::info;
use crate::network::Network;

const EVERY_MS: u64 = 10_000;
/// Linux gives CPU times in hundredths of a second, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the last line was based on.
#[derive(Debug, Default)]
pub struct Stats {
    next: u64,
    first_done: bool,
    at: u64,
    height: u64,
    sent: u64,
    received: u64,
    cpu_ticks: u64,
}

impl Stats {
    /// Logs a line when ten seconds have passed; says whether it did.
    pub fn log_when_due(
        &mut self,
        now: u64,
        chain: &Consensus,
        network: &Network,
        syncing: bool,
    ) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + EVERY_MS;
        let seconds = (now - self.at) as f64 / 1_000.0;
        let head = chain.head();
        let status = match network.best_height().filter(|best| syncing && *best > head.height) {
            Some(best) => format!(
                "#{:>8} Downloading blocks {:.2}% ({} left; at {})",
                head.height,
                head.height as f64 * 100.0 / best as f64,
                best - head.height,
                head.height
            ),
            None => format!("#{:>8} {:>44}", head.height, head.hash.to_string()),
        };
        let role = if chain.validator().is_some() { " Validator |" } else { "" };
        let rate = |total: u64, before: u64| {
            if seconds > 0.0 { (total.saturating_sub(before)) as f64 / seconds } else { 0.0 }
        };
        let (down, up) = (
            bytes_per_second(rate(network.received_bytes, self.received)),
            bytes_per_second(rate(network.sent_bytes, self.sent)),
        );
        // The first line of neard has no interval to divide by.
        let blocks = if self.first_done { rate(head.height, self.height) } else { f64::NAN };
        let cpu_ticks = cpu_ticks();
        let usage = if self.first_done {
            let cpu = rate(cpu_ticks, self.cpu_ticks) / TICKS_PER_SECOND * 100.0;
            format!(" CPU: {cpu:.0}%, Mem: {:.1} MB", memory_mb())
        } else {
            String::new()
        };
        info!(
            "stats",
            "{status}{role} {} validators {} peers ⬇ {down} ⬆ {up} {blocks:.2} bps 0 gas/s{usage}",
            chain.genesis().validators.len(),
            network.peers.len()
        );
        *self = Self {
            next: self.next,
            first_done: true,
            at: now,
            height: head.height,
            sent: network.sent_bytes,
            received: network.received_bytes,
            cpu_ticks,
        };
        true
    }
}

fn bytes_per_second(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.0} B/s") } else { format!("{:.1} kB/s", rate / 1_000.0) }
}

fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets come the fields from the third on; utime and stime are the
    // 14th and 15th (proc(5)).
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum()
}

fn memory_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1_000.0
}
