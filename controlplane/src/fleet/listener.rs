//! The QUIC listener for daemons: admission of handshakes, and the way of each connection by its
//! ALPN.
//!
//! A fleet that comes back at one instant is a problem of the socket's buffer and of pacing, not
//! of the processor: 10,000 daemons took 143 s with the kernel's default buffer and all at once,
//! 8.9 s with 8 MiB and 512 handshakes in flight. So the buffer is asked for and checked, and
//! handshakes are admitted through a window.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use shared::clock::Clock;
use shared::ids::ReplicaId;
use shared::lifecycle::Lifecycle;
use shared::limits::CERTIFICATE_LIFE;
use shared::protocol::ALPN_ENROLL;
use shared::protocol::close::CloseCode;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::ca::CertificateAuthority;
use super::enroll::Enrolment;
use super::peers::{ALPN_REPLICA, Door};
use super::registry::Fleet;
use super::session::Sessions;
use super::tls::{TransportOptions, server_config};
use crate::store::Store;

/// Bytes of each socket buffer.
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// Handshakes in flight.
const HANDSHAKES_MAX: usize = 512;
/// Handshakes in flight from which on a peer must first prove its address.
const VALIDATE_FROM: usize = 256;
/// Time that a handshake gets.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Enrolments in flight.
const ENROLMENTS_MAX: usize = 64;
/// How often the listener's certificate is made anew.
const NEW_CERTIFICATE: Duration = Duration::from_secs(24 * 3600);
/// Shortest time between two log lines about failed handshakes; between them they are counted.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// What the listener needs to know.
pub struct ListenerOptions {
    /// Where to listen.
    pub address: SocketAddr,
    /// Numbers of the transport.
    pub transport: TransportOptions,
    /// Life of a daemon's certificate.
    pub device_life: Duration,
}

impl ListenerOptions {
    /// The defaults at `address`.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address, transport: TransportOptions::default(), device_life: CERTIFICATE_LIFE }
    }
}

/// What the listener works with.
pub struct ListenerParts {
    /// Starts its tasks.
    pub lifecycle: Lifecycle,
    /// Certificates and hellos.
    pub clock: Arc<dyn Clock>,
    /// Device rows and join tokens.
    pub store: Store,
    /// Signs.
    pub ca: Arc<CertificateAuthority>,
    /// Where links are attached.
    pub fleet: Fleet,
    /// Who we are, for daemons.
    pub replica_id: ReplicaId,
    /// Where other replicas come in; none: there are no others.
    pub door: Option<Door>,
}

