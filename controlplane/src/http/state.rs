//! What the HTTP side keeps for itself.

use std::net::SocketAddr;

use shared::lifecycle::Lifecycle;

use super::enter::LoginLink;
use super::hosts::Hosts;
use super::metrics::HttpMetrics;
use super::passwords::Passwords;
use super::stream::{Accesses, StreamSeats};
use crate::options::HttpOptions;

/// What the HTTP side keeps for itself.
pub struct HttpState {
    /// The configuration of it.
    pub options: HttpOptions,
    /// Names under which the server may be called.
    pub hosts: Hosts,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Counts answers.
    pub metrics: HttpMetrics,
    /// Counts open streams.
    pub streams: StreamSeats,
    /// The credentials that open streams hang on.
    pub accesses: Accesses,
    /// The link that logs in, for `demo`.
    pub login_link: LoginLink,
    /// Whether this is a throw-away server.
    pub demo: bool,
    /// Where it really listens.
    pub address: SocketAddr,
    /// The OpenAPI document.
    pub document: String,
}

impl HttpState {
    /// For a server that listens on `address`.
    #[must_use]
    pub fn new(
        options: HttpOptions,
        address: SocketAddr,
        lifecycle: Lifecycle,
        demo: bool,
    ) -> Self {
        Self {
            hosts: Hosts::new(&options, address),
            options,
            passwords: Passwords::new(lifecycle),
            metrics: HttpMetrics::default(),
            streams: StreamSeats::default(),
            accesses: Accesses::default(),
            login_link: LoginLink::default(),
            demo,
            address,
            document: super::document(),
        }
    }

    /// The address that people open, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        self.options.url(self.address)
    }
}
