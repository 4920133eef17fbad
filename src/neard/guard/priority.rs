//! Making it likely that the guard runs when it must, and undoing that for what follows it.
//!
//! Every step needs a privilege that kneard may lack, and none is essential: failures are ignored.
#![allow(unsafe_code)]

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall, munlockall};
use std::fs;

/// Below every real-time task that somebody configured on purpose.
const REAL_TIME_PRIORITY: i32 = 1;

/// Real-time scheduling (not inherited by neard), memory that is not swapped out, and the last
/// place in the queue of the out-of-memory killer.
pub fn raise() {
    set_scheduler(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, REAL_TIME_PRIORITY);
    // Pages as they are touched: locking the whole binary would cost several megabytes for code
    // that the guard never runs. Not what is mapped later, which could then fail for the limit.
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let _ = mlockall(MlockAllFlags::MCL_CURRENT | on_fault);
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
}

/// Before this process becomes the release: an ordinary program again.
pub fn restore() {
    // Without privileges the flag can be set but not taken back, and only together with it can
    // the policy be changed.
    set_scheduler(libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0);
    let _ = munlockall();
}

fn set_scheduler(policy: i32, sched_priority: i32) {
    let parameters = libc::sched_param { sched_priority };
    // SAFETY: the kernel reads `parameters`, which outlives the call; 0 is this process.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
}
