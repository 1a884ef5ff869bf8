//! The deployment's certificate authority: signs daemons and this replica's own listener.
//!
//! One per deployment, made at the first start and kept in the settings, its key sealed by the
//! master key. Its certificate's hash is the pin inside every join token, so it never changes.

use std::sync::Arc;

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::ids::{ReplicaId, WorkspaceId};
use shared::protocol::SERVER_NAME;

use super::device::{DeviceKeyHash, workspace_uri};
use super::peers::replica_uri;
use crate::secrets::{Place, SecretBox, UnsealError};
use crate::store::{SettingsStore, StoreError};

const SETTING: &str = "fleet.ca";
const PLACE: Place<'static> = Place { table: "settings", row: SETTING, column: "key" };
const DAY_MS: i64 = 24 * 3600 * 1000;
const CA_LIFE_MS: i64 = 30 * 365 * DAY_MS;
/// A listener's certificate is made anew at every start and once a day.
const SERVER_LIFE_MS: i64 = 90 * DAY_MS;
/// Certificates begin this much before they are made, for clocks that are a little slow.
const BACKDATED_MS: i64 = 3600 * 1000;
/// Largest signing request that is looked at, in bytes; ours have about 250.
const REQUEST_MAX_BYTES: usize = 4 * 1024;

/// A moment in the form that certificates have; clamped to years that they can hold.
macro_rules! moment {
    ($at_ms:expr) => {{
        const YEAR_9000_S: u64 = 221_845_392_000;
        let seconds = u64::try_from($at_ms / 1000).unwrap_or(0).min(YEAR_9000_S);
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    }};
}

/// Why there is no CA. The message completes "could not open the certificate authority: …".
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The database.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// The sealed key does not open.
    #[error("its key cannot be opened")]
    Sealed(#[from] UnsealError),
    /// The stored value is not a CA.
    #[error("the setting {SETTING} is damaged; restore it from a backup")]
    Damaged,
    /// The stored key is not that of the stored certificate.
    #[error(
        "its certificate and its key do not belong together; restore the setting {SETTING} from a backup"
    )]
    OtherPair,
    /// No daemon would trust it any more.
    #[error(
        "its certificate has expired; if the clock of this machine is right, the daemons have to join anew"
    )]
    Expired,
}

/// Why a signing request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing request is not a signed PKCS #10 request of a P-256 key")]
pub struct InvalidRequest;

/// A checked signing request: whoever made it holds the key.
pub struct DeviceRequest {
    key: rcgen::PublicKey,
}

/// A certificate for a daemon.
pub struct SignedDevice {
    /// DER.
    pub der: Vec<u8>,
    /// Unix milliseconds.
    pub not_after_ms: i64,
}

/// Signs. See the module's text.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    link_secret: ring::hmac::Tag,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(with = "shared::wire::bytes")]
    certificate: Vec<u8>,
    #[serde(with = "shared::wire::bytes")]
    sealed_key: Vec<u8>,
}

impl CertificateAuthority {
    /// Reads the deployment's CA, or makes it. Replicas that begin at once agree on one.
    pub async fn open_or_create(
        settings: &SettingsStore,
        secrets: &SecretBox,
        now_ms: i64,
    ) -> Result<Self, CaError> {
        let stored = match settings.value(SETTING).await? {
            Some(stored) => stored,
            None => settings.set_once(SETTING, &make(secrets, now_ms)).await?,
        };
        Self::of(&stored, secrets, now_ms)
    }

