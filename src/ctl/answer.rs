//! How commands answer.

use std::fmt::Display;
use std::process::ExitCode;

use serde::Serialize;

use crate::control::ClientError;

/// Prints the answer, as JSON if wanted, or why there is none.
pub(super) fn show<T: Serialize + Display>(
    answer: Result<T, ClientError>,
    json: bool,
) -> Result<T, ExitCode> {
    let answer = answer.map_err(|error| fail(&error))?;
    say(&answer, json)?;
    Ok(answer)
}

pub(super) fn say<T: Serialize + Display>(answer: &T, json: bool) -> Result<(), ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(answer).map_err(|error| fail(&error))?);
    } else {
        println!("{answer}");
    }
    Ok(())
}

pub(super) fn fail(error: &dyn Display) -> ExitCode {
    eprintln!("kneard-ctl: {error}");
    ExitCode::FAILURE
}

/// The exit code that says success or failure.
pub(super) fn code(result: Result<(), ExitCode>) -> ExitCode {
    result.err().unwrap_or(ExitCode::SUCCESS)
}
