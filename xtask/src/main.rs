//! The project's own commands. No other build tool is needed.
//!
//! ```text
//! cargo xtask up        set everything up and run the product for this checkout
//! cargo xtask test      set everything up and run every test
//! cargo xtask promises  the tests of numbered promises at full size, and their figures
//! cargo xtask simulate  many seeds of the simulator, or one with its trace
//! cargo xtask planted   plants known bugs and shows which test catches each
//! cargo xtask check     formatting, lints, house rules, dependencies, docs, generated files
//! cargo xtask bench     all benchmarks
//! ```

mod bad_input;
mod bench;
mod check;
mod command;
mod planted;
mod promises;
mod setup;
mod simulate;
mod test;
mod tidy;
mod up;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Holdfast's own commands")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Sets everything up, starts a control plane and a daemon for this checkout, and prints the
    /// URL and the set-up link. Ctrl-C stops both; the state stays under `.holdfast/`.
    Up(up::Options),
    /// Sets everything up and runs every test: Rust, both databases, web, browser.
    Test(test::Options),
    /// Runs the tests of numbered promises (`p22_…`) at full size, one after another, and prints
    /// their figures.
    Promises(promises::Options),
    /// Runs the simulator over many seeds and prints how often each point fired.
    Simulate(simulate::Options),
    /// Plants known bugs in a copy of the checkout, one after another, and prints which test caught
    /// each.
    Planted(planted::Options),
    /// Formatting, clippy, tidy, dependencies, docs, generated files.
    Check,
    /// The house rules that no linter knows.
    Tidy,
    /// Runs the benchmarks and prints their table.
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    let root = command::root()?;
    match Arguments::parse().task {
        Task::Up(options) => up::run(&root, &options),
        Task::Test(options) => test::run(&root, &options),
        Task::Promises(options) => promises::run(&root, &options),
        Task::Simulate(options) => simulate::run(&root, &options),
        Task::Planted(options) => planted::run(&root, &options),
        Task::Check => check::run(&root),
        Task::Tidy => tidy::run(&root),
        Task::Bench(options) => bench::run(&root, &options),
    }
}
