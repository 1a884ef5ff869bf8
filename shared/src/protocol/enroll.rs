//! Enrolment and renewal: how a daemon gets its certificate.

use serde::{Deserialize, Serialize};

use super::call::methods;
use crate::ids::WorkspaceId;

/// Enrols a daemon. Sent on a connection with [`ALPN_ENROLL`](super::ALPN_ENROLL), no fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enroll {
    /// The secret of the join token.
    pub token_secret: String,
    /// Certificate signing request in DER. Only its public key is used.
    #[serde(with = "crate::wire::bytes")]
    pub csr_der: Vec<u8>,
    /// The machine's name, for people.
    pub hostname: String,
}

/// Renews the certificate over the link; the daemon calls it at half-life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewCertificate {
    /// As in [`Enroll`]; the key must be the enrolled one.
    #[serde(with = "crate::wire::bytes")]
    pub csr_der: Vec<u8>,
}

/// A fresh certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The workspace it names.
    pub workspace_id: WorkspaceId,
    /// The workspace's name.
    pub workspace_name: String,
    /// Leaf first, then the CA, each in DER.
    pub chain_der: Vec<Der>,
    /// Unix milliseconds at which it ends.
    pub not_after_ms: i64,
}

/// One certificate in DER.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Der(#[serde(with = "crate::wire::bytes")] pub Vec<u8>);

methods! {
    Enroll => "enroll", Read, Certificate;
    RenewCertificate => "certificate/renew", Read, Certificate;
}
