//! QUIC and TLS of the daemon's side: numbers, certificates, the pin.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, TransportConfig, VarInt};
use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore};
use rustls::{OtherError, SignatureScheme};
use shared::limits::{KEEP_ALIVE, LINK_IDLE_TIMEOUT, STREAMS_TO_DAEMON};
use shared::protocol::{ALPN_ENROLL, ALPN_LINK};

use super::fault::Fault;
use crate::identity::{DeviceKey, Enrolment};

/// Bytes that one stream, and all together, may have in flight towards the daemon.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The configuration of a link: with the daemon's certificate.
pub(super) fn link_config(
    key: &DeviceKey,
    enrolment: &Enrolment,
    keep_alive: Duration,
) -> Result<ClientConfig, Fault> {
    let damaged = || Fault::Local { what: "the stored certificate is damaged".to_owned() };
    let chain = enrolment.chain().ok_or_else(damaged)?;
    let pin = enrolment.pin().ok_or_else(damaged)?;
    let mut tls = builder(pin)?
        .with_client_auth_cert(chain, key.private_key())
        .map_err(|error| Fault::Local { what: error.to_string() })?;
    tls.alpn_protocols = vec![ALPN_LINK.to_vec()];
    quic(tls, keep_alive)
}

/// The configuration of enrolment and of a late renewal: without a certificate.
pub(super) fn enroll_config(pin: [u8; 32]) -> Result<ClientConfig, Fault> {
    let mut tls = builder(pin)?.with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_ENROLL.to_vec()];
    quic(tls, KEEP_ALIVE)
}

type Builder = rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>;

fn builder(pin: [u8; 32]) -> Result<Builder, Fault> {
    let provider = crate::tls::provider();
    let verifier = Arc::new(PinnedCa { pin, provider: Arc::clone(&provider) });
    let versions = [&rustls::version::TLS13];
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| Fault::Local { what: error.to_string() })?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn quic(mut tls: rustls::ClientConfig, keep_alive: Duration) -> Result<ClientConfig, Fault> {
    // A resumed session would skip the check of certificates; early data could be replayed.
    tls.resumption = rustls::client::Resumption::disabled();
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| Fault::Local { what: error.to_string() })?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(keep_alive)));
    Ok(config)
}

fn transport(keep_alive: Duration) -> TransportConfig {
    let idle = LINK_IDLE_TIMEOUT.try_into().expect("20 s fit into QUIC's milliseconds");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_TO_DAEMON.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(keep_alive))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(WINDOW_BYTES.into())
        .send_window(WINDOW_BYTES.into())
        .initial_rtt(Duration::from_millis(200));
    transport
}

/// Accepts exactly the servers that the pinned CA has signed for the fixed name.
#[derive(Debug)]
struct PinnedCa {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

/// The server showed no certificate with the pinned hash.
#[derive(Debug, thiserror::Error)]
#[error("its CA is another one")]
struct OtherCa;

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let ca = intermediates
            .iter()
            .find(|ca| digest::digest(&digest::SHA256, ca.as_ref()).as_ref() == self.pin)
            .ok_or_else(|| CertificateError::Other(OtherError(Arc::new(OtherCa))))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| TlsError::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
