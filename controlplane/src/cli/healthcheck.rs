//! `healthcheck`: for containers and service managers.

use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::exit::Failure;
use super::output::line;
use crate::options::{self, Sources};

const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `/readyz` of the running server.
pub async fn run(sources: Sources, url: Option<String>) -> Result<ExitCode, Failure> {
    let (options, _) = options::load(&sources)?;
    let url = url.unwrap_or_else(|| {
        let listen = options.http.listen;
        let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
        let host = if listen.ip().is_unspecified() { loopback } else { listen.ip() };
        format!("http://{}", std::net::SocketAddr::new(host, listen.port()))
    });
    let answer = tokio::time::timeout(PATIENCE, ready(&url)).await;
    match answer.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok(()) => line("ready").map(|()| ExitCode::SUCCESS),
        Err(reason) => Err(Failure::unavailable(format!("{url} is not ready: {reason}"))),
    }
}

/// One request by hand: a client library would be a lot of code for one line of answer.
pub(super) async fn ready(url: &str) -> Result<(), String> {
    let Some(host) = url.strip_prefix("http://") else {
        return Err("only http:// addresses can be asked".to_owned());
    };
    let host = host.trim_end_matches('/');
    let fail = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(host).await.map_err(fail)?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(fail)?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await.map_err(fail)?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some("503") => Err(answer.lines().last().unwrap_or("503").to_owned()),
        Some(status) => Err(format!("it answered {status}")),
        None => Err("it does not speak HTTP".to_owned()),
    }
}
