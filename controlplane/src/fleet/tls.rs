//! TLS and QUIC of the listener: who may connect and with which numbers.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use shared::ids::ReplicaId;
use shared::limits::{KEEP_ALIVE, LINK_IDLE_TIMEOUT, STREAMS_PER_PEER};
use shared::protocol::{ALPN_ENROLL, ALPN_LINK};

use super::ca::CertificateAuthority;
use super::peers::ALPN_REPLICA;

/// Bytes that one stream, and all of one daemon together, may have in flight towards us. An
/// authenticated daemon can pin no more than this.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Of connections between replicas: silence after which one is broken, how often it is probed, and
/// bytes in flight.
const PEER_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const PEER_KEEP_ALIVE: Duration = Duration::from_secs(2);
const PEER_WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// Peers that wait for their handshake, and what they may have sent by then: they are strangers.
const INCOMING_MAX: usize = 16 * 1024;
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_TOTAL_BYTES: u64 = 32 * 1024 * 1024;

/// How sending towards daemons is paced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// Nine times the rate of Cubic on a link with 50 ms and 1 % loss.
    #[default]
    Bbr,
    /// The conservative one.
    Cubic,
}

/// Numbers of the transport that operators may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportOptions {
    /// How sending is paced.
    pub congestion: Congestion,
    /// Let the kernel split large sends; some clouds claim it and fail at it.
    pub segmentation_offload: bool,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self { congestion: Congestion::Bbr, segmentation_offload: true }
    }
}

/// The provider of the listener's cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes the provider the default of the process, for the libraries that ask for one. Idempotent.
pub fn install_provider() {
    // An error means that it was installed before, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A fresh configuration with a fresh certificate. The running listener may swap it in; links
/// that exist keep theirs.
pub(super) fn server_config(
    ca: &CertificateAuthority,
    options: TransportOptions,
    now_ms: i64,
) -> Result<ServerConfig, rustls::Error> {
    let (chain, key) = ca.sign_server(now_ms);
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().clone())?;
    // No certificate is fine for enrolment alone; a link without one is closed by its ALPN.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN_LINK.to_vec(), ALPN_ENROLL.to_vec(), ALPN_REPLICA.to_vec()];
    // A resumed session would restore the client's certificate without looking at it.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(options)))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_TOTAL_BYTES);
    Ok(config)
}

/// The configuration with which `replica` asks others: its own certificate, and trust in nobody but
/// the deployment's authority.
pub(super) fn peer_config(
    ca: &CertificateAuthority,
    replica: ReplicaId,
    now_ms: i64,
) -> Result<ClientConfig, rustls::Error> {
    let (chain, key) = ca.sign_replica(replica, now_ms);
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate().clone())?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN_REPLICA.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let idle = PEER_IDLE_TIMEOUT.try_into().expect("10 s fit into QUIC's milliseconds");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(PEER_KEEP_ALIVE))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(PEER_WINDOW_BYTES.into())
        .send_window(PEER_WINDOW_BYTES.into());
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn transport(options: TransportOptions) -> TransportConfig {
    let idle = LINK_IDLE_TIMEOUT.try_into().expect("20 s fit into QUIC's milliseconds");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_PER_PEER.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(WINDOW_BYTES.into())
        .send_window(WINDOW_BYTES.into())
        .enable_segmentation_offload(options.segmentation_offload);
    match options.congestion {
        Congestion::Bbr => {
            transport.congestion_controller_factory(Arc::new(BbrConfig::default()));
        }
        Congestion::Cubic => {
            transport.congestion_controller_factory(Arc::new(CubicConfig::default()));
        }
    }
    transport
}
