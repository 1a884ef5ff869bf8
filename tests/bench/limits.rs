//! The limits: the least that any program of this kind can cost on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use quinn::crypto::rustls::QuicServerConfig;
use tests::programs::bin_dir;
use tokio::sync::watch;

use crate::product::now;
use crate::sample::Samples;

/// Runs as a limit program: prints `ready` and stays until its standard input ends.
pub async fn run(which: &str) -> Result<()> {
    match which {
        "http" => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let app = axum::Router::new().route("/", axum::routing::get(|| async { "ok" }));
            #[expect(clippy::disallowed_methods, reason = "a limit program has no lifecycle")]
            tokio::spawn(async move { axum::serve(listener, app).await });
            ready_and_wait().await
        }
        "fan-out" => crate::viewers::serve_fan().await,
        "flood" => flood(FLOOD_BYTES),
        "terminal-flood" => flood(crate::ptys::FLOOD_BYTES),
        other => bail!("no limit program {other}"),
    }
}

async fn ready_and_wait() -> Result<()> {
    println!("ready");
    let mut byte = [0_u8; 1];
    let _ = tokio::io::AsyncReadExt::read(&mut tokio::io::stdin(), &mut byte).await;
    Ok(())
}

/// Writes `total` bytes of 80-byte lines as fast as the reader takes them.
fn flood(total: usize) -> Result<()> {
    let line = [&[b'x'; 79][..], b"\n"].concat();
    let block = line.repeat(64 * 1024 / line.len());
    let mut out = std::io::stdout().lock();
    let mut left = total;
    while left > 0 {
        let take = left.min(block.len());
        out.write_all(&block[..take])?;
        left -= take;
    }
    Ok(())
}

/// What the flood program writes: many times what is kept, so that the start counts for little.
pub const FLOOD_BYTES: usize = 4 * 1024 * 1024 * 1024;

/// A limit program that runs; ended when it is dropped.
pub struct LimitProgram(Child);

impl LimitProgram {
    /// Starts `command` and waits for its first line; the time from start to that line too.
    pub fn start(command: &mut Command) -> Result<(Self, std::time::Duration)> {
        let start = now();
        let (program, _) = Self::start_told(command)?;
        Ok((program, start.elapsed()))
    }

    /// The same, and its first line.
    pub fn start_told(command: &mut Command) -> Result<(Self, String)> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "a limit program ended before its first line");
        Ok((Self(child), line.trim().to_owned()))
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for LimitProgram {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A bare HTTP server.
pub fn http_server() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--limit", "http"]);
    Ok(command)
}

/// What bare daemons connect to.
pub struct QuicServer {
    endpoint: quinn::Endpoint,
    newest: watch::Receiver<Option<quinn::Connection>>,
    home: tempfile::TempDir,
}

impl QuicServer {
    /// Listens on loopback and keeps the newest connection.
    #[expect(clippy::disallowed_methods, reason = "a benchmark has no lifecycle")]
    pub fn start() -> Result<Self> {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
        let home = tempfile::tempdir()?;
        std::fs::write(home.path().join("certificate"), signed.cert.der())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key.into())?;
        let crypto = Arc::new(QuicServerConfig::try_from(tls)?);
        let config = quinn::ServerConfig::with_crypto(crypto);
        let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into())?;
        let accepting = endpoint.clone();
        let (connected, newest) = watch::channel(None);
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                if let Ok(connection) = incoming.await {
                    connected.send_replace(Some(connection));
                }
            }
        });
        Ok(Self { endpoint, newest, home })
    }

    /// A bare daemon that connects here.
    pub fn daemon(&self) -> Result<Command> {
        let mut command = Command::new(bin_dir()?.join("minimal-daemon"));
        command.arg(self.endpoint.local_addr()?.to_string());
        command.arg(self.home.path().join("certificate"));
        Ok(command)
    }

    /// One round trip to the newest bare daemon, on a stream of its own.
    pub async fn echo(&self) -> Result<()> {
        let mut newest = self.newest.clone();
        let connection = newest.wait_for(Option::is_some).await?.clone();
        let (mut send, mut receive) = connection.context("one is there")?.open_bi().await?;
        send.write_all(&[0; 128]).await?;
        send.finish()?;
        receive.read_to_end(64 * 1024).await?;
        Ok(())
    }
}

/// Adds `count` times from spawn to exit of `program` with pipes, in milliseconds.
pub fn bare_spawn(
    samples: &mut Samples,
    program: &str,
    arguments: &[&str],
    count: usize,
) -> Result<()> {
    for _ in 0..count {
        let start = now();
        Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
        samples.push(start.elapsed());
    }
    Ok(())
}

/// Rate of a reader that drops what the flood program writes, in MiB a second.
pub fn bare_reader_mib_s() -> Result<f64> {
    let start = now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--limit", "flood"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = child.stdout.take().expect("its output is piped");
    let read =
        std::io::copy(&mut BufReader::with_capacity(64 * 1024, &mut out), &mut std::io::sink())?;
    child.wait()?;
    Ok(mib(read) / start.elapsed().as_secs_f64())
}

/// Bytes as MiB.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
