//! `POST /api/v1/setup`: the first administrator, by the one-time link.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;

use super::view::{MeView, begin};
use crate::app::App;
use crate::http::auth;
use crate::http::code::Code;
use crate::http::json::{Hidden, Json, Name, body};
use crate::http::problem::Problem;
use crate::store::{NewUser, StoreError, UserRole};

body! {
    /// The first administrator.
    pub struct SetupBody {
        /// From the set-up link.
        #[schema(value_type = String)]
        pub setup_token: Hidden,
        /// 1 to 100 characters.
        #[schema(value_type = String)]
        pub username: Name,
        /// At least 8 characters.
        #[schema(value_type = String)]
        pub password: Hidden,
    }
}

/// Makes the first administrator and logs them in.
///
/// 401 `setup_token_invalid`: wrong, used or expired. 409 `setup_done`: there is one already.
#[utoipa::path(post, path = "/setup", tag = "session", security(()), request_body = SetupBody,
    responses((status = 201, body = MeView)))]
pub async fn setup(
    State(app): State<App>,
    headers: HeaderMap,
    Json(body): Json<SetupBody>,
) -> Result<impl IntoResponse, Problem> {
    if app.store.users.count().await? > 0 {
        return Err(done());
    }
    let token_hash = auth::digest(body.setup_token.expose());
    // Before the password is hashed: a stranger must not make us work.
    if !app.store.setup_tokens.is_valid(&token_hash).await? {
        return Err(refused());
    }
    let password_hash = app.http.passwords.hash(&body.password).await?;
    let username = body.username.into_inner();
    let new = NewUser { username, password_hash, role: UserRole::Admin };
    let user = match app.store.users.create_first(&token_hash, &new).await {
        Ok(user) => user,
        Err(StoreError::NotFound) => return Err(refused()),
        Err(StoreError::Conflict) => return Err(done()),
        Err(error) => return Err(error.into()),
    };
    let cookie = begin(&app, &user, &headers).await?;
    Ok((StatusCode::CREATED, cookie, axum::Json(MeView::of_session(&user))))
}

fn done() -> Problem {
    Problem::new(Code::SetupDone, "there is an administrator already; log in")
}

fn refused() -> Problem {
    Problem::new(Code::SetupTokenInvalid, "the set-up link is wrong, used or expired")
        .hint("run `controlplane setup-link` on the server for a new one")
}
