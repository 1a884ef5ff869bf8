//! `DELETE /api/v1/models/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use shared::ids::ModelId;

use crate::app::App;
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Forgets a model. Chats that chose it go on with the default one.
#[utoipa::path(delete, path = "/models/{id}", tag = "models", params(("id" = String, Path,)),
    responses((status = 204)))]
pub async fn delete_model(
    State(app): State<App>,
    Path(id): Path<ModelId>,
) -> Result<StatusCode, Problem> {
    app.store.models.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
