//! The one place that chooses the cryptography: rustls with `ring`.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The provider of every TLS connection of this program.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes it the default, so that a library that asks for one gets this one. Idempotent.
pub fn install_provider() {
    // An error means that it was installed before, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
