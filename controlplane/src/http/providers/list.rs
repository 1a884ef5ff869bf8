//! `GET /api/v1/providers`.

use axum::Json;
use axum::extract::State;

use super::view::ProviderView;
use crate::app::App;
use crate::http::page::Page;
use crate::http::problem::Problem;

/// A deployment has a handful; the list is whole.
const LIST_MAX: u32 = 1_000;

/// The providers, oldest first, without their keys.
#[utoipa::path(get, path = "/providers", tag = "providers",
    responses((status = 200, body = Page<ProviderView>)))]
pub async fn list_providers(State(app): State<App>) -> Result<Json<Page<ProviderView>>, Problem> {
    let rows = app.store.providers.list(LIST_MAX).await?;
    Ok(Json(Page::whole(rows.into_iter().map(ProviderView::from).collect())))
}
