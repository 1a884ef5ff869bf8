//! A peer that speaks QUIC and TLS but does as it likes: any certificate, any ALPN, any bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use controlplane::fleet::{DeviceRequest, provider};
use controlplane::secrets::Place;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde::Deserialize;
use shared::protocol::close::CloseCode;
use shared::protocol::hello::{Hello, Welcome};
use shared::protocol::{MINOR_MAX, MINOR_MIN, Reply, SERVER_NAME};
use shared::wire::{Frame, FrameReader, FrameWriter};

use crate::world::{World, within};

/// A certificate chain and its key.
pub type Papers = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A connection of a stranger, and its socket.
pub struct Stranger {
    pub connection: Connection,
    _endpoint: Endpoint,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// By a TLS alert of the server, with its number.
    Alert(u8),
    /// By the server's transport.
    Transport(String),
    /// By the program, with its code and reason.
    Closed(CloseCode, String),
    /// In another way.
    Other(String),
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed(
                CloseCode::from_value(close.error_code.into_inner()),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            ConnectionError::ConnectionClosed(close) => {
                let code = u64::from(close.error_code);
                match code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok()) {
                    Some(alert) => Self::Alert(alert),
                    None => Self::Transport(close.to_string()),
                }
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl Stranger {
    /// Dials with these papers. TLS 1.3 lets a client believe that it is connected before the
    /// server has looked at its certificate, so an error may come later.
    pub async fn dial(
        address: SocketAddr,
        alpn: &[&[u8]],
        papers: Option<Papers>,
    ) -> Result<Self, End> {
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting));
        let mut tls = match papers {
            Some((chain, key)) => {
                let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
                let papers = Arc::new(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(Unchecked(papers)))
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(config, address, SERVER_NAME).unwrap();
        let connection = within("a handshake or its end", connecting).await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    /// Waits for the end.
    pub async fn end(&self) -> End {
        within("the end of the connection", self.connection.closed()).await.into()
    }

    /// Opens a stream.
    pub async fn open(&self) -> (FrameWriter<SendStream>, FrameReader<RecvStream>) {
        let (send, receive) = within("a stream", self.connection.open_bi()).await.unwrap();
        (FrameWriter::new(send), FrameReader::new(receive))
    }

    /// Opens a stream, writes these bytes, ends it, and reads the answer's first frame.
    pub async fn exchange(&self, bytes: &[u8]) -> Option<Frame> {
        let (mut send, receive) = within("a stream", self.connection.open_bi()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        let _ = send.finish();
        within("an answer", FrameReader::new(receive).next()).await.ok().flatten()
    }

    /// Says hello and reads the answer.
    pub async fn greet(&self, hello: &Hello) -> (Greeted, Option<Reply<Welcome>>) {
        let (mut writer, mut reader) = self.open().await;
        writer.write(&Frame::message(hello)).await.unwrap();
        let reply = within("an answer to the hello", reader.next()).await.ok().flatten();
        let reply = reply.map(|frame| shared::wire::decode(&frame.body).unwrap());
        (Greeted { writer, _reader: reader }, reply)
    }

    /// Connects as an honest daemon of a new workspace would, and says hello.
    pub async fn honest(world: &World, name: &str) -> (Self, Greeted) {
        let papers = device_papers(world, name).await;
        let alpn: &[&[u8]] = &[shared::protocol::ALPN_LINK];
        let stranger = Self::dial(world.address, alpn, Some(papers)).await.unwrap();
        let (greeted, reply) = stranger.greet(&hello(world)).await;
        assert!(matches!(reply, Some(Reply::Ok(_))), "{reply:?}");
        (stranger, greeted)
    }
}

/// The stream of hello and notices; dropping it would end it.
pub struct Greeted {
    pub writer: FrameWriter<SendStream>,
    _reader: FrameReader<RecvStream>,
}

/// An honest hello.
pub fn hello(world: &World) -> Hello {
    Hello {
        minor_min: MINOR_MIN,
        minor_max: MINOR_MAX,
        version: "0.1.0".to_owned(),
        instance_id: world.ids.id(),
        features: Vec::new(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        hostname: "box".to_owned(),
        root: "/work".to_owned(),
        now_ms: world.clock.now_ms(),
    }
}

/// A fresh key.
pub fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// Papers of the daemon of a new workspace, with its device row.
pub async fn device_papers(world: &World, name: &str) -> Papers {
    device_papers_at(world, name, world.clock.now_ms(), 24 * 3600 * 1000).await
}

/// The same, made at another time and for another life.
pub async fn device_papers_at(world: &World, name: &str, made_ms: i64, life_ms: i64) -> Papers {
    let workspace = world.workspace(name).await;
    let key = new_key();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let request = DeviceRequest::parse(request.der()).unwrap();
    let hash = request.key_hash();
    world.store.workspaces.set_device(workspace.id, Some(hash.as_str())).await.unwrap();
    let signed = world.ca.sign_device(&request, workspace.id, made_ms, life_ms);
    (vec![signed.der.into(), world.ca.certificate().clone()], private(&key))
}

/// A leaf that our own CA signs with any content: what a thief of the CA's key could make, and
/// what another part of the product might one day get from the same CA.
pub async fn forged(world: &World, mut params: CertificateParams) -> Papers {
    #[derive(Deserialize)]
    struct Stored {
        #[serde(with = "shared::wire::bytes")]
        sealed_key: Vec<u8>,
    }
    let stored = world.store.settings.value("fleet.ca").await.unwrap().unwrap();
    let stored: Stored = shared::wire::decode(&stored).unwrap();
    let place = Place { table: "settings", row: "fleet.ca", column: "key" };
    let ca_key = world.secrets.unseal(&place, &stored.sealed_key).unwrap();
    let ca_key = PrivatePkcs8KeyDer::from(ca_key.to_vec());
    let ca_key = KeyPair::from_pkcs8_der_and_sign_algo(&ca_key, &PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = Issuer::from_ca_cert_der(world.ca.certificate(), ca_key).unwrap();
    let key = new_key();
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    (vec![leaf.der().clone(), world.ca.certificate().clone()], private(&key))
}

/// Shows its papers whatever they are; rustls itself would refuse to send garbage.
#[derive(Debug)]
struct Unchecked(Arc<CertifiedKey>);

impl ResolvesClientCert for Unchecked {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts any server: these tests are about the other side.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
