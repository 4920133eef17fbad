//! The verdict on the stand-ins' signature logs.

use std::{fs, path::Path, process::Output, time::Duration};

use serde_json::Value;

use super::{binaries, wait::wait_until};

/// The events of a signature log that stand for a signature.
pub const SIGNATURES: [&str; 4] = ["block", "chunk", "endorsement", "approval"];

#[derive(Debug)]
pub struct Verdict {
    pub clean: bool,
    pub overlaps: u32,
    pub equivocations: u32,
    pub changes: u32,
    pub text: String,
}

/// What `signature-check --json` finds in the homes.
pub fn findings<P: AsRef<Path>>(homes: &[P]) -> Value {
    let output = run_checker(&["--json"], homes);
    serde_json::from_slice(&output.stdout).expect("signature-check prints JSON")
}

fn run_checker<P: AsRef<Path>>(flags: &[&str], homes: &[P]) -> Output {
    let output = binaries::clean(binaries::signature_check())
        .args(flags)
        .args(homes.iter().map(|home| home.as_ref()))
        .output()
        .expect("signature-check runs");
    let (code, error) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(code, Some(0 | 1)), "signature-check exited with {code:?}: {error}");
    output
}

/// Runs `signature-check` on the homes.
pub fn signature_check<P: AsRef<Path>>(homes: &[P]) -> Verdict {
    let output = run_checker(&[], homes);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code();
    let line = text.lines().rev().find(|line| line.starts_with("verdict:")).unwrap_or("");
    let figure = |what: &str| {
        let before = line.split(what).next()?.split_whitespace().next_back()?;
        line.contains(what).then(|| before.parse().ok())?
    };
    let verdict = || {
        Some(Verdict {
            clean: code == Some(0),
            overlaps: figure("overlap")?,
            equivocations: figure("equivocation")?,
            changes: figure("change")?,
            text: text.clone(),
        })
    };
    verdict().unwrap_or_else(|| panic!("signature-check gave no verdict:\n{text}"))
}

/// Panics with the checker's text unless nobody could sign together and none signed twice.
pub fn assert_one_signer<P: AsRef<Path>>(homes: &[P]) -> Verdict {
    let verdict = signature_check(homes);
    assert!(
        verdict.clean && verdict.overlaps == 0 && verdict.equivocations == 0,
        "two signers:\n{}",
        verdict.text
    );
    verdict
}

/// The lines of a home's signature log, oldest first; none if there is no log.
fn lines(home: &Path) -> Vec<Value> {
    let log = fs::read_to_string(home.join("signatures.log")).unwrap_or_default();
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// When the node of this home signed, in boot time, oldest first.
pub fn signing_times(home: &Path) -> Vec<Duration> {
    lines(home)
        .iter()
        .filter(|line| SIGNATURES.contains(&line["event"].as_str().unwrap_or("")))
        .filter_map(|line| Some(Duration::from_nanos(line["t"].as_u64()?)))
        .collect()
}

/// Whether the node of this home has made the chunk of this height.
pub fn has_made_chunk(home: &Path, height: u64) -> bool {
    lines(home).iter().any(|line| line["event"] == "chunk" && line["height"] == height)
}

/// Waits until the node of this home has signed after `moment`: "Validating" comes before that.
pub fn wait_for_signature(home: &Path, moment: Duration, bound: Duration) -> Duration {
    wait_until(bound, &format!("{} signs", home.display()), || {
        signing_times(home).into_iter().find(|time| *time > moment)
    })
}

/// When the node of this home last did a thing, such as `key-loaded` or `key-unloaded`, in boot time.
pub fn last(home: &Path, event: &str) -> Option<Duration> {
    let lines = lines(home);
    let line = lines.iter().rev().find(|line| line["event"] == event)?;
    line["t"].as_u64().map(Duration::from_nanos)
}

/// The longest time without a signature between two moments, of all these homes together.
pub fn longest_silence<P: AsRef<Path>>(homes: &[P], from: Duration, to: Duration) -> Duration {
    let mut times: Vec<_> = homes.iter().flat_map(|home| signing_times(home.as_ref())).collect();
    times.retain(|time| (from..to).contains(time));
    times.extend([from, to]);
    times.sort();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
