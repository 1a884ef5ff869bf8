//! What is wrong between the daemon and the control plane, named so that a person can act.

use std::io;
use std::net::SocketAddr;

use quinn::{ConnectionError, TransportErrorCode};
use shared::protocol::close::CloseCode;
use shared::protocol::{ErrorCode, WireError};

use super::machine::{FailureKind, LossKind};

/// TLS alerts that say that a certificate has ended, or has not begun.
const ALERT_CERTIFICATE_EXPIRED: u8 = 45;

/// Why there is no link. Each text names the cause and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The address given to `join` has no host in it.
    #[error("address: {url:?} is not an address; use one such as https://holdfast.example")]
    Address {
        /// As given, cut at 200 bytes.
        url: String,
    },
    /// The name has no address.
    #[error("DNS: the name {host} cannot be resolved; check the address and this machine's DNS")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: Option<io::Error>,
    },
    /// Nothing comes back over UDP, but TCP gets through.
    #[error("UDP blocked: {address} answers over TCP but UDP port {} stays silent; allow outgoing \
             UDP to that port, or check that the control plane's QUIC listener is reachable", .address.port())]
    UdpBlocked {
        /// Where the datagrams went.
        address: SocketAddr,
    },
    /// Nothing comes back at all.
    #[error(
        "unreachable: nothing answers at {address}; is the control plane running and the \
             network up?"
    )]
    Silent {
        /// Where the datagrams went.
        address: SocketAddr,
    },
    /// A certificate is not valid *now*, by one of the two clocks.
    #[error("clock: {what}; check this machine's date and time")]
    Clock {
        /// Whose certificate, and how.
        what: String,
    },
    /// The control plane says that our certificate has ended.
    #[error("certificate: this daemon's certificate has expired; a fresh one is asked for")]
    Expired,
    /// The server does not show the pinned CA.
    #[error(
        "certificate: the server is not the one the join token names ({what}); get a new \
             token, or check that nothing intercepts the connection"
    )]
    ServerCertificate {
        /// What TLS says.
        what: String,
    },
    /// The control plane does not accept our certificate.
    #[error(
        "certificate: the control plane rejects this daemon ({reason}); join again with a \
             new token"
    )]
    Rejected {
        /// As it says.
        reason: String,
    },
    /// No common version.
    #[error(
        "version: the control plane does not speak this agentd's protocol ({reason}); \
             upgrade the older of the two"
    )]
    Version {
        /// As it says; lists what it supports.
        reason: String,
    },
    /// The token is no good.
    #[error("token: {reason}")]
    Token {
        /// As the token's parser or the control plane says.
        reason: String,
    },
    /// Another daemon with this identity is connected.
    #[error(
        "identity: another daemon uses this one's identity; was its state directory copied? \
             run `agentd leave` and join again on one of the two"
    )]
    Displaced,
    /// The control plane ends or restarts.
    #[error("the control plane is stopping")]
    Stopping,
    /// The transport broke.
    #[error("the connection was lost: {what}")]
    Lost {
        /// As QUIC says.
        what: String,
    },
    /// The control plane answers something else than it should.
    #[error("protocol: {what}")]
    Protocol {
        /// What came instead.
        what: String,
    },
    /// This machine has no socket or no key for us.
    #[error("this machine: {what}")]
    Local {
        /// What went wrong.
        what: String,
    },
}

impl Fault {
    /// Short stable name, for `agentd status --json` and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Address { .. } => "address",
            Self::Dns { .. } => "dns",
            Self::UdpBlocked { .. } => "udp_blocked",
            Self::Silent { .. } => "unreachable",
            Self::Clock { .. } => "clock",
            Self::Expired | Self::ServerCertificate { .. } | Self::Rejected { .. } => "certificate",
            Self::Version { .. } => "version",
            Self::Token { .. } => "token",
            Self::Displaced => "identity",
            Self::Stopping => "stopping",
            Self::Lost { .. } => "lost",
            Self::Protocol { .. } => "protocol",
            Self::Local { .. } => "local",
        }
    }

    pub(super) const fn failure(&self) -> FailureKind {
        match self {
            Self::Expired => FailureKind::Expired,
            Self::Version { .. } => FailureKind::Version,
            Self::ServerCertificate { .. }
            | Self::Rejected { .. }
            | Self::Token { .. }
            | Self::Displaced
            | Self::Protocol { .. } => FailureKind::Rejected,
            _ => FailureKind::NoWayThere,
        }
    }

    pub(super) const fn loss(&self) -> LossKind {
        match self {
            Self::Displaced => LossKind::Displaced,
            Self::Rejected { .. } | Self::Version { .. } | Self::Protocol { .. } => {
                LossKind::Rejected
            }
            _ => LossKind::Gone,
        }
    }

    /// What a lost or refused connection means. `address` is where it went.
    pub(super) fn of_connection(error: &ConnectionError, address: SocketAddr) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let reason = text(&close.reason);
                match CloseCode::from_value(close.error_code.into_inner()) {
                    CloseCode::Stopping => Self::Stopping,
                    CloseCode::AuthFailed => Self::Rejected { reason },
                    CloseCode::VersionUnsupported => Self::Version { reason },
                    CloseCode::Displaced => Self::Displaced,
                    CloseCode::InvalidHello | CloseCode::ProtocolViolation => {
                        Self::Protocol { what: reason }
                    }
                    CloseCode::Done | CloseCode::Busy => Self::Lost { what: reason },
                }
            }
            ConnectionError::ConnectionClosed(close) => {
                let reason = text(&close.reason);
                match alert(close.error_code) {
                    Some(ALERT_CERTIFICATE_EXPIRED) => Self::Expired,
                    Some(_) => Self::Rejected { reason },
                    None => Self::Lost { what: close.to_string() },
                }
            }
            ConnectionError::TransportError(error) if alert(error.code).is_some() => {
                Self::of_server_certificate(&error.reason)
            }
            ConnectionError::VersionMismatch => Self::Version { reason: "QUIC".to_owned() },
            ConnectionError::TimedOut => Self::Silent { address },
            other => Self::Lost { what: other.to_string() },
        }
    }

    fn of_server_certificate(what: &str) -> Self {
        let lower = what.to_lowercase();
        if lower.contains("expired") || lower.contains("not valid yet") {
            Self::Clock { what: format!("the server's certificate is not valid now ({what})") }
        } else {
            Self::ServerCertificate { what: what.to_owned() }
        }
    }

    /// What an error in the place of the welcome or of a certificate means.
    pub(super) fn of_refusal(error: &WireError) -> Self {
        let reason = error.message.clone();
        match error.known_code() {
            Some(ErrorCode::VersionUnsupported) => Self::Version { reason },
            Some(ErrorCode::JoinTokenInvalid) => Self::Token { reason },
            Some(ErrorCode::DaemonAuthFailed) => Self::Rejected { reason },
            Some(ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::Internal) => {
                Self::Lost { what: reason }
            }
            _ => Self::Protocol { what: format!("{}: {reason}", error.code) },
        }
    }
}

/// The TLS alert inside a QUIC error code, if it is one.
fn alert(code: TransportErrorCode) -> Option<u8> {
    (0..=u8::MAX).find(|alert| TransportErrorCode::crypto(*alert) == code)
}

/// Bytes of a peer as a bounded line without control characters.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(500)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
