//! `cargo xtask simulate`: many seeds of the simulator, or one with its trace.

use std::path::Path;

use anyhow::{Result, ensure};
use clap::Args;

use crate::command;

#[derive(Args)]
pub struct Options {
    /// Which seeds, `A..B`.
    #[arg(long, default_value = "0..2000")]
    seeds: String,
    /// One seed instead.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
}

/// Builds the simulator and runs the seeds; prints how often each point fired, and what failed.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let seeds =
        options.seed.map_or_else(|| options.seeds.clone(), |one| format!("{one}..{}", one + 1));
    let is_range = seeds
        .split_once("..")
        .is_some_and(|(from, to)| from.parse::<u64>().is_ok() && to.parse::<u64>().is_ok());
    ensure!(is_range, "seeds are given as A..B, such as 0..20000");
    let mut tests = command::cargo(root);
    tests.args([
        "test",
        "--locked",
        "--profile",
        "simulation",
        "-p",
        "tests",
        "--test",
        "sim",
        "--",
        "--nocapture",
        "--exact",
    ]);
    tests.arg("whatever_goes_wrong_nothing_is_lost_and_nothing_runs_twice");
    tests.env("HOLDFAST_SEEDS", seeds);
    if options.trace {
        tests.env("HOLDFAST_SEED_TRACE", "1");
    }
    command::run(&mut tests)
}
