//! Samples, rows and the table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Samples from which a 99th percentile is worth printing.
const P99_SAMPLES_MIN: usize = 500;

/// Whether a run only shows that everything runs.
static SMALL: AtomicBool = AtomicBool::new(false);

/// Makes every [`sized`] count the small one.
pub fn be_small(small: bool) {
    SMALL.store(small, Ordering::Relaxed);
}

/// How many: `whole` in a benchmark, `small` where only the benchmark itself is tried.
pub fn sized(whole: usize, small: usize) -> usize {
    if SMALL.load(Ordering::Relaxed) { small } else { whole }
}

/// What was measured, beside its limit and its goal.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name.
    pub metric: &'static str,
    /// Of every figure in the row.
    pub unit: &'static str,
    /// Ours: the median, or the one figure.
    pub ours: f64,
    /// Smallest sample.
    pub min: f64,
    /// 99th percentile, with 500 samples or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Samples.
    pub samples: usize,
    /// What the limit is.
    pub limit_is: &'static str,
    /// The limit, measured in the same run.
    pub limit: f64,
    /// `ours / limit`.
    pub ratio: f64,
    /// The goal, in words.
    pub goal: &'static str,
    /// Whether the goal holds in this run; none: no goal is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

/// Times in milliseconds, or any other figures.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds a time in milliseconds.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1_000.0);
    }

    /// Adds a figure of another unit.
    pub fn push_figure(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest; 0 without samples.
    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The median; 0 without samples.
    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The 99th percentile, with enough samples.
    pub fn p99(&self) -> Option<f64> {
        (self.len() >= P99_SAMPLES_MIN).then(|| self.quantile(0.99))
    }

    fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of at most thousands"
        )]
        let index = (last as f64 * q).round() as usize;
        sorted.get(index).copied().unwrap_or(0.0)
    }
}

/// Builds a row from samples of ours and of the limit.
pub struct RowSpec {
    /// See [`Row`].
    pub metric: &'static str,
    /// See [`Row`].
    pub unit: &'static str,
    /// See [`Row`].
    pub limit_is: &'static str,
    /// See [`Row`].
    pub goal: &'static str,
}

impl RowSpec {
    /// The row; `holds` judges it from (ours, limit).
    pub fn row(self, ours: &Samples, limit: f64, holds: impl Fn(&Samples, f64) -> bool) -> Row {
        let holds = ours.len() > 0 && holds(ours, limit);
        Row { holds: Some(holds), ..self.row_without_goal(ours, limit) }
    }

    /// The row, for people to look at; `goal` says so.
    pub fn row_without_goal(self, ours: &Samples, limit: f64) -> Row {
        let p50 = ours.p50();
        Row {
            metric: self.metric,
            unit: self.unit,
            ours: round(p50),
            min: round(ours.min()),
            p99: ours.p99().map(round),
            samples: ours.len(),
            limit_is: self.limit_is,
            limit: round(limit),
            ratio: if limit > 0.0 { round(p50 / limit) } else { 0.0 },
            goal: self.goal,
            holds: None,
        }
    }
}

fn round(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}

/// How many goals hold, and which do not.
pub fn summary(rows: &[Row]) -> String {
    let held = rows.iter().filter(|row| row.holds == Some(true)).count();
    let missed: Vec<&str> =
        rows.iter().filter(|row| row.holds == Some(false)).map(|row| row.metric).collect();
    if missed.is_empty() {
        format!("all {held} goals hold")
    } else {
        format!("{held} of {} goals hold; missed: {}", held + missed.len(), missed.join("; "))
    }
}

/// The table for people.
pub fn print_table(rows: &[Row]) {
    println!(
        "| {:<44} | {:>10} | {:>10} | {:>10} | {:>10} | {:>6} | {:<5} | goal; limit |",
        "metric", "p50", "min", "p99", "limit", "ratio", "holds",
    );
    println!("|{0:-<46}|{0:-<12}|{0:-<12}|{0:-<12}|{0:-<12}|{0:-<8}|{0:-<7}|{0:-<12}|", "");
    for row in rows {
        println!(
            "| {:<44} | {:>10} | {:>10} | {:>10} | {:>10} | {:>6.2} | {:<5} | {}; limit: {} |",
            format!("{} ({})", row.metric, row.unit),
            row.ours,
            row.min,
            row.p99.map_or("–".to_owned(), |p99| p99.to_string()),
            row.limit,
            row.ratio,
            row.holds.map_or("–", |holds| if holds { "yes" } else { "no" }),
            row.goal,
            row.limit_is,
        );
    }
}
