//! Operations that a person or a program asks for over HTTP.
//!
//! Each has an `OpId`, like the agent's. With an `Idempotency-Key` the ids are made from the caller
//! and the key, so that a repeated request names the same operation and the daemon's journal
//! answers it, even if this server died between the two. A lost link is waited for, and the same
//! operation asked again.

use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use shared::ids::{FromUlid, OpId};
use shared::protocol::Method;
use shared::protocol::call::Fence;

use super::auth::Caller;
use super::idempotency::key_of;
use super::problem::Problem;
use crate::app::App;
use crate::fleet::{CallError, Deadline, Operation, WorkspaceLink};

/// How long a request waits for an answer, lost links included.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What fences the operations of people: every one of them may be asked at any time.
const SCOPE: &str = "http";
const EPOCH: u64 = 1;

/// A deadline for reads.
pub const READ_DEADLINE: Deadline = Deadline::after(PATIENCE);

/// Makes the ids of one request.
pub struct RequestIds<'a> {
    app: &'a App,
    seed: Option<[u8; 32]>,
}

impl<'a> RequestIds<'a> {
    /// For a request of `caller`.
    ///
    /// # Errors
    ///
    /// A malformed `Idempotency-Key`.
    pub fn new(app: &'a App, caller: &Caller, headers: &HeaderMap) -> Result<Self, Problem> {
        let seed = key_of(headers)?.map(|key| {
            let mut hasher = blake3::Hasher::new_derive_key("holdfast http operation ids v1");
            hasher.update(caller.user_id.to_string().as_bytes());
            hasher.update(key.as_bytes());
            *hasher.finalize().as_bytes()
        });
        Ok(Self { app, seed })
    }

    /// The id for `purpose`: the same one for the same key, otherwise a new one.
    #[must_use]
    pub fn id<T: FromUlid>(&self, purpose: &str) -> T {
        let Some(seed) = self.seed else { return self.app.ids.id() };
        let hash = blake3::keyed_hash(&seed, purpose.as_bytes());
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        T::from_ulid(ulid::Ulid::from_bytes(bytes))
    }
}

/// Asks for one operation and waits for its end.
///
/// # Errors
///
/// What the daemon says, `workspace_not_connected` if nothing was sent, `outcome_unknown` if the link
/// stayed lost.
pub async fn operate<M: Method>(
    link: &WorkspaceLink,
    op_id: OpId,
    request: &M,
    body: Bytes,
) -> Result<M::Reply, Problem> {
    let operation = Operation::new(op_id, fence(request, &body)).within(PATIENCE);
    let mut asked = false;
    let work = async {
        loop {
            match link.operate_with_body(&operation, request, body.clone()).await {
                Err(CallError::Unknown { reason }) if reason.may_ask_again() => asked = true,
                // Nothing was sent this time, but it was before: only the daemon knows.
                Err(CallError::NotConnected { .. }) if asked => {}
                ended => return ended,
            }
            link.connected().await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let reason = crate::fleet::UnknownReason::DeadlinePassed;
        Err(CallError::Unknown { reason })
    });
    if !matches!(ended, Err(CallError::Unknown { .. } | CallError::NotConnected { .. })) {
        link.acknowledge(vec![op_id]);
    }
    ended.map_err(Problem::from)
}

fn fence<M: Method>(request: &M, body: &Bytes) -> Fence {
    let mut hasher = blake3::Hasher::new();
    hasher.update(M::NAME.as_bytes());
    hasher.update(&serde_json::to_vec(request).unwrap_or_default());
    hasher.update(body);
    Fence { scope: SCOPE.to_owned(), epoch: EPOCH, hash: hasher.finalize().to_hex().to_string() }
}
