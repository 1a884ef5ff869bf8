//! `POST /api/v1/workspaces/{id}/join-tokens`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use shared::ids::{JoinTokenId, WorkspaceId};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::store::StoreError;
use crate::time::Timestamp;

/// A token with which one daemon may join.
#[derive(Serialize, ToSchema)]
pub struct JoinTokenView {
    /// Its id.
    #[schema(value_type = String)]
    id: JoinTokenId,
    /// Shown this once.
    token: String,
    /// When it ends.
    expires_at: Timestamp,
    /// What to run on the machine.
    command: String,
}

/// Makes a token with which one daemon may join the workspace, within an hour.
#[utoipa::path(post, path = "/workspaces/{id}/join-tokens", tag = "workspaces",
    params(("id" = String, Path,)), responses((status = 201, body = JoinTokenView)))]
pub async fn create_join_token(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<WorkspaceId>,
) -> Result<(StatusCode, Json<JoinTokenView>), Problem> {
    let Some(tokens) = app.join_tokens() else {
        return Err(Problem::new(Code::Unavailable, "the listener for daemons is not up"));
    };
    let issued = match tokens.issue(id, Some(caller.user_id)).await {
        Ok(issued) => issued,
        // The token's row names a workspace that is not there.
        Err(StoreError::Conflict) => return Err(Problem::not_found()),
        Err(error) => return Err(error.into()),
    };
    let command = format!("agentd join {} --token {}", app.http.url(), issued.token);
    let expires_at = Timestamp(issued.expires_at_ms);
    let view = JoinTokenView { id: issued.id, token: issued.token, expires_at, command };
    Ok((StatusCode::CREATED, Json(view)))
}
