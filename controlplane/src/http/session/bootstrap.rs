//! `GET /api/v1/bootstrap`: what a page must know before anybody has logged in.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::problem::Problem;

/// What a page must know first.
#[derive(Debug, Serialize, ToSchema)]
pub struct BootstrapView {
    /// There is nobody yet: open the set-up link.
    pub setup_required: bool,
    /// Of the server.
    pub version: &'static str,
    /// A throw-away server with a scripted model.
    pub demo: bool,
}

/// What a page must know before anybody has logged in. Needs no credentials.
#[utoipa::path(get, path = "/bootstrap", tag = "session", security(()),
    responses((status = 200, body = BootstrapView)))]
pub async fn bootstrap(State(app): State<App>) -> Result<Json<BootstrapView>, Problem> {
    let setup_required = app.store.users.count().await? == 0;
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(BootstrapView { setup_required, version, demo: app.http.demo }))
}
