//! Rows of the catalogue: collected, counted, reported whole.

use shared::testing::bad_input::BadInput;

use super::world::Answer;

/// Rows of one group and what became of them.
#[derive(Default)]
pub struct Rows {
    count: usize,
    failures: Vec<String>,
    report: BadInput,
}

impl Rows {
    /// A row that must be answered with `status` and `code`, as a problem with every field.
    pub fn problem(&mut self, row: &str, answer: &Answer, status: u16, code: &str) {
        let view = answer.json();
        let text = |field: &str| view[field].as_str().is_some_and(|text| !text.is_empty());
        let whole = ["type", "title", "detail", "instance", "request_id"].into_iter().all(text);
        let found = (answer.status, answer.code());
        let is_problem =
            answer.header("content-type").as_deref() == Some("application/problem+json");
        self.fact(
            row,
            found == (status, code.to_owned()) && whole && is_problem,
            &format!("{found:?} instead of {status} {code}: {view}"),
        );
    }

    /// A row that must be so.
    pub fn fact(&mut self, row: &str, is_so: bool, otherwise: &str) {
        self.count += 1;
        self.report.check(row, is_so);
        if !is_so {
            let shown: String = otherwise.chars().take(600).collect();
            self.failures.push(format!("{row}: {shown}"));
        }
    }

    /// Reports the group and fails if any row failed.
    pub fn report(self, group: &str) {
        let passed = self.count - self.failures.len();
        println!("{group}: passed {passed}/{}", self.count);
        self.report.report(group);
        assert!(self.failures.is_empty(), "{group}:\n{}", self.failures.join("\n"));
    }
}
