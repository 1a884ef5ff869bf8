//! `DELETE /api/v1/api-keys/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::ApiKeyId;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Revokes a key at once; streams that it opened are closed.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "api keys",
    params(("id" = String, Path,)), responses((status = 204)))]
pub async fn delete_api_key(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode, Problem> {
    app.store.api_keys.delete(caller.user_id, id).await?;
    app.http.accesses.recheck();
    Ok(StatusCode::NO_CONTENT)
}
