//! What sessions look like from outside, and how one begins.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use shared::ids::UserId;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::auth::{self, Caller, Via};
use crate::http::problem::Problem;
use crate::store::{NewSession, UserRow};

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// Their id.
    #[schema(value_type = String)]
    pub id: UserId,
    /// As they log in.
    pub username: String,
    /// `admin` or `member`.
    pub role: String,
}

/// How one has shown who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// A cookie.
    Session,
    /// A key.
    ApiKey,
}

/// Who one is.
#[derive(Debug, Serialize, ToSchema)]
pub struct MeView {
    /// The person.
    pub user: UserView,
    /// How they have shown it.
    pub auth: AuthKind,
}

impl MeView {
    pub(super) fn of_session(row: &UserRow) -> Self {
        let role = row.role.as_str().to_owned();
        let user = UserView { id: row.id, username: row.username.clone(), role };
        Self { user, auth: AuthKind::Session }
    }
}

impl From<&Caller> for MeView {
    fn from(caller: &Caller) -> Self {
        let auth = match caller.via {
            Via::Session(_) => AuthKind::Session,
            Via::ApiKey(..) => AuthKind::ApiKey,
        };
        let role = caller.role.as_str().to_owned();
        let user = UserView { id: caller.user_id, username: caller.username.clone(), role };
        Self { user, auth }
    }
}

/// Begins a session; the answer's header gives the browser its cookie.
pub(in crate::http) async fn begin(
    app: &App,
    user: &UserRow,
    headers: &HeaderMap,
) -> Result<[(header::HeaderName, HeaderValue); 1], Problem> {
    let secret = auth::new_secret()?;
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    app.store
        .sessions
        .create(&NewSession {
            user_id: user.id,
            token_hash: auth::digest(&secret),
            user_agent: agent.map(|agent| agent.chars().take(256).collect()),
            expires_at_ms: app.clock.now_ms().saturating_add(app.session_lifetime_ms()),
        })
        .await?;
    Ok([(header::SET_COOKIE, auth::set_cookie(app, headers, &secret))])
}