/// Why the listener cannot be opened. The message completes "could not listen for daemons: …".
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket.
    #[error("UDP {address} cannot be opened")]
    Socket {
        /// As configured.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The certificate.
    #[error("the listener's certificate cannot be made")]
    Certificate(#[from] rustls::Error),
}

/// See the module's text.
pub struct Listener {
    endpoint: Endpoint,
    options: ListenerOptions,
    parts: ListenerParts,
    sessions: Arc<Sessions>,
    handshakes: Arc<Semaphore>,
    enrolments: Arc<Semaphore>,
    failures: Arc<std::sync::Mutex<Failures>>,
}

impl Listener {
    /// Opens the socket that daemons send to.
    pub fn socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
        socket(address)
    }

    /// Opens the socket and listens on it. Call from within the runtime.
    pub fn bind(options: ListenerOptions, parts: ListenerParts) -> Result<Self, ListenError> {
        let address = options.address;
        let opened = socket(address).map_err(|source| ListenError::Socket { address, source })?;
        Self::over(opened, options, parts)
    }

    /// Listens on a socket that is open. Call from within the runtime.
    pub fn over(
        socket: std::net::UdpSocket,
        options: ListenerOptions,
        parts: ListenerParts,
    ) -> Result<Self, ListenError> {
        let config = server_config(&parts.ca, options.transport, parts.clock.now_ms())?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(parts.ca.endpoint_config(), Some(config), socket, runtime)
            .map_err(|source| ListenError::Socket { address: options.address, source })?;
        let enrolment = Enrolment {
            store: parts.store.clone(),
            ca: Arc::clone(&parts.ca),
            fleet: parts.fleet.clone(),
            clock: Arc::clone(&parts.clock),
            device_life: options.device_life,
        };
        let sessions = Sessions {
            lifecycle: parts.lifecycle.clone(),
            clock: Arc::clone(&parts.clock),
            enrolment,
            replica_id: parts.replica_id,
            last_epoch: AtomicU64::new(0),
        };
        Ok(Self {
            endpoint,
            options,
            parts,
            sessions: Arc::new(sessions),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            enrolments: Arc::new(Semaphore::new(ENROLMENTS_MAX)),
            failures: Arc::default(),
        })
    }

    /// Where it listens; with the port that was chosen for port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Accepts until the soft stop, then lets links end in order. Vital.
    pub async fn run(self) {
        let soft = self.parts.lifecycle.soft();
        let mut renew = tokio::time::interval_at(Instant::now() + NEW_CERTIFICATE, NEW_CERTIFICATE);
        loop {
            tokio::select! {
                biased;
                () = soft.cancelled() => break,
                incoming = self.admit() => match incoming {
                    Some(incoming) => self.take(incoming),
                    None => break,
                },
                _ = renew.tick() => self.renew_certificate(),
            }
        }
        self.endpoint.set_server_config(None);
        self.endpoint.wait_idle().await;
    }

    /// The next peer, once there is room for its handshake. Until then it waits in the socket.
    async fn admit(&self) -> Option<Incoming> {
        // Only looked at: the permit is taken when the peer is there, so that waiting for one
        // holds nothing. Nobody else takes permits, so it is still free then.
        drop(self.handshakes.acquire().await);
        self.endpoint.accept().await
    }

    fn take(&self, incoming: Incoming) {
        let in_flight = HANDSHAKES_MAX - self.handshakes.available_permits();
        if in_flight >= VALIDATE_FROM && incoming.may_retry() {
            // Under load a forged sender gets an answer no larger than its question, and no state.
            let _ = incoming.retry();
            return;
        }
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            incoming.ignore();
            return;
        };
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => return note(&self.failures, &error),
        };
        let sessions = Arc::clone(&self.sessions);
        let enrolments = Arc::clone(&self.enrolments);
        let failures = Arc::clone(&self.failures);
        let door = self.parts.door.clone();
        self.parts.lifecycle.spawn_serving("fleet.link", async move {
            let connected = timeout(HANDSHAKE_TIMEOUT, connecting).await;
            drop(permit);
            match connected {
                Ok(Ok(connection)) => serve(&sessions, &enrolments, door, connection).await,
                Ok(Err(error)) => note(&failures, &error),
                Err(_) => note(&failures, &ConnectionError::TimedOut),
            }
        });
    }

    fn renew_certificate(&self) {
        let now_ms = self.parts.clock.now_ms();
        match server_config(&self.parts.ca, self.options.transport, now_ms) {
            Ok(config) => self.endpoint.set_server_config(Some(config)),
            Err(error) => tracing::error!("the listener's certificate was not renewed: {error}"),
        }
    }
}

async fn serve(
    sessions: &Sessions,
    enrolments: &Semaphore,
    door: Option<Door>,
    connection: Connection,
) {
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    if alpn.as_deref() == Some(ALPN_ENROLL) {
        match enrolments.try_acquire() {
            Ok(_permit) => sessions.enrolment.serve(connection).await,
            Err(_) => connection.close(CloseCode::Busy.value().into(), b"busy: try again"),
        }
    } else if alpn.as_deref() == Some(ALPN_REPLICA) {
        match door {
            Some(door) => door.serve(connection).await,
            None => connection.close(CloseCode::AuthFailed.value().into(), b"no other replicas"),
        }
    } else {
        // TLS let no other protocol through.
        sessions.serve(connection).await;
    }
}

/// Failed handshakes since the last line about them.
#[derive(Default)]
struct Failures {
    count: u64,
    last_line: Option<Instant>,
}

/// Says why handshakes fail, at most once in ten seconds: garbage from the net must not fill logs.
fn note(failures: &std::sync::Mutex<Failures>, error: &ConnectionError) {
    let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    failures.count += 1;
    if failures.last_line.is_some_and(|last| last.elapsed() < LOG_PAUSE) {
        return;
    }
    let text = error.to_string();
    let of_time = ["Expired", "NotValidYet", "expired", "not valid yet"];
    let hint = if of_time.iter().any(|word| text.contains(word)) {
        "; are both clocks right?"
    } else {
        ""
    };
    let count = failures.count;
    tracing::warn!(count, reason = text, "daemon_auth_failed: a handshake failed{hint}");
    *failures = Failures { count: 0, last_line: Some(Instant::now()) };
}

/// Opens the socket with large buffers and says so when the kernel gives less.
fn socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // One socket for both families where the address is the unspecified one.
        let _ = socket.set_only_v6(false);
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    // Linux reports twice what it gives.
    let received = socket.recv_buffer_size()? / 2;
    if received < SOCKET_BUFFER_BYTES {
        tracing::warn!(
            got_bytes = received,
            wanted_bytes = SOCKET_BUFFER_BYTES,
            "the UDP receive buffer is small: a large fleet will reconnect slowly; \
             raise net.core.rmem_max"
        );
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
