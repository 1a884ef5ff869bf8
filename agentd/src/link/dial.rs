//! From an address to a QUIC connection, and the finding of what is wrong where there is none.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use shared::protocol::SERVER_NAME;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fault::Fault;

/// Time that a handshake gets with one address. Slow links need several round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Time that the TCP probe of the diagnosis gets.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection and the socket it lives on: a fresh one for every dial, so that a socket bound to
/// a network that is gone is never used again.
pub(super) struct Dialled {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) address: SocketAddr,
}

/// Where to dial.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) quic_port: u16,
    /// For the probe that tells a blocked UDP from an absent server.
    pub(super) http_port: u16,
}

/// Tries the addresses of the name in order.
pub(super) async fn dial(target: &Target, config: &ClientConfig) -> Result<Dialled, Fault> {
    let mut last = None;
    for address in resolve(target).await? {
        match connect(address, config).await {
            Ok(dialled) => return Ok(dialled),
            // The server was reached and said no: the other addresses are the same server.
            Err(fault) if !matches!(fault, Fault::Silent { .. } | Fault::Local { .. }) => {
                return Err(fault);
            }
            Err(fault) => last = Some(fault),
        }
    }
    match last {
        Some(Fault::Silent { address }) => Err(probe(address, target.http_port).await),
        Some(fault) => Err(fault),
        None => Err(Fault::Dns { host: target.host.clone(), source: None }),
    }
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Fault> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.quic_port)).await;
    let found =
        found.map_err(|source| Fault::Dns { host: target.host.clone(), source: Some(source) })?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

async fn connect(address: SocketAddr, config: &ClientConfig) -> Result<Dialled, Fault> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let local = |what: String| Fault::Local { what };
    let endpoint = Endpoint::client(any)
        .map_err(|error| local(format!("no UDP socket could be opened: {error}")))?;
    let connecting = endpoint
        .connect_with(config.clone(), address, SERVER_NAME)
        .map_err(|error| local(format!("{address} cannot be dialled: {error}")))?;
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(Dialled { endpoint, connection, address }),
        Ok(Err(error)) => Err(Fault::of_connection(&error, address)),
        Err(_) => Err(Fault::of_connection(&ConnectionError::TimedOut, address)),
    }
}

/// Nothing came back over UDP: does TCP get through to the same machine?
async fn probe(address: SocketAddr, http_port: u16) -> Fault {
    let over_tcp = SocketAddr::new(address.ip(), http_port);
    match timeout(PROBE_TIMEOUT, TcpStream::connect(over_tcp)).await {
        Ok(Ok(_)) => Fault::UdpBlocked { address },
        _ => Fault::Silent { address },
    }
}
