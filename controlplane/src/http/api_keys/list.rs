//! `GET /api/v1/api-keys`.

use axum::Json;
use axum::extract::State;

use super::view::ApiKeyView;
use crate::app::App;
use crate::http::auth::Caller;
use crate::http::page::Page;
use crate::http::problem::Problem;

/// A person has a handful; the list is whole.
const LIST_MAX: u32 = 1_000;

/// The caller's keys, oldest first, without their secrets.
#[utoipa::path(get, path = "/api-keys", tag = "api keys",
    responses((status = 200, body = Page<ApiKeyView>)))]
pub async fn list_api_keys(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Page<ApiKeyView>>, Problem> {
    let rows = app.store.api_keys.list(caller.user_id, LIST_MAX).await?;
    Ok(Json(Page::whole(rows.into_iter().map(ApiKeyView::from).collect())))
}
