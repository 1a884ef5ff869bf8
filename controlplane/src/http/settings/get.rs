//! `GET /api/v1/settings`.

use axum::Json;
use axum::extract::State;

use super::view::SettingsView;
use crate::app::App;
use crate::http::problem::Problem;

/// The deployment's settings.
#[utoipa::path(get, path = "/settings", tag = "settings",
    responses((status = 200, body = SettingsView)))]
pub async fn get_settings(State(app): State<App>) -> Result<Json<SettingsView>, Problem> {
    Ok(Json(SettingsView::now(&app).await?))
}
