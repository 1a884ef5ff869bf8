//! What a key looks like from outside; its secret is never among it.

use serde::Serialize;
use shared::ids::ApiKeyId;
use utoipa::ToSchema;

use crate::http::auth::{Scope, scopes_of};
use crate::store::ApiKeyRow;
use crate::time::Timestamp;

/// A key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKeyView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// The secret's last characters, for people.
    pub hint: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it ends; none: never.
    pub expires_at: Option<Timestamp>,
}

impl From<ApiKeyRow> for ApiKeyView {
    fn from(row: ApiKeyRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            hint: row.hint,
            scopes: scopes_of(&row.scopes),
            created_at: Timestamp(row.created_at_ms),
            last_used_at: row.last_used_at_ms.map(Timestamp),
            expires_at: row.expires_at_ms.map(Timestamp),
        }
    }
}
