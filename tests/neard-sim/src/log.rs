//! Log lines on stderr, in the form of neard: time, level, target, message.

use std::fmt::Arguments;
use std::io::Write;

use time::OffsetDateTime;

/// Writes one line, e.g. `2022-07-12T14:52:09.295345Z  INFO neard: version="1.27.0"`.
pub fn line(level: &str, target: &str, message: Arguments<'_>) {
    let now = OffsetDateTime::now_utc();
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z {level:>5} {target}: {message}\n",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.microsecond(),
    );
    // A reader that went away must not stop the node.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// `info!("target", "text {}", x)`.
#[macro_export]
macro_rules! info {
    ($target:expr, $($arg:tt)*) => { $crate::log::line("INFO", $target, format_args!($($arg)*)) };
}

/// `warn!("target", "text {}", x)`.
#[macro_export]
macro_rules! warn {
    ($target:expr, $($arg:tt)*) => { $crate::log::line("WARN", $target, format_args!($($arg)*)) };
}

/// `error!("target", "text {}", x)`.
#[macro_export]
macro_rules! error {
    ($target:expr, $($arg:tt)*) => { $crate::log::line("ERROR", $target, format_args!($($arg)*)) };
}

/// Ends the process as a panic of neard ends it: the message on stderr, then SIGABRT
/// (nearcore is built with `panic = "abort"`).
pub fn die(place: &str, message: Arguments<'_>) -> ! {
    let text = format!("thread 'main' panicked at {place}:\n{message}\n");
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    std::process::abort()
}
