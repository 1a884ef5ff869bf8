//! `doctor`: checks everything the server needs, with a way out for each trouble.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;

use super::exit::Failure;
use super::healthcheck;
use super::offline::Offline;
use super::output::line;
use crate::options::{self, Sources};

/// Runs every check; exit code 1 when one is bad.
pub async fn run(sources: Sources) -> Result<ExitCode, Failure> {
    let mut bad = 0;
    let options = match options::load(&sources) {
        Ok((options, _)) => {
            tell(&mut bad, "configuration", Ok("no unknown keys, every value fits".to_owned()))?;
            options
        }
        Err(errors) => {
            for error in errors.0 {
                tell(&mut bad, "configuration", Err(error.to_string()))?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let offline = Offline::open(&sources).await;
    let database = match &offline {
        Ok(offline) => Ok(format!("{} opens and is up to date", offline.store.kind())),
        Err(failure) => Err(failure.message().to_owned()),
    };
    tell(&mut bad, "database", database)?;
    if let Ok(offline) = &offline {
        let key = offline.secrets().map(|_| "is private and readable".to_owned());
        tell(&mut bad, "master key", key.map_err(|failure| failure.message().to_owned()))?;
        let people = offline.store.users.count().await?;
        let text = match people {
            0 => "nobody yet: open the link of `controlplane setup-link`".to_owned(),
            1 => "1 person".to_owned(),
            _ => format!("{people} people"),
        };
        tell(&mut bad, "people", Ok(text))?;
    }
    let listen = options.http.listen;
    if healthcheck::ready(&format!("http://{listen}")).await.is_ok() {
        tell(&mut bad, "server", Ok(format!("runs and is ready at http://{listen}")))?;
    } else {
        tell(&mut bad, "http address", free("TCP", listen, TcpListener::bind(listen).map(drop)))?;
        let quic = options.quic_listen;
        tell(&mut bad, "quic address", free("UDP", quic, UdpSocket::bind(quic).map(drop)))?;
    }
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn free(what: &str, address: SocketAddr, bound: std::io::Result<()>) -> Result<String, String> {
    match bound {
        Ok(()) => Ok(format!("{what} {address} is free")),
        Err(error) => Err(format!("{what} {address}: {error}; choose another one")),
    }
}

fn tell(bad: &mut u32, name: &str, result: Result<String, String>) -> Result<(), Failure> {
    let (mark, text) = match &result {
        Ok(text) => ("✓", text),
        Err(text) => ("✗", text),
    };
    *bad += u32::from(result.is_err());
    line(&format!("{mark} {name}: {text}"))
}
