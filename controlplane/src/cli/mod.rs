//! The command line: what can be asked, and the exit codes.
//!
//! | Code | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed |
//! | 2 | wrong use of the command line |
//! | 3 | another instance holds the data directory |
//! | 69 | unavailable: the server, the database or an address |
//! | 75 | try again |
//! | 77 | not allowed |
//! | 78 | the configuration is wrong |
//! | 141 | nobody reads the output |
//!
//! Results go to standard output, everything else to standard error.

mod admin;
mod args;
mod config;
mod demo;
mod doctor;
mod exit;
mod healthcheck;
mod logging;
mod memory;
mod offer;
mod offline;
mod output;
mod serve;
mod setup_link;
mod sources;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};
use exit::Failure;

/// Parses the command line, runs the command, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::of_clap(&error),
    };
    // Two providers in one process would make the first use of TLS panic.
    crate::fleet::install_provider();
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { common, command } = arguments;
    match command {
        Command::Serve(flags) => on_many_threads(serve::run(sources::of(&common, Some(&flags))?)),
        Command::Demo(flags) => on_many_threads(demo::run(common, flags)),
        Command::SetupLink => on_one_thread(setup_link::run(sources::of(&common, None)?)),
        Command::Doctor => on_one_thread(doctor::run(sources::of(&common, None)?)),
        Command::Healthcheck { url } => {
            on_one_thread(healthcheck::run(sources::of(&common, None)?, url))
        }
        Command::Config(command) => config::run(&sources::of(&common, None)?, command),
        Command::Openapi => done(output::print(&crate::http::document())),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "controlplane", &mut text);
            done(output::print(&String::from_utf8_lossy(&text)))
        }
        Command::Admin(command) => on_one_thread(admin::run(sources::of(&common, None)?, command)),
    }
}

fn done(result: Result<(), Failure>) -> Result<ExitCode, Failure> {
    result.map(|()| ExitCode::SUCCESS)
}

fn on_many_threads(
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    memory::keep_little();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("no threads: {error}")))?.block_on(work)
}

fn on_one_thread(
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))?.block_on(work)
}
