//! Which replica a peer is, from its certificate alone.

use rustls::pki_types::CertificateDer;
use shared::ids::ReplicaId;
use x509_parser::extensions::GeneralName;

const URI_PREFIX: &str = "holdfast://replica/";

/// The name of a replica in its certificate.
pub(in crate::fleet) fn replica_uri(id: ReplicaId) -> String {
    format!("{URI_PREFIX}{id}")
}

/// The replica that a certificate names; TLS has verified it. None: it is a daemon's, or damaged.
pub(super) fn replica_of(certificate: &CertificateDer<'_>) -> Option<ReplicaId> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten()?;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => uri.strip_prefix(URI_PREFIX)?.parse().ok(),
        _ => None,
    }
}
