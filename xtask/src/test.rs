//! `cargo xtask test`: every test, from a clean clone.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::command::{self, in_path, stage};
use crate::{bad_input, setup};

#[derive(Args)]
pub struct Options {
    /// Leaves out the web UI's unit tests and the browser.
    #[arg(long)]
    no_web: bool,
}

/// Sets up what is missing, then runs: web units, Rust (both databases), doc tests, browser.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    setup::postgres()?;
    setup::systemd();
    setup::strace();
    let chromium = if options.no_web { None } else { Some(setup::chromium()?) };
    setup::web(root)?;
    if chromium.is_some() {
        stage("web: types and unit tests");
        command::run(command::web(root, "npm").args(["run", "--silent", "typecheck"]))?;
        command::run(command::web(root, "npm").args(["run", "--silent", "test"]))?;
    }
    stage("the two programs");
    command::run(command::cargo(root).args(["build", "--locked", "--workspace", "--bins"]))?;
    stage("Rust tests, on SQLite and on Postgres");
    // One Postgres for the whole run: it was built with the programs, and stops with the command.
    let cargo = command::cargo(root);
    let mut tests = Command::new(bin_dir(root).join("with-postgres"));
    tests.current_dir(root).arg(cargo.get_program());
    if in_path("cargo-nextest").is_some() {
        tests.args(["nextest", "run", "--locked", "--workspace", "--all-targets"]);
    } else {
        println!("cargo-nextest is not installed; using cargo test (slower)");
        tests.args(["test", "--locked", "--workspace", "--all-targets"]);
    }
    let report = bad_input::begin(&bin_dir(root))?;
    tests.env(bad_input::REPORT_VARIABLE, &report);
    // What fails does not keep the rest from being seen: one run tells everything that is wrong.
    let mut failed = Vec::new();
    let mut note = |name: &str, outcome: Result<()>| {
        if let Err(error) = outcome {
            eprintln!("FAILED: {name}: {error:#}");
            failed.push(format!("{name}: {error:#}"));
        }
    };
    note("Rust tests", command::run(&mut tests));
    if let Some(chromium) = chromium {
        stage("the newcomer's journey and every screen, in Chromium");
        note("browser", browser(root, &chromium));
    }
    stage("bad input");
    note("bad input", bad_input::sum(&report));
    ensure!(failed.is_empty(), "\n{}", failed.join("\n"));
    println!("\nAll tests passed.");
    Ok(())
}

/// The browser suite on a fresh server. As with every other test, a suite that passes only the second time
/// is named as flaky, which is a bug.
fn browser(root: &Path, chromium: &Path) -> Result<()> {
    let mut browser = command::web(root, "node");
    browser.arg("e2e/run.mjs");
    browser.env("HOLDFAST_TEST_CHROMIUM", chromium);
    browser.env("HOLDFAST_BIN_DIR", bin_dir(root));
    let Err(first) = command::run(&mut browser) else { return Ok(()) };
    eprintln!("FLAKY, unless it fails again: {first:#}");
    command::run(&mut browser)
}

/// Where cargo puts debug binaries.
pub fn bin_dir(root: &Path) -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), Into::into)
        .join("debug")
}
