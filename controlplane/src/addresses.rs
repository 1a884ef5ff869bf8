//! Where this server is reached, as it tells other servers and daemons.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::app::database_url;
use crate::options::Options;
use crate::store::ReplicaAddresses;

/// The configured addresses, or what can be known without them; `listening` is the QUIC socket's.
#[must_use]
pub fn of(options: &Options, listening: SocketAddr) -> ReplicaAddresses {
    let named = (!listening.ip().is_unspecified()).then(|| listening.to_string());
    let near_database = || {
        let ip = towards_database(options).unwrap_or(Ipv4Addr::LOCALHOST.into());
        SocketAddr::new(ip, listening.port()).to_string()
    };
    let given = &options.addresses;
    ReplicaAddresses {
        replicas: given
            .replicas
            .clone()
            .or_else(|| named.clone())
            .or_else(|| Some(near_database())),
        // A guess would send daemons to an address that only servers see.
        daemons: given.daemons.clone().or(named),
    }
}

/// This machine's address on the network in which the database is: the other servers are there too.
fn towards_database(options: &Options) -> Option<IpAddr> {
    let (host, port) = database_url(options).server_address()?;
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port)).ok()?;
    addresses.into_iter().find_map(|address| {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).ok()?;
        // Connecting a UDP socket sends nothing: it only asks the kernel for the way.
        socket.connect(address).ok()?;
        socket.local_addr().ok().map(|own| own.ip())
    })
}
