//! Certificates for daemons: the first one for a join token, later ones for the enrolled key.
//!
//! The device row is the truth: a certificate is only signed for the key that it holds, and a
//! key that it no longer holds gets none. A stranger learns nothing: an unknown token and a used
//! one look the same.

use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use shared::clock::Clock;
use shared::limits::HELLO_TIMEOUT;
use shared::protocol::close::CloseCode;
use shared::protocol::enroll::{Certificate, Der, Enroll, RenewCertificate};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::wire::IncomingCall;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ca::{CertificateAuthority, DeviceRequest, InvalidRequest};
use super::device::DeviceKeyHash;
use super::join_tokens::secret_hash;
use super::registry::Fleet;
use crate::store::{Store, StoreError, WorkspaceRow};

/// Longest secret that is looked up, in bytes; ours have 22.
const SECRET_MAX_BYTES: usize = 64;
/// Time that the peer gets to take the answer.
const FAREWELL: Duration = Duration::from_secs(2);

/// Signs for whoever may have it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Enrolment {
    pub(super) store: Store,
    pub(super) ca: Arc<CertificateAuthority>,
    pub(super) fleet: Fleet,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) device_life: Duration,
}

impl Enrolment {
    /// Serves one connection without a certificate: one call, then its end.
    pub(super) async fn serve(&self, connection: Connection) {
        let served = timeout(HELLO_TIMEOUT, async {
            let Ok((send, receive)) = connection.accept_bi().await else { return };
            let stopped = send.stopped();
            let received =
                IncomingCall::receive(Box::new(receive), Box::new(send), CancellationToken::new());
            // A malformed call was answered by `receive`.
            if let Ok(call) = received.await {
                self.answer(call).await;
            }
            // The close would overtake the answer.
            let _ = timeout(FAREWELL, stopped).await;
        });
        let code =
            if served.await.is_ok() { CloseCode::Done } else { CloseCode::ProtocolViolation };
        connection.close(code.value().into(), b"");
    }

    async fn answer(&self, call: IncomingCall) {
        let reply = match call.header.method.as_str() {
            Enroll::NAME => match call.decode::<Enroll>() {
                Ok(request) => self.enroll(&request).await,
                Err(error) => Err(error),
            },
            RenewCertificate::NAME => match call.decode::<RenewCertificate>() {
                Ok(request) => self.renew(&request, None).await,
                Err(error) => Err(error),
            },
            other => Err(unsupported(other)),
        };
        let reply = reply.map_or_else(Reply::Err, Reply::Ok);
        // A daemon that is gone asks again with the same key.
        let _ = call.answer.answer(&reply).await;
    }

    async fn enroll(&self, enroll: &Enroll) -> Result<Certificate, WireError> {
        // Checked first: a bad request must not use the token up.
        let request = DeviceRequest::parse(&enroll.csr_der).map_err(invalid_request)?;
        if enroll.token_secret.len() > SECRET_MAX_BYTES {
            return Err(invalid_token());
        }
        let hash = secret_hash(&enroll.token_secret);
        let Some(token) = self.store.join_tokens.use_up(&hash).await.map_err(not_now)? else {
            return Err(self.why_not(&hash).await?);
        };
        let key = request.key_hash();
        let workspaces = &self.store.workspaces;
        workspaces.set_device(token.workspace_id, Some(key.as_str())).await.map_err(not_now)?;
        let row = workspaces.workspace(token.workspace_id).await.map_err(not_now)?;
        let row = row.ok_or_else(invalid_token)?;
        tracing::info!(workspace = %row.id, device = %key, "a daemon joined");
        // A daemon that had the place before is out from now on.
        self.fleet.revoke(row.id);
        if let Some(directory) = self.fleet.directory() {
            directory.revoked(row.id).await.map_err(not_now)?;
        }
        Ok(self.sign(&request, &row))
    }

    /// Renews for the enrolled key; `of` is the certificate's key where there was one.
    pub(super) async fn renew(
        &self,
        renew: &RenewCertificate,
        of: Option<&DeviceKeyHash>,
    ) -> Result<Certificate, WireError> {
        let request = DeviceRequest::parse(&renew.csr_der).map_err(invalid_request)?;
        let key = request.key_hash();
        let row = self.store.workspaces.by_device(key.as_str()).await.map_err(not_now)?;
        let same = of.is_none_or(|of| *of == key);
        match row.filter(|_| same) {
            Some(row) => Ok(self.sign(&request, &row)),
            None => {
                tracing::warn!(device = %key, "daemon_auth_failed reason=unknown_key");
                let text = "this key is not that of an enrolled daemon; join again";
                Err(WireError::refused(ErrorCode::DaemonAuthFailed, text))
            }
        }
    }

    fn sign(&self, request: &DeviceRequest, row: &WorkspaceRow) -> Certificate {
        let life_ms = i64::try_from(self.device_life.as_millis()).unwrap_or(i64::MAX);
        let signed = self.ca.sign_device(request, row.id, self.clock.now_ms(), life_ms);
        Certificate {
            workspace_id: row.id,
            workspace_name: row.name.clone(),
            chain_der: vec![Der(signed.der), Der(self.ca.certificate().to_vec())],
            not_after_ms: signed.not_after_ms,
        }
    }

    /// Only who holds the secret of a real token is told that it expired.
    async fn why_not(&self, hash: &str) -> Result<WireError, WireError> {
        let row = self.store.join_tokens.by_secret_hash(hash).await.map_err(not_now)?;
        match row {
            Some(row) if row.used_at_ms.is_none() => {
                tracing::warn!(token = %row.id, "a join token was used after its end");
                let text = "the join token has expired; make a new one";
                Ok(WireError::refused(ErrorCode::JoinTokenInvalid, text))
            }
            Some(row) => {
                tracing::warn!(token = %row.id, "a used join token was tried again");
                Ok(invalid_token())
            }
            None => Ok(invalid_token()),
        }
    }
}

pub(super) fn unsupported(method: &str) -> WireError {
    let cut = &method[..method.floor_char_boundary(64)];
    WireError::refused(ErrorCode::Unsupported, format!("no method {cut:?} here"))
        .with("method", cut)
}

fn invalid_token() -> WireError {
    let text = "the join token is unknown or was used before; make a new one";
    WireError::refused(ErrorCode::JoinTokenInvalid, text)
}

fn invalid_request(error: InvalidRequest) -> WireError {
    WireError::refused(ErrorCode::InvalidRequest, error.to_string()).with("field", "csr_der")
}

/// The cause goes to the log; a stranger hears that it is not his fault.
fn not_now(error: StoreError) -> WireError {
    tracing::error!("enrolment could not use the database: {error}");
    WireError::refused(ErrorCode::Busy, "the control plane cannot use its database; try again")
}
