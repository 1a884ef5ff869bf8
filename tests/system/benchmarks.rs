//! The benchmarks run: a few samples of each group about the engine, with every row beside its limit.
//! No figure is looked at.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::programs::bin_dir;

fn rows(group: &str) -> Result<Vec<Value>> {
    let mut bench = Command::new(bin_dir()?.join("bench"));
    let output = bench.args(["--smoke", "--json", "--only", group]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{group}: {errors}");
    let text = String::from_utf8(output.stdout)?;
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for row in &rows {
        let is_there = |name: &str| row[name].as_f64().is_some_and(|figure| figure > 0.0);
        ensure!(is_there("ours") && is_there("limit") && is_there("samples"), "{group}: {row}");
    }
    Ok(rows)
}

#[test]
fn commits_are_counted_and_measured_on_the_databases_that_are_there() -> Result<()> {
    let rows = rows("commits")?;
    ensure!(rows.len() == 3 || rows.len() == 6, "{rows:#?}");
    Ok(())
}

#[test]
fn subscribing_to_a_long_chat_and_viewers_of_one_chat_are_measured() -> Result<()> {
    ensure!(rows("viewers")?.len() == 5);
    Ok(())
}

#[test]
fn chats_that_run_at_once_are_measured() -> Result<()> {
    ensure!(rows("many")?.len() == 4);
    Ok(())
}
