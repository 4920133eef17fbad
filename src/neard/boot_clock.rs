//! The one clock that leases are counted on: `CLOCK_BOOTTIME`, which no one can set and which
//! goes on while the host is suspended.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, suspended time included (clock_gettime(2)).
///
/// # Panics
/// Only where the kernel has no `CLOCK_BOOTTIME`, that is before Linux 2.6.39.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME");
    // Both are non-negative for a clock that starts at boot.
    time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs()
}

#[cfg(test)]
mod tests {
    #[test]
    fn never_goes_back() {
        let first = super::now();
        assert!(first > 0);
        assert!(super::now() >= first);
    }
}