    fn of(stored: &[u8], secrets: &SecretBox, now_ms: i64) -> Result<Self, CaError> {
        let stored: Stored = shared::wire::decode(stored).map_err(|_| CaError::Damaged)?;
        let key = secrets.unseal(&PLACE, &stored.sealed_key)?;
        let link_secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let link_secret = ring::hmac::sign(&link_secret, b"holdfast links, version 1");
        let key = PrivatePkcs8KeyDer::from(key.to_vec());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| CaError::Damaged)?;
        check(&stored.certificate, &key, now_ms)?;
        let certificate = CertificateDer::from(stored.certificate);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| CaError::Damaged)?;
        Ok(Self { certificate, issuer, link_secret })
    }

    /// The CA's own certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the CA's certificate: what join tokens carry.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// How the listener's endpoint marks links. The same after a restart, so that a daemon whose
    /// link belonged to a server that was killed is told so at its next packet (a stateless reset)
    /// and does not wait for the silence to be long enough.
    #[must_use]
    pub fn endpoint_config(&self) -> EndpointConfig {
        let secret = self.link_secret.as_ref();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let ids = ring::hmac::sign(&key, b"connection ids");
        let (ids, _) = ids.as_ref().split_first_chunk().expect("a SHA-256 tag has 32 bytes");
        let ids = u64::from_be_bytes(*ids);
        let mut config = EndpointConfig::new(Arc::new(key));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
        config
    }

    /// Signs a daemon's key for a workspace. Nothing of the request but its key is used.
    #[must_use]
    pub fn sign_device(
        &self,
        request: &DeviceRequest,
        workspace: WorkspaceId,
        now_ms: i64,
        life_ms: i64,
    ) -> SignedDevice {
        let not_after_ms = now_ms.saturating_add(life_ms);
        let mut params = leaf(&workspace.to_string(), now_ms, not_after_ms);
        let uri = workspace_uri(workspace).try_into().expect("an id is ASCII");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params
            .signed_by(&request.key, &self.issuer)
            .expect("an own key signs a fixed certificate");
        SignedDevice { der: certificate.der().to_vec(), not_after_ms }
    }

    /// A fresh key and certificate with which a replica asks others, for one of its leases.
    #[must_use]
    pub fn sign_replica(
        &self,
        replica: ReplicaId,
        now_ms: i64,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = new_key();
        let mut params = leaf(&replica.to_string(), now_ms, now_ms.saturating_add(SERVER_LIFE_MS));
        let uri = replica_uri(replica).try_into().expect("an id is ASCII");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate =
            params.signed_by(&key, &self.issuer).expect("an own key signs a fixed certificate");
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        (chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// A fresh key and certificate for this replica's listener, leaf first, then the CA.
    #[must_use]
    pub fn sign_server(
        &self,
        now_ms: i64,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = new_key();
        let mut params = leaf("controlplane", now_ms, now_ms.saturating_add(SERVER_LIFE_MS));
        let name = SERVER_NAME.try_into().expect("the name is ASCII");
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate =
            params.signed_by(&key, &self.issuer).expect("an own key signs a fixed certificate");
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        (chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

impl DeviceRequest {
    /// Checks form, signature and kind of key.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidRequest> {
        if der.len() > REQUEST_MAX_BYTES {
            return Err(InvalidRequest);
        }
        let request = CertificateSigningRequestParams::from_der(&der.to_vec().into())
            .map_err(|_| InvalidRequest)?;
        if request.public_key.algorithm() == &PKCS_ECDSA_P256_SHA256 {
            Ok(Self { key: request.public_key })
        } else {
            Err(InvalidRequest)
        }
    }

    /// What the device row holds of the key.
    #[must_use]
    pub fn key_hash(&self) -> DeviceKeyHash {
        DeviceKeyHash::of_spki(&self.key.subject_public_key_info())
    }
}

/// Whether the pair can serve: found at the start, and not by the first daemon that is refused.
fn check(certificate: &[u8], key: &KeyPair, now_ms: i64) -> Result<(), CaError> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|_| CaError::Damaged)?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(CaError::OtherPair);
    }
    if parsed.validity().not_after.timestamp() < now_ms / 1000 {
        return Err(CaError::Expired);
    }
    Ok(())
}

fn make(secrets: &SecretBox, now_ms: i64) -> Vec<u8> {
    let key = new_key();
    let mut params = CertificateParams::default();
    params.not_before = moment!(now_ms.saturating_sub(DAY_MS));
    params.not_after = moment!(now_ms.saturating_add(CA_LIFE_MS));
    // The suffix keeps two deployments apart in a chain builder that looks names up.
    params.distinguished_name = name(&format!("Holdfast CA {}", hex::encode(&serial()[..4])));
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).expect("an own key signs a fixed certificate");
    shared::wire::encode(&Stored {
        certificate: certificate.der().to_vec(),
        sealed_key: secrets.seal(&PLACE, key.serialized_der()),
    })
}

fn leaf(subject: &str, now_ms: i64, not_after_ms: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = moment!(now_ms.saturating_sub(BACKDATED_MS));
    params.not_after = moment!(not_after_ms);
    params.distinguished_name = name(subject);
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("the system's generator works")
}

fn serial() -> [u8; 16] {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).expect("the system's generator works");
    // A serial number is positive and not zero.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    #[test]
    fn b97_a_pair_that_cannot_serve_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = |name: &str| SecretBox::open_or_create(&dir.path().join(name)).unwrap();
        let (ours, theirs) = (secrets("ours"), secrets("theirs"));
        let stored = make(&ours, NOW_MS);
        let opened = |stored: &[u8], secrets, now_ms| {
            CertificateAuthority::of(stored, secrets, now_ms).err().map(|error| error.to_string())
        };
        let says = |found: Option<String>, text: &str| {
            assert!(found.as_deref().is_some_and(|found| found.contains(text)), "{found:?}");
        };
        assert_eq!(opened(&stored, &ours, NOW_MS), None);
        assert_eq!(opened(&stored, &ours, NOW_MS + CA_LIFE_MS), None);
        says(opened(&stored, &ours, NOW_MS + CA_LIFE_MS + 1_000), "has expired");
        says(opened(&stored, &theirs, NOW_MS), "its key cannot be opened");
        let read = |stored: &[u8]| shared::wire::decode::<Stored>(stored).unwrap();
        let other = Stored { certificate: read(&make(&ours, NOW_MS)).certificate, ..read(&stored) };
        says(opened(&shared::wire::encode(&other), &ours, NOW_MS), "do not belong together");
        let cut = Stored { certificate: vec![0x30, 0x82], ..read(&stored) };
        says(opened(&shared::wire::encode(&cut), &ours, NOW_MS), "damaged");
        says(opened(b"nonsense", &ours, NOW_MS), "damaged");
    }
}
