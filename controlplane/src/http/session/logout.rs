//! `POST /api/v1/logout`.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;

use crate::app::App;
use crate::http::auth::{self, Caller, Via};
use crate::http::problem::Problem;

/// Ends the session and takes its cookie away. With an API key it does nothing.
#[utoipa::path(post, path = "/logout", tag = "session", responses((status = 204)))]
pub async fn logout(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if let Via::Session(id) = caller.via {
        app.store.sessions.delete(id).await?;
        app.http.accesses.recheck();
    }
    let cookie = [(header::SET_COOKIE, auth::set_cookie(&app, &headers, ""))];
    Ok((StatusCode::NO_CONTENT, cookie))
}
