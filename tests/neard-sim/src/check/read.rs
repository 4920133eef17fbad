//! Reading the journal of a home.

use std::fs;
use std::path::{Path, PathBuf};

use crate::alive::Stamp;
use crate::journal::{Entry, Event, FILE};

/// What a home tells.
#[derive(Debug, Clone)]
pub struct Home {
    pub path: PathBuf,
    pub entries: Vec<Entry>,
    /// The last sign of life of the latest process.
    pub stamp: Option<Stamp>,
}

/// Reads `signatures.log` and `signatures.alive` of a home.
///
/// # Errors
/// One line that names the file and the line. A line that a crash cut short is no error: the
/// last one, or one before the start of a process.
pub fn read_home(path: &Path) -> Result<Home, String> {
    let file = path.join(FILE);
    let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    // After the journal: a stamp that is older than the last line does no harm.
    let stamp = Stamp::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let mut entries: Vec<Entry> = Vec::with_capacity(lines.len());
    let mut torn = None;
    for (number, line) in lines.iter().enumerate() {
        match serde_json::from_slice::<Entry>(line) {
            Ok(entry) => {
                let begins = matches!(entry.event, Event::Start | Event::LastAlive);
                if let Some(torn) = torn.take().filter(|_| !begins) {
                    return Err(torn);
                }
                entries.push(entry);
            }
            Err(e) => {
                let text = format!("{}:{}: not a journal line: {e}", file.display(), number + 1);
                if let Some(torn) = torn.replace(text) {
                    return Err(torn);
                }
            }
        }
    }
    Ok(Home { path: path.to_owned(), entries, stamp })
}
