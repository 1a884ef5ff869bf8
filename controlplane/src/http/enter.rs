//! The one-time link of `demo` that logs a person straight in.
//!
//! Its secret lives in memory alone and is used up by the first who follows it, so it is worth
//! nothing in a log or a history.

use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::auth;
use super::problem::Problem;
use super::query::Path;
use super::session;
use crate::app::App;
use crate::store::UserRow;

/// The link that was given out, if any.
#[derive(Default)]
pub struct LoginLink {
    given: Mutex<Option<(String, UserRow)>>,
}

impl LoginLink {
    /// Makes the link's secret; an older one is worth nothing any more.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn make(&self, user: UserRow) -> Result<String, Problem> {
        let secret = auth::new_secret()?;
        let digest = auth::digest(&secret);
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, user));
        Ok(secret)
    }

    fn take(&self, secret: &str) -> Option<UserRow> {
        let digest = auth::digest(secret);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.take_if(|(expected, _)| *expected == digest).map(|(_, user)| user)
    }
}

/// `GET /enter/{secret}`: logs in and shows the first page. A link that was used leads to the log-in.
pub async fn enter(
    State(app): State<App>,
    headers: HeaderMap,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let Some(user) = app.http.login_link.take(&secret) else {
        return Ok(Redirect::to("/login").into_response());
    };
    let cookie = session::begin(&app, &user, &headers).await?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((cookie, no_store, Redirect::to("/")).into_response())
}
