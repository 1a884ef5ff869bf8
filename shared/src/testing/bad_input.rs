//! What the tables of bad input come to, over all test programs of a run.
//!
//! A table notes each of its checks under the number of its row (`B25 no origin` belongs to `B25`)
//! and reports at its end. If `HOLDFAST_BAD_INPUT_REPORT` names a file, one JSON line per row is
//! appended to it; `cargo xtask test` adds them up and prints the total. Without the variable
//! nothing is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Names the file that reports are appended to.
pub const REPORT_VARIABLE: &str = "HOLDFAST_BAD_INPUT_REPORT";

/// The checks of one table.
pub struct BadInput {
    noted_at: Instant,
    /// By number; empty: the check's name begins with none, so it belongs to the table's own.
    rows: BTreeMap<String, Tally>,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    checks: usize,
    passed: usize,
    slowest: Duration,
}

impl Default for BadInput {
    fn default() -> Self {
        Self::new()
    }
}

impl BadInput {
    /// An empty table. The first check is timed from here.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    pub fn new() -> Self {
        Self { noted_at: Instant::now(), rows: BTreeMap::new() }
    }

    /// One check; it is timed from the one before.
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    pub fn check(&mut self, name: &str, passed: bool) {
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.noted_at, now);
        let tally = self.rows.entry(number(name).unwrap_or_default().to_owned()).or_default();
        tally.checks += 1;
        tally.passed += usize::from(passed);
        tally.slowest = tally.slowest.max(took);
    }

    /// Adds the table to the run's report. `title` begins with the number of its own row, if it
    /// has one; checks of no row are left out.
    pub fn report(self, title: &str) {
        let Some(path) = std::env::var_os(REPORT_VARIABLE) else { return };
        let lines = self.lines(title);
        let file = std::fs::File::options().create(true).append(true).open(&path);
        // One write: tables of many programs append at the same time.
        let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        written.unwrap_or_else(|error| panic!("could not append to {}: {error}", path.display()));
    }

    fn lines(&self, title: &str) -> String {
        let mut lines = String::new();
        // Which test: its runner starts a program for each. One that is tried again is another process.
        let plain = |c: char| if c.is_ascii_graphic() && !"\"\\".contains(c) { c } else { ' ' };
        let by: String =
            std::env::args().collect::<Vec<_>>().join(" ").chars().map(plain).collect();
        let pid = std::process::id();
        for (row, Tally { checks, passed, slowest }) in &self.rows {
            let own = if row.is_empty() { number(title) } else { Some(row.as_str()) };
            if let Some(row) = own {
                let slowest_ms = slowest.as_millis();
                let _ = writeln!(
                    lines,
                    r#"{{"row":"{row}","checks":{checks},"passed":{passed},"slowest_ms":{slowest_ms},"by":"{by}","pid":{pid}}}"#
                );
            }
        }
        lines
    }
}

/// The number of the row with which a name begins: `B25 no origin` is of `B25`.
fn number(name: &str) -> Option<&str> {
    let word = name.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let digits = word.strip_prefix('B')?;
    ((2..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_counted_under_their_row_or_the_tables_own() {
        let mut table = BadInput::new();
        table.check("B25 no origin", true);
        table.check("B25 null", false);
        table.check("an empty name", true);
        let lines = table.lines("B50, B101");
        let rows: Vec<(&str, u64, u64)> = vec![("B50", 1, 1), ("B25", 2, 1)];
        let found: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.len(), rows.len(), "{lines}");
        for ((row, checks, passed), line) in rows.into_iter().zip(found) {
            assert_eq!((line["row"].as_str(), line["checks"].as_u64()), (Some(row), Some(checks)));
            assert_eq!(line["passed"], passed);
        }
        assert_eq!(BadInput::new().lines("a crash"), "");
    }

    #[test]
    fn a_word_that_only_looks_like_a_number_is_none() {
        for name in ["", "B", "B1", "B1000", "BOM", "Bxy z", "b25", "x B25"] {
            assert_eq!(number(name), None, "{name}");
        }
        assert_eq!((number("B70, B71"), number("B100")), (Some("B70"), Some("B100")));
    }
}
