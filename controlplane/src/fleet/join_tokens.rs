//! Join tokens: made for a workspace, used once by a daemon.

use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use shared::clock::Clock;
use shared::ids::{JoinTokenId, UserId, WorkspaceId};
use shared::protocol::join_token::JoinToken;
use std::sync::Arc;
use std::time::Duration;

use crate::store::{JoinTokenStore, NewJoinToken, StoreError};

/// How long a token can be used.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Makes join tokens. Cheap to clone.
#[derive(Clone)]
pub struct JoinTokens {
    store: JoinTokenStore,
    clock: Arc<dyn Clock>,
    ca_pin: [u8; 32],
    port: u16,
}

/// A fresh token. No `Debug`: its text is a secret that is shown once.
pub struct IssuedJoinToken {
    /// Names it in the list.
    pub id: JoinTokenId,
    /// What a person carries to the machine.
    pub token: String,
    /// Unix milliseconds.
    pub expires_at_ms: i64,
}

impl JoinTokens {
    /// `port` is the UDP port at which daemons reach the listener from outside.
    #[must_use]
    pub fn new(store: JoinTokenStore, clock: Arc<dyn Clock>, ca_pin: [u8; 32], port: u16) -> Self {
        Self { store, clock, ca_pin, port }
    }

    /// A token with which one daemon may join `workspace` within [`JOIN_TOKEN_LIFE`].
    pub async fn issue(
        &self,
        workspace_id: WorkspaceId,
        created_by: Option<UserId>,
    ) -> Result<IssuedJoinToken, StoreError> {
        let mut secret = [0; 16];
        SystemRandom::new().fill(&mut secret).expect("the system's generator works");
        let token = JoinToken { port: self.port, ca_pin: self.ca_pin, secret };
        let life_ms = i64::try_from(JOIN_TOKEN_LIFE.as_millis()).unwrap_or(i64::MAX);
        let new = NewJoinToken {
            workspace_id,
            secret_hash: secret_hash(&token.secret_text()),
            created_by,
            expires_at_ms: self.clock.now_ms().saturating_add(life_ms),
        };
        let row = self.store.create(&new).await?;
        let token = token.to_string();
        Ok(IssuedJoinToken { id: row.id, token, expires_at_ms: row.expires_at_ms })
    }
}

/// What the store keeps of a secret. A plain hash is enough for 128 random bits.
pub(super) fn secret_hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
