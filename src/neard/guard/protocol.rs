//! What kneard and the guard say to each other: one fixed-size frame per datagram of a
//! `SOCK_SEQPACKET` socketpair, so that reading and writing need no allocation and no buffering.
//!
//! Both ends are always the same binary (the guard is `/proc/self/exe`), so there is no version.

use super::client::NeardStatus;
use crate::neard::process::ProcessIdentity;

pub const FRAME_LEN: usize = 24;
/// Kind, a small argument and two large ones, little-endian.
pub type Frame = [u8; FRAME_LEN];

/// From kneard to the guard. `seq` comes back in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToGuard {
    /// Kill neard once the boot clock passes `deadline_ns`. Replaces the deadline before.
    Arm {
        deadline_ns: u64,
        seq: u64,
    },
    /// No deadline any more (neard holds no validator key).
    Disarm {
        seq: u64,
    },
    /// Send neard this signal.
    Signal {
        signo: i32,
    },
    /// SIGKILL neard now.
    Kill,
    Ping {
        seq: u64,
    },
}

/// From the guard to kneard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromGuard {
    /// Sent by neard's process itself just before it becomes neard (execve), so that kneard knows
    /// its number whatever happens to the guard.
    Starting(ProcessIdentity),
    /// neard's program runs.
    Started(ProcessIdentity),
    /// The deadline of the `Arm` (or its absence, after `Disarm`) with this `seq` is in force.
    Armed {
        seq: u64,
    },
    Pong {
        seq: u64,
    },
    /// neard is dead and reaped, or was never started because the deadline had passed.
    Exited {
        status: NeardStatus,
        reason: ExitReason,
    },
    /// neard could not be started; an errno of execve(2) or fork(2), 0 if unknown.
    SpawnFailed {
        errno: i32,
    },
}

/// Why neard is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// Nobody here killed it: it exited, crashed, or obeyed a signal that it was sent.
    ByItself,
    /// The armed deadline passed and the guard killed it.
    Deadline,
    /// kneard was gone and the guard killed it. (Never seen by a kneard that lives.)
    KneardGone,
    /// [`Neard::kill`](super::Neard::kill).
    Asked,
    /// The guard died or could not start, and kneard made sure that neard is dead.
    GuardLost,
}

fn pack(kind: u32, small: i32, first: u64, second: u64) -> Frame {
    let mut frame = [0; FRAME_LEN];
    frame[0..4].copy_from_slice(&kind.to_le_bytes());
    frame[4..8].copy_from_slice(&small.to_le_bytes());
    frame[8..16].copy_from_slice(&first.to_le_bytes());
    frame[16..24].copy_from_slice(&second.to_le_bytes());
    frame
}

fn unpack(frame: &[u8]) -> Option<(u32, i32, u64, u64)> {
    let frame: &Frame = frame.try_into().ok()?;
    let kind = u32::from_le_bytes(*frame[0..].first_chunk()?);
    let small = i32::from_le_bytes(*frame[4..].first_chunk()?);
    let first = u64::from_le_bytes(*frame[8..].first_chunk()?);
    let second = u64::from_le_bytes(*frame[16..].first_chunk()?);
    Some((kind, small, first, second))
}

impl ToGuard {
    pub fn encode(self) -> Frame {
        match self {
            Self::Arm { deadline_ns, seq } => pack(1, 0, deadline_ns, seq),
            Self::Disarm { seq } => pack(2, 0, 0, seq),
            Self::Signal { signo } => pack(3, signo, 0, 0),
            Self::Kill => pack(4, 0, 0, 0),
            Self::Ping { seq } => pack(5, 0, 0, seq),
        }
    }

    /// `None` for anything that [`encode`](Self::encode) does not produce.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let (kind, small, first, second) = unpack(frame)?;
        let read = match kind {
            1 => Self::Arm { deadline_ns: first, seq: second },
            2 => Self::Disarm { seq: second },
            3 => Self::Signal { signo: small },
            4 => Self::Kill,
            5 => Self::Ping { seq: second },
            _ => return None,
        };
        (read.encode() == *frame).then_some(read)
    }
}

impl FromGuard {
    pub fn encode(self) -> Frame {
        match self {
            Self::Starting(neard) => pack(101, neard.pid, neard.start_time, 0),
            Self::Started(neard) => pack(102, neard.pid, neard.start_time, 0),
            Self::Armed { seq } => pack(103, 0, seq, 0),
            Self::Pong { seq } => pack(104, 0, seq, 0),
            Self::Exited { status, reason } => {
                let (kind, value) = match status {
                    NeardStatus::Code(code) => (0, code),
                    NeardStatus::Signal(signo) => (1, signo),
                    NeardStatus::Unknown => (2, 0),
                    NeardStatus::NeverStarted => (3, 0),
                };
                let reason = match reason {
                    ExitReason::ByItself => 0,
                    ExitReason::Deadline => 1,
                    ExitReason::KneardGone => 2,
                    ExitReason::Asked => 3,
                    ExitReason::GuardLost => 4,
                };
                pack(105, value, kind, reason)
            }
            Self::SpawnFailed { errno } => pack(106, errno, 0, 0),
        }
    }

