//! How a command ends.

use std::io;
use std::process::ExitCode;

use crate::app::StartError;
use crate::fleet::CaError;
use crate::options::OptionErrors;
use crate::store::StoreError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const LOCKED: u8 = 3;
const UNAVAILABLE: u8 = 69;
const NOT_ALLOWED: u8 = 77;
const CONFIGURATION: u8 = 78;
/// As a shell says it of a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// Why a command failed, and with which code it ends.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It went wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into() }
    }

    /// Something that is needed is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: UNAVAILABLE, message: message.into() }
    }

    /// The program was called in a wrong way.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// Nobody reads the output any more; nothing is said about it.
    #[must_use]
    pub const fn broken_pipe() -> Self {
        Self { code: BROKEN_PIPE, message: String::new() }
    }

    /// What went wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says it on standard error.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            // Standard error may be closed too; the code still tells.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("controlplane: {line}\n"));
        }
        ExitCode::from(self.code)
    }
}

impl From<OptionErrors> for Failure {
    fn from(errors: OptionErrors) -> Self {
        Self { code: CONFIGURATION, message: errors.to_string() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Locked { .. } => LOCKED,
            StartError::Authority(CaError::Store(_)) => UNAVAILABLE,
            StartError::DataDir { .. } | StartError::MasterKey(_) | StartError::Authority(_) => {
                CONFIGURATION
            }
            StartError::Listen { kind: io::ErrorKind::PermissionDenied, .. } => NOT_ALLOWED,
            StartError::Listen { .. } | StartError::Database(_) => UNAVAILABLE,
            StartError::Service { .. } => FAILED,
        };
        Self { code, message: with_causes(&error) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { code: UNAVAILABLE, message: with_causes(&error) }
    }
}

/// The error and its causes in one sentence; a cause that the text has already is not repeated.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What the parser of the command line says: help and versions on standard output, the rest not.
#[must_use]
pub fn of_clap(error: &clap::Error) -> ExitCode {
    let is_error = error.use_stderr();
    match error.print() {
        Err(io) if io.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(BROKEN_PIPE),
        _ if is_error => ExitCode::from(USAGE),
        _ => ExitCode::SUCCESS,
    }
}
