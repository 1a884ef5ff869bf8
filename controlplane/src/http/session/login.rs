//! `POST /api/v1/login`.

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;

use super::view::{MeView, begin};
use crate::app::App;
use crate::http::code::Code;
use crate::http::json::{Hidden, Json, body};
use crate::http::problem::Problem;
use crate::http::server::Peer;

body! {
    /// A name and a password.
    pub struct LoginBody {
        /// As chosen at set-up.
        pub username: String,
        /// The password.
        #[schema(value_type = String)]
        pub password: Hidden,
    }
}

/// Logs in; the answer's cookie is the session.
///
/// 401 `invalid_credentials`: the name or the password is wrong, and the answer does not say which.
/// 429 `rate_limited`: after five failures in a row.
#[utoipa::path(post, path = "/login", tag = "session", security(()), request_body = LoginBody,
    responses((status = 200, body = MeView)))]
pub async fn login(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(body): Json<LoginBody>,
) -> Result<impl IntoResponse, Problem> {
    let (name, peer) = (body.username.trim(), peer.0.ip());
    let passwords = &app.http.passwords;
    passwords.may_try(name, peer, app.clock.now())?;
    let user = app.store.users.by_username(name).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let is_right = passwords.is_right(&body.password, hash).await;
    passwords.tried(name, peer, is_right, app.clock.now());
    let Some(user) = user.filter(|_| is_right) else {
        return Err(Problem::new(Code::InvalidCredentials, "the name or the password is wrong"));
    };
    let cookie = begin(&app, &user, &headers).await?;
    Ok((cookie, axum::Json(MeView::of_session(&user))))
}
