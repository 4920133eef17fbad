//! What doctor found: one line per check.

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Works, but not as well as it should.
    Warning,
    /// Does not work, or would be dangerous.
    Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub level: Level,
    pub message: String,
    /// How to mend it, where the message does not say so itself.
    pub remedy: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Where the settings came from.
    pub settings: String,
    pub checks: Vec<Check>,
}

impl Report {
    pub fn ok(&mut self, check: &'static str, message: impl ToString) {
        self.add(check, Level::Ok, message, None);
    }

    pub fn warning(&mut self, check: &'static str, message: impl ToString, remedy: &str) {
        self.add(check, Level::Warning, message, Some(remedy));
    }

    pub fn problem(&mut self, check: &'static str, message: impl ToString, remedy: &str) {
        self.add(check, Level::Problem, message, Some(remedy));
    }

    /// The outcome of a check whose error names the remedy.
    pub fn result<E: fmt::Display>(&mut self, check: &'static str, result: Result<String, E>) {
        match result {
            Ok(message) => self.ok(check, message),
            Err(error) => self.add(check, Level::Problem, error, None),
        }
    }

    pub fn add(
        &mut self,
        check: &'static str,
        level: Level,
        message: impl ToString,
        remedy: Option<&str>,
    ) {
        let remedy = remedy.filter(|remedy| !remedy.is_empty()).map(str::to_owned);
        self.checks.push(Check { check, level, message: message.to_string(), remedy });
    }

    pub fn count(&self, level: Level) -> usize {
        self.checks.iter().filter(|check| check.level == level).count()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "settings from {}", self.settings)?;
        for Check { check, level, message, remedy } in &self.checks {
            write!(f, "{level:<8} {check:<18} {message}")?;
            match remedy {
                Some(remedy) => writeln!(f, "; {remedy}")?,
                None => writeln!(f)?,
            }
        }
        let count = |level, one: &str| match self.count(level) {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        write!(
            f,
            "{} checks, {}, {}",
            self.checks.len(),
            count(Level::Problem, "problem"),
            count(Level::Warning, "warning")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_is_and_how_to_mend_it() {
        let mut report = Report { settings: "flags".to_owned(), ..Report::default() };
        report.ok("clock", "tsc");
        report.warning("limits", "few files", "raise LimitNOFILE");
        report.result("home", Err::<String, _>("no such directory; run neard init"));
        assert_eq!(
            report.to_string(),
            "settings from flags\n\
             ok       clock              tsc\n\
             warning  limits             few files; raise LimitNOFILE\n\
             problem  home               no such directory; run neard init\n\
             3 checks, 1 problem, 1 warning"
        );
    }
}
