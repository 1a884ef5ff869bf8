//! `agentd`: arguments, logging, runtime, exit code; nothing else.

use std::io::IsTerminal;
use std::process::ExitCode;

use agentd::options::{Cli, LogFormat};
use agentd::process::FORKER_ARGUMENT;
use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    // Before anything else is made: it forks, and what is made here would be in every keeper.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == FORKER_ARGUMENT) {
        return match agentd::process::run_forker() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    // Before the arguments are parsed, which would be done twice. Another command that has such an argument
    // is none the worse.
    if std::env::args_os().any(|argument| argument == "run") {
        agentd::resident::begin_with_one_heap();
    }
    // Prints help and usage errors by itself: exit code 0 or 2.
    let cli = Cli::parse();
    start_logging(&cli);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("agentd: could not start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ending = runtime.block_on(agentd::command::execute(cli));
    // A blocking job that hangs (a dead network file system) must not hold the exit.
    runtime.shutdown_background();
    if let Err(error) = &ending {
        report(error);
    }
    ExitCode::from(ending.err().map_or(0, |error| error.exit_code()))
}

/// Logs go to standard error, so that standard output is the command's answer alone.
fn start_logging(cli: &Cli) {
    // Levels by module; filters by the fields of spans would bring another engine for expressions.
    let filter: Targets =
        cli.log.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    // A log file or the journal of a service is no place for colours.
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match cli.log_format {
        LogFormat::Json => registry.with(layer.json()).init(),
        LogFormat::Text => registry.with(layer.with_ansi(color).with_target(false)).init(),
    }
}

/// One line for people, and for the service manager: the error and the chain of its causes.
fn report(error: &agentd::command::CommandError) {
    use std::error::Error;
    use std::io::Write;

    let mut text = format!("agentd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    // Standard error may be closed; the exit code still says it.
    let _ = writeln!(std::io::stderr(), "{text}");
    agentd::systemd::failed(text.trim_start_matches("agentd: "));
}
