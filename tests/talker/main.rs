//! A program that talks: what the tests of outliving processes let a daemon run.
//!
//! `talker OWN STOP CODE PAUSE_MS BYTES`: writes numbered lines of about `BYTES` to standard output
//! and, each one before that, to the file `OWN`, its own record. Ends with `CODE` after the line it
//! is at when the file `STOP` is there. Whatever happens to the daemon, the record says what the
//! daemon must know.

use std::fs::File;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [own, stop, code, pause_ms, bytes] = arguments.as_slice() else {
        bail!("talker OWN STOP CODE PAUSE_MS BYTES");
    };
    let mut record = File::create(own).with_context(|| format!("could not make {own}"))?;
    let (pause_ms, bytes): (u64, usize) = (pause_ms.parse()?, bytes.parse()?);
    let name = own.rsplit('/').next().unwrap_or(own);
    for number in 1_u64.. {
        let line = format!("{name} {number} {}\n", ".".repeat(bytes));
        record.write_all(line.as_bytes())?;
        // The keeper holds the other end: whoever else ends, this does not fail.
        stdout().write_all(line.as_bytes())?;
        stdout().flush()?;
        if std::path::Path::new(stop).exists() {
            break;
        }
        // Its work; a talker that never rests would be a flood.
        std::thread::sleep(Duration::from_millis(pause_ms));
    }
    Ok(ExitCode::from(code.parse::<u8>()?))
}
