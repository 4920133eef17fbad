//! Every deliberate defect of the protocol is caught, or the proofs prove nothing.
//!
//! `KNEARD_TRACES=1` prints the trace of each one.

use kneard::election::Mutant;
use kneard_proof::check::hunt;

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes: run it with --release")]
fn every_defect_is_caught() {
    let traces = std::env::var_os("KNEARD_TRACES").is_some();
    let mut missed = Vec::new();
    println!("{:<28} {:<42} {:>9} {:>6}  what is wrong", "defect", "caught by", "states", "steps");
    for mutant in Mutant::ALL {
        let report = hunt(mutant, 1);
        let Some((promise, trace)) = report.failure() else {
            missed.push(mutant);
            println!("{:<28} NOT CAUGHT in {} states", mutant.to_string(), report.states);
            continue;
        };
        let steps = trace.iter().filter(|line| !line.starts_with("      ")).count();
        println!(
            "{:<28} {:<42} {:>9} {:>6}  {}",
            mutant.to_string(),
            format!("model check: {promise}"),
            report.states,
            steps,
            mutant.sentence()
        );
        if traces {
            println!("{report}");
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
