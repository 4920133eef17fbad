//! The findings in words.

use std::fmt::Write;

use crate::check::{Conflict, Hold, HoldEnd, Report, ms};

/// Findings of one sort that are listed in full.
const LISTED: usize = 20;

pub fn verdict(report: &Report) -> String {
    format!(
        "verdict: {}, {}, {} of signer, longest gap {:.0} ms",
        count(report.overlaps.len(), "overlap"),
        count(report.equivocations.len(), "equivocation"),
        count(report.changes.len(), "change"),
        report.longest_gap_ms
    )
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn process(hold: &Hold) -> String {
    format!("{} (pid {})", hold.home.display(), hold.pid)
}

pub fn report(report: &Report, gap_above: f64) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for overlap in report.overlaps.iter().take(LISTED) {
        let _ = writeln!(
            out,
            "overlap: {:.3} ms with key {}: {} and {}; {} in it",
            overlap.ms,
            overlap.key,
            process(&overlap.first),
            process(&overlap.second),
            count(overlap.signatures, "signature")
        );
    }
    conflicts(&mut out, "equivocation", &report.equivocations);
    conflicts(&mut out, "note: split approval", &report.split_approvals);
    for change in report.changes.iter().filter(|change| change.gap_ms > gap_above) {
        let how = match change.from.ended_by {
            HoldEnd::Unloaded => "gave the key up",
            HoldEnd::Exit => "exited",
            HoldEnd::LastAlive => "was last alive",
        };
        let signing = match change.signature_gap_ms {
            Some(gap) => format!(", {gap:.1} ms between signatures"),
            None => String::new(),
        };
        let _ = writeln!(
            out,
            "change: {} from {}, which {how} at {:.3} s, to {}: gap {:.1} ms{signing}",
            change.account,
            process(&change.from),
            ms(change.from.end) / 1_000.0,
            process(&change.to),
            change.gap_ms
        );
    }
    if !report.backward.is_empty() {
        let _ = writeln!(
            out,
            "note: {} at or below a height that another process had reached",
            count(report.backward.len(), "signature")
        );
    }
    let _ = writeln!(
        out,
        "{} by {}",
        count(report.signatures, "signature"),
        count(report.holds.len(), "hold")
    );
    out.push_str(&verdict(report));
    out.push('\n');
    out
}

fn conflicts(out: &mut String, what: &str, conflicts: &[Conflict]) {
    for conflict in conflicts.iter().take(LISTED) {
        let kind = format!("{:?}", conflict.kind).to_lowercase();
        let _ =
            write!(out, "{what}: {kind} at height {} with key {}:", conflict.height, conflict.key);
        for signed in &conflict.signed {
            let _ = write!(out, " {} in {}", signed.hash, signed.home.display());
        }
        out.push('\n');
    }
    if conflicts.len() > LISTED {
        let _ = writeln!(out, "{what}: {} more", conflicts.len() - LISTED);
    }
}
