//! `GET /api/v1/me`.

use axum::Json;

use super::view::MeView;
use crate::http::auth::Caller;

/// Who one is, and how one has shown it.
#[utoipa::path(get, path = "/me", tag = "session", responses((status = 200, body = MeView)))]
pub async fn me(caller: Caller) -> Json<MeView> {
    Json(MeView::from(&caller))
}
