//! The total of the bad-input tables: what every test program reported, and what none reported.
//!
//! The tables append JSON lines to the file of `HOLDFAST_BAD_INPUT_REPORT` (see
//! `shared::testing::bad_input`); a row that must be there and is not makes the run fail, so that
//! a table cannot be lost without anybody noticing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Names the file that reports are appended to.
pub const REPORT_VARIABLE: &str = "HOLDFAST_BAD_INPUT_REPORT";

/// Rows of the catalogue that must have been checked.
const REQUIRED: &[RangeInclusive<u32>] = &[
    1..=18,
    21..=21,
    25..=32,
    35..=35,
    38..=42,
    45..=45,
    49..=55,
    58..=59,
    61..=71,
    78..=81,
    88..=92,
    94..=98,
    100..=101,
    106..=106,
];

/// One row over all its tables.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    checks: u64,
    passed: u64,
    slowest_ms: u64,
}

impl Row {
    fn add(&mut self, checks: u64, passed: u64, slowest_ms: u64) {
        self.checks += checks;
        self.passed += passed;
        self.slowest_ms = self.slowest_ms.max(slowest_ms);
    }
}

/// An empty report below `folder`; its absolute path.
pub fn begin(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not make {}", folder.display()))?;
    let path = std::path::absolute(folder.join("bad-input.jsonl"))?;
    std::fs::write(&path, "").with_context(|| format!("could not write {}", path.display()))?;
    Ok(path)
}

/// Prints the total. Fails if a required row is missing or any check failed.
pub fn sum(report: &Path) -> Result<()> {
    let text = std::fs::read_to_string(report)
        .with_context(|| format!("could not read {}", report.display()))?;
    let rows = rows(&text)?;
    println!("{}", total(&rows));
    let missing = missing(&rows);
    ensure!(missing.is_empty(), "no test checked {} of bad input", missing.join(", "));
    let failed: Vec<&str> =
        rows.iter().filter(|(_, row)| row.passed < row.checks).map(|(name, _)| &**name).collect();
    ensure!(failed.is_empty(), "checks of {} failed", failed.join(", "));
    Ok(())
}

/// Adds up the report. A test that was tried again counts as its last try: the runner names it as flaky.
fn rows(report: &str) -> Result<BTreeMap<String, Row>> {
    let mut tests: BTreeMap<(String, String), (u64, Row)> = BTreeMap::new();
    for line in report.lines() {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("not a report: {line}"))?;
        let count = |field: &str| value[field].as_u64().context("a count is missing");
        let name = value["row"].as_str().context("the row is missing")?;
        let by = value["by"].as_str().unwrap_or_default();
        let pid = value["pid"].as_u64().unwrap_or_default();
        let (seen, row) = tests.entry((name.to_owned(), by.to_owned())).or_default();
        if *seen != pid {
            (*seen, *row) = (pid, Row::default());
        }
        row.add(count("checks")?, count("passed")?, count("slowest_ms")?);
    }
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for ((name, _), (_, row)) in tests {
        rows.entry(name).or_default().add(row.checks, row.passed, row.slowest_ms);
    }
    Ok(rows)
}

fn missing(rows: &BTreeMap<String, Row>) -> Vec<String> {
    let required = REQUIRED.iter().cloned().flatten().map(|number| format!("B{number:02}"));
    required.filter(|name| !rows.contains_key(name)).collect()
}

fn total(rows: &BTreeMap<String, Row>) -> String {
    let checks: u64 = rows.values().map(|row| row.checks).sum();
    let passed: u64 = rows.values().map(|row| row.passed).sum();
    let whole = rows.values().filter(|row| row.passed == row.checks).count();
    let all = rows.len() + missing(rows).len();
    let slowest = rows.iter().max_by_key(|(_, row)| row.slowest_ms);
    let slowest = slowest.map_or(String::new(), |(name, row)| {
        format!("; slowest check: {name}, {} ms", row.slowest_ms)
    });
    format!("bad input: {passed} of {checks} checks passed, {whole} of {all} rows whole{slowest}")
}

#[cfg(test)]
mod tests {
    use super::{REQUIRED, missing, rows, total};

    const REPORT: &str = r#"{"row":"B01","checks":4,"passed":4,"slowest_ms":3}
{"row":"B64","checks":2,"passed":2,"slowest_ms":410}
{"row":"B01","checks":1,"passed":0,"slowest_ms":9}
"#;

    #[test]
    fn tables_of_one_row_are_added_up() {
        let rows = rows(REPORT).unwrap();
        assert_eq!((rows["B01"].checks, rows["B01"].passed, rows["B01"].slowest_ms), (5, 4, 9));
        let missing = missing(&rows);
        let required = REQUIRED.iter().cloned().flatten().count();
        assert_eq!(missing.len(), required - 2, "{missing:?}");
        assert!(missing.contains(&"B02".to_owned()) && !missing.contains(&"B64".to_owned()));
        let expected = format!(
            "bad input: 6 of 7 checks passed, 1 of {required} rows whole; slowest check: B64, 410 ms"
        );
        assert_eq!(total(&rows), expected);
    }

    #[test]
    fn a_test_that_was_tried_again_counts_once() {
        let line = |passed: u64, by: &str, pid: u64| {
            format!(
                "{{\"row\":\"B01\",\"checks\":2,\"passed\":{passed},\"slowest_ms\":1,\"by\":\"{by}\",\"pid\":{pid}}}\n"
            )
        };
        let report = [line(1, "a", 7), line(2, "b", 8), line(2, "a", 9), line(2, "a", 9)].concat();
        let rows = rows(&report).unwrap();
        assert_eq!((rows["B01"].checks, rows["B01"].passed), (6, 6));
    }

    #[test]
    fn what_is_no_report_is_said() {
        assert!(rows("{\"row\":\"B01\"}\n").is_err());
        assert!(rows("nonsense\n").is_err());
    }
}
