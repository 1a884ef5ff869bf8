//! Whether the server lives, and whether it can serve. Open to everybody, and says nothing more.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;

/// `GET /healthz`: the program lives. Asks nothing of the database, so that a restart is not the
/// answer to a slow one.
pub async fn healthz() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
}

/// `GET /readyz`: 200 when every named check is well, 503 otherwise.
pub async fn readyz(State(app): State<App>) -> Response {
    let checks = vec![
        Check { name: "database", ok: app.store.ping().await.is_ok() },
        Check { name: "quic", ok: app.quic_address().is_some() },
        Check { name: "not_stopping", ok: !app.lifecycle.soft().is_cancelled() },
    ];
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(Readiness { ready, checks }))
        .into_response()
}
