//! Where kneard's settings come from: this command's own flags and environment, files in the form
//! of systemd's EnvironmentFile=, or a unit.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::systemd::Unit;

/// What kneard is started with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// For the reader.
    pub name: String,
    pub environment: Vec<(OsString, OsString)>,
    pub arguments: Vec<OsString>,
}

impl Source {
    /// # Errors
    /// A file cannot be read; one line that names it.
    pub fn of_files(files: &[PathBuf]) -> Result<Self, String> {
        let mut environment = Vec::new();
        for file in files {
            environment.extend(environment_file(file)?);
        }
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        Ok(Source { name: names.join(" and "), environment, arguments: Vec::new() })
    }

    /// Of the running kneard, where its process may be looked at; else what the unit says.
    ///
    /// # Errors
    /// An environment file of the unit cannot be read.
    pub fn of_unit(unit: &Unit) -> Result<Self, String> {
        if let Some(source) = unit.main_pid.and_then(|pid| of_process(&unit.name, pid)) {
            return Ok(source);
        }
        let mut environment = assignments(unit.property("Environment").unwrap_or(""));
        for line in unit.property("EnvironmentFiles").unwrap_or("").lines() {
            let (path, may_miss) = match line.rsplit_once(" (ignore_errors=") {
                Some((path, rest)) => (path, rest.starts_with("yes")),
                None => (line, false),
            };
            match environment_file(Path::new(path)) {
                Ok(more) => environment.extend(more),
                Err(_) if may_miss => {}
                Err(error) => return Err(error),
            }
        }
        let arguments = arguments(unit.property("ExecStart").unwrap_or(""));
        Ok(Source { name: unit.name.clone(), environment, arguments })
    }
}

fn of_process(unit: &str, pid: i32) -> Option<Source> {
    let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).ok();
    let words = |bytes: Vec<u8>| -> Vec<OsString> {
        let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        words.map(|word| OsString::from_vec(word.to_vec())).collect()
    };
    let arguments = words(read("cmdline")?).into_iter().skip(1).collect();
    let environment = words(read("environ")?)
        .into_iter()
        .filter_map(|word| {
            let word = word.into_encoded_bytes();
            let at = word.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (word[..at].to_vec(), word[at + 1..].to_vec());
            Some((OsString::from_vec(name), OsString::from_vec(value)))
        })
        .filter(|(name, _)| is_ours(&name.to_string_lossy()))
        .collect();
    Some(Source { name: format!("the running {unit} (pid {pid})"), environment, arguments })
}

/// What kneard reads of its environment.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("KUUTAMO_")
        || ["CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY", "PATH"].contains(&name)
}

fn environment_file(path: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // Comments begin with # or ; (systemd.exec(5), EnvironmentFile=).
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    Ok(lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().into(), unquoted(value.trim()).into()))
        .collect())
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

/// `A=1 "B=two words"`, as `systemctl show` prints Environment.
fn assignments(text: &str) -> Vec<(OsString, OsString)> {
    words(text)
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// The arguments in `{ path=… ; argv[]=/usr/bin/kneard --lease 7s ; … }`.
fn arguments(exec_start: &str) -> Vec<OsString> {
    let line = exec_start.split_once("argv[]=").map_or("", |(_, rest)| rest);
    let line = line.split_once(" ; ").map_or(line, |(line, _)| line);
    words(line).into_iter().skip(1).map(OsString::from).collect()
}

/// Splits at white space outside of quotes.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    #[test]
    fn an_environment_file_is_read_as_systemd_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kneard.env");
        fs::write(
            &file,
            "# a comment\n; another\n\nKUUTAMO_LEASE=9s\n A = \"two words\" \nB='x'\n",
        )
        .unwrap();
        let source = Source::of_files(std::slice::from_ref(&file)).unwrap();
        let expected = [pair("KUUTAMO_LEASE", "9s"), pair("A", "two words"), pair("B", "x")];
        assert_eq!(source.environment, expected);
        let error = Source::of_files(&[dir.path().join("nowhere")]).unwrap_err();
        assert!(error.contains("nowhere: No such file"), "{error}");
    }

    #[test]
    fn a_unit_that_does_not_run_tells_by_its_properties() {
        assert_eq!(
            assignments(r#"KUUTAMO_NODE_ID=a "KUUTAMO_X=two words""#),
            [pair("KUUTAMO_NODE_ID", "a"), pair("KUUTAMO_X", "two words")]
        );
        let start = "{ path=/usr/bin/kneard ; argv[]=/usr/bin/kneard --lease 7s --node-id=\"a\" ; \
                     ignore_errors=no ; pid=0 }";
        assert_eq!(arguments(start), ["--lease", "7s", "--node-id=a"]);
        assert_eq!(arguments(""), Vec::<OsString>::new());
    }

    #[test]
    fn a_running_kneard_is_asked_for_what_it_was_started_with() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let source = of_process("kneard.service", pid).unwrap();
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        assert_eq!(source.arguments, arguments);
        assert!(source.environment.iter().any(|(name, _)| name == "PATH"));
        assert!(!source.environment.iter().any(|(name, _)| name == "HOME"));
    }
}
