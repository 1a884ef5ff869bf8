//! Enrolment: a token and an own key become a certificate. And the late renewal, for a daemon
//! whose certificate ended while it was away: the enrolled key alone asks for a fresh one.
//!
//! ```text
//! parse token ─► own key ─► dial (pin) ─► enroll ─► store
//!                                │ answer lost: the token may be used up
//!                                └──► certificate/renew with the same key ─► store
//! ```
//!
//! Safe to repeat: the key is made once, and a server that took the token knows the key.

use std::path::Path;

use shared::ids::IdSource;
use shared::protocol::enroll::{Certificate, Enroll, RenewCertificate};
use shared::protocol::join_token::JoinToken;

use super::address::ServerAddress;
use super::dial::{Dialled, Target, dial};
use super::fault::Fault;
use super::{call, transport};
use crate::identity::{DeviceKey, Enrolment, IdentityError};

/// Why a join failed. The message completes "could not join: …".
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Between here and the control plane; the text names what and what to do.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The state directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What `join` needs.
pub struct JoinRequest<'a> {
    /// Address of the control plane, as typed.
    pub url: &'a str,
    /// The join token, as pasted.
    pub token: &'a str,
    /// The `identity` directory of a locked state directory.
    pub identity: &'a Path,
    /// The machine's name, for people.
    pub hostname: &'a str,
}

/// Enrols this machine and stores what it learnt. Durable when it returns.
pub async fn join(request: &JoinRequest<'_>, ids: &dyn IdSource) -> Result<Enrolment, JoinError> {
    let token: JoinToken =
        request.token.parse().map_err(|error| Fault::Token { reason: format!("{error}") })?;
    let server = ServerAddress::parse(request.url)?;
    let key = DeviceKey::load_or_create(request.identity)?;
    let target =
        Target { host: server.host.clone(), quic_port: token.port, http_port: server.http_port };
    let certificate = enroll(&target, &token, &key, request.hostname, ids).await?;
    let enrolment =
        Enrolment::new(request.url.trim(), &server.host, token.port, token.ca_pin, &certificate);
    enrolment.save(request.identity)?;
    Ok(enrolment)
}

async fn enroll(
    target: &Target,
    token: &JoinToken,
    key: &DeviceKey,
    hostname: &str,
    ids: &dyn IdSource,
) -> Result<Certificate, Fault> {
    let config = transport::enroll_config(token.ca_pin)?;
    let dialled = dial(target, &config).await?;
    let request = Enroll {
        token_secret: token.secret_text(),
        csr_der: key.signing_request(),
        hostname: hostname.to_owned(),
    };
    let answer = call::call(&dialled.connection, ids, &request).await;
    dialled.close().await;
    match answer {
        // The token may be used up, by this very key: then the key is enough.
        Err(Fault::Lost { .. } | Fault::Token { .. } | Fault::Silent { .. }) => {
            let again = dial(target, &config).await?;
            let renewed = ask_renewal(&again, key, ids).await;
            again.close().await;
            match (renewed, answer) {
                (Ok(certificate), _) => Ok(certificate),
                (Err(_), answer) => answer,
            }
        }
        answer => answer,
    }
}

/// Asks for a fresh certificate without one, and stores it.
pub(super) async fn renew_late(
    identity: &Path,
    enrolment: &Enrolment,
    key: &DeviceKey,
    ids: &dyn IdSource,
) -> Result<Enrolment, Fault> {
    let damaged = || Fault::Local { what: "the stored enrolment is damaged".to_owned() };
    let config = transport::enroll_config(enrolment.pin().ok_or_else(damaged)?)?;
    let dialled = dial(&target(enrolment)?, &config).await?;
    let certificate = ask_renewal(&dialled, key, ids).await;
    dialled.close().await;
    store(identity, enrolment, &certificate?)
}

/// Stores a fresh certificate. It must name the enrolled workspace.
pub(super) fn store(
    identity: &Path,
    enrolment: &Enrolment,
    certificate: &Certificate,
) -> Result<Enrolment, Fault> {
    if certificate.workspace_id != enrolment.workspace_id {
        let what = "the fresh certificate names another workspace".to_owned();
        return Err(Fault::Protocol { what });
    }
    let renewed = enrolment.clone().renewed(certificate);
    renewed.save(identity).map_err(|error| Fault::Local { what: error.to_string() })?;
    Ok(renewed)
}

pub(super) fn target(enrolment: &Enrolment) -> Result<Target, Fault> {
    Ok(Target {
        host: enrolment.host.clone(),
        quic_port: enrolment.port,
        http_port: ServerAddress::parse(&enrolment.url)?.http_port,
    })
}

async fn ask_renewal(
    dialled: &Dialled,
    key: &DeviceKey,
    ids: &dyn IdSource,
) -> Result<Certificate, Fault> {
    let request = RenewCertificate { csr_der: key.signing_request() };
    call::call(&dialled.connection, ids, &request).await
}
