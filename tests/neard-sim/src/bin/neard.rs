//! The stand-in for neard.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    neard_sim::cli::main()
}
