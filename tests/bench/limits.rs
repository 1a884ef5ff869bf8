//! The limits: the least that any program of this kind can cost on this machine.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::sample::Samples;

/// Runs as a limit program: prints `ready` and stays until its standard input ends.
pub async fn run(which: &str) -> Result<()> {
    match which {
        "idle" => ready_and_wait().await,
        "http" => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let app = axum::Router::new().route("/", axum::routing::get(|| async { "ok" }));
            #[expect(clippy::disallowed_methods, reason = "a limit program has no lifecycle")]
            tokio::spawn(async move { axum::serve(listener, app).await });
            ready_and_wait().await
        }
        "flood" => flood(),
        other => bail!("no limit program {other}"),
    }
}

async fn ready_and_wait() -> Result<()> {
    println!("ready");
    let mut byte = [0_u8; 1];
    let _ = tokio::io::AsyncReadExt::read(&mut tokio::io::stdin(), &mut byte).await;
    Ok(())
}

/// Writes [`FLOOD_BYTES`] of 80-byte lines as fast as the reader takes them.
fn flood() -> Result<()> {
    let line = [&[b'x'; 79][..], b"\n"].concat();
    let block = line.repeat(64 * 1024 / line.len());
    let mut out = std::io::stdout().lock();
    let mut left = FLOOD_BYTES;
    while left > 0 {
        let take = left.min(block.len());
        out.write_all(&block[..take])?;
        left -= take;
    }
    Ok(())
}

/// What the flood program writes.
pub const FLOOD_BYTES: usize = 512 * 1024 * 1024;

/// Spawn to exit of `/bin/true` with pipes, in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub fn bare_spawn(program: &str, arguments: &[&str], count: usize) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..count {
        let start = Instant::now();
        Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
        samples.push(start.elapsed());
    }
    Ok(samples)
}

/// Rate of a reader that drops what the flood program writes, in MiB a second.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub fn bare_reader_mib_s() -> Result<f64> {
    let start = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--limit", "flood"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = child.stdout.take().expect("its output is piped");
    let read = std::io::copy(
        &mut std::io::BufReader::with_capacity(64 * 1024, &mut out),
        &mut std::io::sink(),
    )?;
    child.wait()?;
    Ok(mib(read) / start.elapsed().as_secs_f64())
}

/// Bytes as MiB.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
