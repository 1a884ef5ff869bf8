//! `GET /api/v1/models`.

use axum::Json;
use axum::extract::State;

use super::view::ModelView;
use crate::app::App;
use crate::http::page::Page;
use crate::http::problem::Problem;

/// A deployment has a few dozen; the list is whole.
const LIST_MAX: u32 = 1_000;

/// The models, oldest first, hidden ones included.
#[utoipa::path(get, path = "/models", tag = "models",
    responses((status = 200, body = Page<ModelView>)))]
pub async fn list_models(State(app): State<App>) -> Result<Json<Page<ModelView>>, Problem> {
    let rows = app.store.models.list(LIST_MAX).await?;
    Ok(Json(Page::whole(rows.into_iter().map(ModelView::from).collect())))
}
