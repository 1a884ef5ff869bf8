//! Who a daemon is, from its certificate alone.

use std::fmt;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use shared::ids::WorkspaceId;
use x509_parser::extensions::GeneralName;

const URI_PREFIX: &str = "holdfast://workspace/";

/// The name of a workspace in its daemon's certificate.
pub(super) fn workspace_uri(id: WorkspaceId) -> String {
    format!("{URI_PREFIX}{id}")
}

/// SHA-256 of a daemon's public key (SPKI), in hex: what the workspace's row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKeyHash(String);

impl DeviceKeyHash {
    pub(super) fn of_spki(spki_der: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(spki_der)))
    }

    /// As the row has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate that our CA signed for a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceIdentity {
    pub(super) workspace: WorkspaceId,
    pub(super) key: DeviceKeyHash,
}

/// A certificate of our CA that names no workspace: a replica's, or a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate names no workspace")]
pub(super) struct NotADevice;

impl DeviceIdentity {
    /// Reads a certificate that TLS has verified. Exactly one URI, in exactly our form.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, NotADevice> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| NotADevice)?;
        let names = parsed.subject_alternative_name().ok().flatten().ok_or(NotADevice)?;
        let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
            return Err(NotADevice);
        };
        let workspace =
            uri.strip_prefix(URI_PREFIX).and_then(|id| id.parse().ok()).ok_or(NotADevice)?;
        let key = DeviceKeyHash::of_spki(parsed.tbs_certificate.subject_pki.raw);
        Ok(Self { workspace, key })
    }
}