    /// `None` for anything that [`encode`](Self::encode) does not produce.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let (kind, small, first, second) = unpack(frame)?;
        let read = match kind {
            101 => Self::Starting(ProcessIdentity { pid: small, start_time: first }),
            102 => Self::Started(ProcessIdentity { pid: small, start_time: first }),
            103 => Self::Armed { seq: first },
            104 => Self::Pong { seq: first },
            105 => Self::Exited {
                status: match first {
                    0 => NeardStatus::Code(small),
                    1 => NeardStatus::Signal(small),
                    2 => NeardStatus::Unknown,
                    3 => NeardStatus::NeverStarted,
                    _ => return None,
                },
                reason: match second {
                    0 => ExitReason::ByItself,
                    1 => ExitReason::Deadline,
                    2 => ExitReason::KneardGone,
                    3 => ExitReason::Asked,
                    4 => ExitReason::GuardLost,
                    _ => return None,
                },
            },
            106 => Self::SpawnFailed { errno: small },
            _ => return None,
        };
        (read.encode() == *frame).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to_guard() -> impl Strategy<Value = ToGuard> {
        prop_oneof![
            (any::<u64>(), any::<u64>())
                .prop_map(|(deadline_ns, seq)| ToGuard::Arm { deadline_ns, seq }),
            any::<u64>().prop_map(|seq| ToGuard::Disarm { seq }),
            any::<i32>().prop_map(|signo| ToGuard::Signal { signo }),
            Just(ToGuard::Kill),
            any::<u64>().prop_map(|seq| ToGuard::Ping { seq }),
        ]
    }

    fn from_guard() -> impl Strategy<Value = FromGuard> {
        let identity = || {
            (any::<i32>(), any::<u64>())
                .prop_map(|(pid, start_time)| ProcessIdentity { pid, start_time })
        };
        let status = prop_oneof![
            any::<i32>().prop_map(NeardStatus::Code),
            any::<i32>().prop_map(NeardStatus::Signal),
            Just(NeardStatus::Unknown),
            Just(NeardStatus::NeverStarted),
        ];
        let reason = prop_oneof![
            Just(ExitReason::ByItself),
            Just(ExitReason::Deadline),
            Just(ExitReason::KneardGone),
            Just(ExitReason::Asked),
            Just(ExitReason::GuardLost),
        ];
        prop_oneof![
            identity().prop_map(FromGuard::Starting),
            identity().prop_map(FromGuard::Started),
            any::<u64>().prop_map(|seq| FromGuard::Armed { seq }),
            any::<u64>().prop_map(|seq| FromGuard::Pong { seq }),
            (status, reason).prop_map(|(status, reason)| FromGuard::Exited { status, reason }),
            any::<i32>().prop_map(|errno| FromGuard::SpawnFailed { errno }),
        ]
    }

    proptest! {
        #[test]
        fn every_frame_to_the_guard_reads_as_it_was_written(frame in to_guard()) {
            prop_assert_eq!(ToGuard::decode(&frame.encode()), Some(frame));
        }

        #[test]
        fn every_frame_from_the_guard_reads_as_it_was_written(frame in from_guard()) {
            prop_assert_eq!(FromGuard::decode(&frame.encode()), Some(frame));
        }

        #[test]
        fn a_frame_with_more_in_it_than_its_kind_has_is_refused(
            to in to_guard(), from in from_guard(), at in 0..FRAME_LEN, bits in 1..=u8::MAX
        ) {
            for mut frame in [to.encode(), from.encode()] {
                frame[at] ^= bits;
                let read = ToGuard::decode(&frame).map(ToGuard::encode);
                let read = read.or(FromGuard::decode(&frame).map(FromGuard::encode));
                prop_assert!(read.is_none_or(|read| read == frame), "{frame:?} is read as {read:?}");
            }
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            let _ = (ToGuard::decode(&bytes), FromGuard::decode(&bytes));
            if bytes.len() != FRAME_LEN {
                prop_assert_eq!(ToGuard::decode(&bytes), None);
                prop_assert_eq!(FromGuard::decode(&bytes), None);
            }
        }
    }
}
