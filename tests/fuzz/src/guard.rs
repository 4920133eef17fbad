//! Frames between kneard and its guard: only what one side writes is read by the other.

use kneard::neard::guard::protocol::{FRAME_LEN, FromGuard, ToGuard};

pub fn run(data: &[u8]) {
    for frame in data.chunks(FRAME_LEN) {
        let (to, from) = (ToGuard::decode(frame), FromGuard::decode(frame));
        assert!(to.is_none() || from.is_none(), "one frame, two meanings");
        if let Some(frame_read) = to {
            assert_eq!(frame_read.encode(), *frame, "{frame_read:?} is written otherwise");
        }
        if let Some(frame_read) = from {
            assert_eq!(frame_read.encode(), *frame, "{frame_read:?} is written otherwise");
        }
        for cut in [&frame[1..], &frame[..frame.len() - 1]] {
            assert_eq!((ToGuard::decode(cut), FromGuard::decode(cut)), (None, None));
        }
    }
}
