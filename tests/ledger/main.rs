//! The command that tests let a model run: appends one line to a file, durably, and says it.
//!
//! `ledger FILE WORD [MILLISECONDS]`. One `write` with `O_APPEND | O_SYNC`, so that a line is
//! there once for each time that the command really ran, whatever is killed around it. With a
//! time it stays alive after the line, as a command that works does.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, word, rest) = match arguments.as_slice() {
        [file, word, rest @ ..] => (file, word, rest),
        _ => bail!("ledger FILE WORD [MILLISECONDS]"),
    };
    let mut ledger = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags(nix::libc::O_SYNC)
        .open(file)
        .with_context(|| format!("could not open {file}"))?;
    ledger.write_all(format!("{word}\n").as_bytes())?;
    println!("{word}");
    if let Some(pause) = rest.first() {
        std::thread::sleep(Duration::from_millis(pause.parse()?));
    }
    Ok(())
}
