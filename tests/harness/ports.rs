//! Ports for servers that are killed and started again at the same address.
//!
//! A port that the system gave is one that it gives to others as soon as nobody has it: a client of any
//! program on the machine may hold it when the server comes back. So these lie below the range from
//! which the system gives.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// Where the system's own range begins, if it does not say.
const EPHEMERAL_FROM: u16 = 32_768;
/// Below lie the ports of well-known services.
const FROM: u16 = 10_240;
/// Ports that are tried.
const TRIES: u32 = 200;

/// A port that is free now, for TCP and UDP, and that no client is given.
pub fn lasting() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|first| first.parse().ok());
    let end: u16 = end.unwrap_or(EPHEMERAL_FROM);
    let room = u32::from(end.saturating_sub(FROM)).max(1);
    // Tests run as processes beside each other: each begins elsewhere.
    let begin = std::process::id().wrapping_mul(7_919);
    let is_free = |port: &u16| {
        let place = (Ipv4Addr::UNSPECIFIED, *port);
        TcpListener::bind(place).is_ok() && UdpSocket::bind(place).is_ok()
    };
    let mut ports = (0..TRIES).filter_map(|_| {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(31);
        u16::try_from(u32::from(FROM) + begin.wrapping_add(nth) % room).ok()
    });
    ports.find(is_free).context("no port below the system's range is free")
}
