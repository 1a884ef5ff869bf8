//! `POST /api/v1/api-keys`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::view::ApiKeyView;
use crate::app::App;
use crate::http::auth::{self, Caller, KEY_PREFIX, Scope, Via};
use crate::http::code::Code;
use crate::http::json::{Json, Name, body};
use crate::http::problem::Problem;
use crate::store::NewApiKey;

const DAY_MS: i64 = 86_400_000;
const DAYS_MAX: u32 = 3_650;

body! {
    /// A key to be made.
    pub struct ApiKeyBody {
        /// For people.
        #[schema(value_type = String)]
        pub name: Name,
        /// What it may be used for; none: everything its owner may.
        pub scopes: Option<Vec<Scope>>,
        /// How long it lives, 1 to 3,650; none: until it is revoked.
        pub expires_in_days: Option<u32>,
    }
}

/// A key with its secret, which is shown this once.
#[derive(Serialize, ToSchema)]
pub struct NewApiKeyView {
    #[serde(flatten)]
    view: ApiKeyView,
    /// Send it as `Authorization: Bearer …`.
    key: String,
}

/// Makes a key. The answer is the only place where it is ever shown.
///
/// A key that asks for more than the key that makes it is refused with 403 `missing_scope`.
#[utoipa::path(post, path = "/api-keys", tag = "api keys", request_body = ApiKeyBody,
    responses((status = 201, body = NewApiKeyView)))]
pub async fn create_api_key(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ApiKeyBody>,
) -> Result<(StatusCode, axum::Json<NewApiKeyView>), Problem> {
    let all = vec![Scope::Read, Scope::Write, Scope::Admin];
    let has = match &caller.via {
        Via::Session(_) => all,
        Via::ApiKey(_, scopes) => scopes.clone(),
    };
    let scopes = body.scopes.unwrap_or_else(|| has.clone());
    if scopes.is_empty() {
        return Err(Problem::of_field(Code::InvalidValue, "/scopes", "at least one scope is due"));
    }
    if let Some(missing) = scopes.iter().find(|scope| !has.contains(scope)) {
        let detail = format!("the API key lacks the scope \"{}\" itself", missing.as_str());
        return Err(Problem::new(Code::MissingScope, detail).with("scope", missing.as_str()));
    }
    if body.expires_in_days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
        let detail = format!("a number from 1 to {DAYS_MAX} is due here");
        return Err(Problem::of_field(Code::OutOfRange, "/expires_in_days", detail));
    }
    let key = format!("{KEY_PREFIX}{}", auth::new_secret()?);
    let row = app
        .store
        .api_keys
        .create(&NewApiKey {
            user_id: caller.user_id,
            name: body.name.into_inner(),
            token_hash: auth::digest(&key),
            hint: key[key.len() - 4..].to_owned(),
            scopes: auth::scopes_text(&scopes),
            expires_at_ms: body
                .expires_in_days
                .map(|days| app.clock.now_ms() + i64::from(days) * DAY_MS),
        })
        .await?;
    Ok((StatusCode::CREATED, axum::Json(NewApiKeyView { view: row.into(), key })))
}
