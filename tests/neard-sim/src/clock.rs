//! The clocks that the stand-in reads, each for one purpose.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `CLOCK_BOOTTIME` in nanoseconds: counts suspend, never jumps, and is the same for every
/// process of one kernel, so that the journals of several homes can be compared.
pub fn boot_ns() -> u64 {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(t) => t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64,
        // The kernel has had this clock since 2.6.39; without it no journal entry is evidence.
        Err(e) => panic!("CLOCK_BOOTTIME cannot be read: {e}"),
    }
}

/// Nanoseconds since 1970 by the wall clock, as block timestamps carry them.
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// A wall-clock instant as RFC 3339 with nanoseconds, the form of `latest_block_time`.
pub fn rfc3339(unix_ns: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns))
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_times_are_written_as_neard_writes_them() {
        assert_eq!(rfc3339(1_657_637_529_295_345_000), "2022-07-12T14:52:09.295345Z");
    }

    #[test]
    fn the_boot_clock_never_goes_back() {
        let a = boot_ns();
        assert!(boot_ns() >= a);
    }
}
