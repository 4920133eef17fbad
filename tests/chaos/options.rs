//! The flags.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, ValueEnum};

/// Random faults on real kneards, a real Consul and a stand-in chain, and a verdict on every
/// signature. Needs root: each host is a network namespace.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub struct Options {
    /// For how long faults are made
    #[arg(long, default_value_t = 5.0)]
    pub minutes: f64,

    /// The plan of the faults follows from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// How many kneards: two or three
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    kneards: u8,

    /// How a kneard gives its neard the key
    #[arg(long, value_enum, default_value = "mixed")]
    promotion: Promotion,

    /// Write the report as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Keep logs and homes although all went well
    #[arg(long)]
    pub keep: bool,

    /// Print nothing while all goes well, before the report
    #[arg(long)]
    pub quiet: bool,

    /// Print the plan and end
    #[arg(long)]
    pub plan: bool,

    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Promotion {
    /// Every kneard restarts its neard
    Restart,
    /// Every kneard hands the key to its running neard
    HotSwap,
    /// The first swaps, the next restarts, and so on
    Mixed,
}

impl Options {
    pub fn kneards(&self) -> usize {
        usize::from(self.kneards)
    }

    pub fn promotion(&self) -> &'static str {
        match self.promotion {
            Promotion::Restart => "restart",
            Promotion::HotSwap => "hot-swap",
            Promotion::Mixed => "mixed",
        }
    }

    /// The flags of one kneard that differ from those of other tests.
    pub fn kneard_flags(&self, index: usize) -> Vec<OsString> {
        let promotion = match self.promotion {
            Promotion::Restart => "restart",
            Promotion::HotSwap => "hot-swap",
            Promotion::Mixed if index.is_multiple_of(2) => "hot-swap",
            Promotion::Mixed => "restart",
        };
        vec!["--promotion".into(), promotion.into()]
    }
}
