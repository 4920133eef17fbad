//! The history of the key's holders, as it is kept in Consul and shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One change of holder, written by the new one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When the new holder's neard confirmed the key (RFC 3339).
    pub time: String,
    /// Who had it before; absent: unknown.
    pub from: Option<String>,
    pub to: String,
    pub term: u64,
    /// One of a few: see the metric `kuutamod_takeovers_total`.
    pub kind: String,
    /// In words.
    pub reason: String,
    /// For how long nobody signed, as well as the new holder knows: from the sight of the
    /// predecessor's release, or of its last beat if it never said a word, until its own neard
    /// confirmed the key. Absent: nobody is known to have signed before.
    pub seconds_without_signer: Option<f64>,
    /// Somebody asked for it, or stopped the predecessor's kneard.
    pub planned: bool,
}

/// The newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(pub Vec<HistoryEntry>);

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: [&str; 7] = ["TIME", "TERM", "FROM", "TO", "WITHOUT", "PLANNED", "REASON"];
        let rows: Vec<[String; 7]> = self.0.iter().map(HistoryEntry::row).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEAD[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let line = |cells: &[String; 7]| {
            let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        f.write_str(&line(&HEAD.map(str::to_owned)))?;
        for row in &rows {
            write!(f, "\n{}", line(row))?;
        }
        if rows.is_empty() {
            f.write_str("\n(nobody has written anything yet)")?;
        }
        Ok(())
    }
}

impl HistoryEntry {
    fn row(&self) -> [String; 7] {
        [
            self.time.clone(),
            self.term.to_string(),
            self.from.clone().unwrap_or_else(|| "-".to_owned()),
            self.to.clone(),
            self.seconds_without_signer
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s")),
            if self.planned { "yes" } else { "no" }.to_owned(),
            format!("{} ({})", self.kind, self.reason),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_and_its_columns_stand_below_each_other() {
        let entry = |from: Option<&str>, to: &str, seconds| HistoryEntry {
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            from: from.map(str::to_owned),
            to: to.to_owned(),
            term: 12,
            kind: "switchover".to_owned(),
            reason: "why".to_owned(),
            seconds_without_signer: seconds,
            planned: true,
        };
        let history =
            History(vec![entry(Some("a-long-name"), "b", Some(0.0421)), entry(None, "c", None)]);
        assert_eq!(
            history.to_string(),
            "TIME                      TERM  FROM         TO  WITHOUT  PLANNED  REASON\n\
             2026-01-02T03:04:05.678Z  12    a-long-name  b   0.042 s  yes      switchover (why)\n\
             2026-01-02T03:04:05.678Z  12    -            c   -        yes      switchover (why)"
        );
    }
}
