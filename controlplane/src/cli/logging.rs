//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::exit::Failure;
use crate::options::LogOptions;

/// Begins to log. A second call changes nothing.
///
/// # Errors
///
/// When the filter is none.
pub fn start(options: &LogOptions) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&options.filter)
        .map_err(|error| Failure::usage(format!("log.level: {error}")))?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that a log is there already, as in tests.
    let _ = if options.json {
        base.json().flatten_event(true).try_init()
    } else {
        base.with_ansi(color).with_target(false).try_init()
    };
    Ok(())
}
