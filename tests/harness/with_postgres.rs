//! `with-postgres COMMAND…`: runs a command with one Postgres for all tests in it.
//!
//! The server is the private one of [`tests::postgres`]; it ends with the command, whose exit code
//! is passed on. Without binaries the command runs all the same: each test then says what is missing.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use tests::postgres::Postgres;

fn main() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("usage: with-postgres COMMAND [ARGUMENT…]")?;
    let server = Postgres::start().inspect_err(|error| eprintln!("{error:#}")).ok().flatten();
    let environment = server.as_ref().map(Postgres::environment).unwrap_or_default();
    let status = Command::new(program).args(words).envs(environment).status()?;
    drop(server);
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
