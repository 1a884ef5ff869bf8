//! `config check` and `config print`.

use std::process::ExitCode;

use serde_json::json;

use super::args::ConfigCommand;
use super::exit::Failure;
use super::output::{line, print};
use crate::options::{self, Kind, Sources};

/// Checks the configuration, or prints it.
pub fn run(sources: &Sources, command: ConfigCommand) -> Result<ExitCode, Failure> {
    let (_, resolved) = options::load(sources)?;
    match command {
        ConfigCommand::Check => line("the configuration is well")?,
        ConfigCommand::Print { json: true } => {
            let rows: Vec<_> = resolved
                .printable()
                .map(|(setting, value, origin)| {
                    let shown = if setting.kind == Kind::Secret { "…" } else { &value };
                    json!({"key": setting.path, "value": shown, "origin": origin.to_string()})
                })
                .collect();
            print(&format!("{:#}\n", json!(rows)))?;
        }
        ConfigCommand::Print { json: false } => {
            for (setting, value, origin) in resolved.printable() {
                line(&format!("{} = {value}    # {origin}", setting.path))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
