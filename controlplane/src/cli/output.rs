//! Standard output: whole texts, and no panic when the reader has gone.

use std::io::{self, Write};

use super::exit::Failure;

/// Prints `text` as it is.
///
/// # Errors
///
/// A broken pipe ends the command in the usual way; anything else is a failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::broken_pipe()),
        Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
    }
}

/// Prints `text` and a line end.
///
/// # Errors
///
/// As [`print`].
pub fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}
