//! `DELETE /api/v1/providers/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::ProviderId;

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Forgets a provider, its key and its models. Chats that used them go on with the default model.
#[utoipa::path(delete, path = "/providers/{id}", tag = "providers", params(("id" = String, Path,)),
    responses((status = 204)))]
pub async fn delete_provider(
    State(app): State<App>,
    Path(id): Path<ProviderId>,
) -> Result<StatusCode, Problem> {
    app.store.providers.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
