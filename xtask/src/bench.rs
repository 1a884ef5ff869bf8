//! `cargo xtask bench`: builds everything in release and runs the benchmarks of `tests/bench`.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use crate::{command, setup};

#[derive(Args)]
pub struct Options {
    /// Prints the table as JSON lines.
    #[arg(long)]
    json: bool,
    /// Only the rows whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// Builds and runs.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if !root.join("web/dist/index.html").exists() {
        setup::web(root)?;
    }
    command::run(command::cargo(root).args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bins",
    ]))?;
    // As it is shipped: by itself, without what the other programs ask of the libraries they share.
    command::run(command::cargo(root).args(["build", "--locked", "--release", "-p", "agentd"]))?;
    let mut bench = command::cargo(root);
    bench.args(["run", "--locked", "--release", "--quiet", "-p", "tests", "--bin", "bench", "--"]);
    if options.json {
        bench.arg("--json");
    }
    if let Some(only) = &options.only {
        bench.args(["--only", only]);
    }
    command::run(&mut bench)
}
