//! Who asks: the session's cookie or an API key, and whether they may.
//!
//! A secret is 256 random bits; only its SHA-256 is stored, so neither a copy of the database nor a
//! slow comparison gives one away. [`authorize`] guards every route but health, set-up and log-in; it
//! is put on groups of routes with the right they need, see the table in `http/mod.rs`.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use sha2::{Digest, Sha256};
use shared::ids::{ApiKeyId, SessionId, UserId};

use super::code::Code;
use super::json::choice;
use super::problem::Problem;
use super::stream::Verdict;
use crate::app::App;
use crate::store::{StoreError, UserRole};

/// Prefix of API keys, so that scanners find leaked ones.
pub const KEY_PREFIX: &str = "hf_";
/// The cookie where the browser reaches us over TLS.
const SECURE_COOKIE: &str = "__Host-holdfast";
/// The cookie where it does not: browsers refuse the prefix without TLS.
const PLAIN_COOKIE: &str = "holdfast";
/// A session is kept alive by use, noted at most this often.
const TOUCH_EVERY_MS: i64 = 3_600_000;

static CSRF: HeaderName = HeaderName::from_static("x-holdfast-csrf");

choice! {
    /// What an API key may be used for.
    pub enum Scope {
        /// Look.
        Read = "read",
        /// Change what its owner may change.
        Write = "write",
        /// Administer, if its owner may.
        Admin = "admin",
    }
}

/// Somebody who has shown who they are.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user_id: UserId,
    /// As they log in.
    pub username: String,
    /// What they may do.
    pub role: UserRole,
    /// How they showed it.
    pub via: Via,
}

/// How a caller showed who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// A cookie.
    Session(SessionId),
    /// A key with these scopes.
    ApiKey(ApiKeyId, Vec<Scope>),
}

impl Caller {
    /// Whether they have `right`.
    ///
    /// # Errors
    ///
    /// `missing_scope` or `admin_only`.
    pub fn require(&self, right: Scope) -> Result<(), Problem> {
        if right == Scope::Admin && self.role != UserRole::Admin {
            return Err(Problem::new(Code::AdminOnly, "ask an administrator of this server"));
        }
        match &self.via {
            Via::ApiKey(_, scopes) if !scopes.contains(&right) => {
                let detail = format!("the API key lacks the scope \"{}\"", right.as_str());
                Err(Problem::new(Code::MissingScope, detail).with("scope", right.as_str()))
            }
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthenticated)
    }
}

/// Lets a request through if its caller has `right`; the caller is then an extension of it.
pub async fn authorize(
    State((app, right)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match caller(&app, request.method(), request.headers()).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    if let Err(problem) = caller.require(right) {
        return problem.into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

async fn caller(app: &App, method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return by_key(app, value).await;
    }
    let Some(secret) = cookie(headers) else { return Err(unauthenticated()) };
    let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    // A page of a stranger can send our cookie, but not this header.
    if !is_read && headers.get(&CSRF).is_none_or(|value| value != "1") {
        let detail = "a change with the session's cookie needs the header X-Holdfast-CSRF: 1";
        return Err(Problem::new(Code::CsrfHeaderMissing, detail));
    }
    by_session(app, secret).await
}

async fn by_key(app: &App, value: &HeaderValue) -> Result<Caller, Problem> {
    let text = value.to_str().unwrap_or_default();
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    let key = key.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || !key.starts_with(KEY_PREFIX) || key.len() > 128 {
        return Err(refused());
    }
    let Some(row) = app.store.api_keys.by_token_hash(&digest(key)).await? else {
        return Err(refused());
    };
    if row.expires_at_ms.is_some_and(|end| end <= app.clock.now_ms()) {
        let problem = Problem::new(Code::Expired, "the API key has expired; make a new one");
        return Err(challenge(problem));
    }
    let scopes = scopes_of(&row.scopes);
    user(app, row.user_id, Via::ApiKey(row.id, scopes)).await
}

async fn by_session(app: &App, secret: &str) -> Result<Caller, Problem> {
    let Some(row) = app.store.sessions.by_token_hash(&digest(secret)).await? else {
        return Err(refused());
    };
    let now = app.clock.now_ms();
    if now.saturating_sub(row.last_used_at_ms) > TOUCH_EVERY_MS {
        app.store.sessions.touch(row.id, now.saturating_add(app.session_lifetime_ms())).await?;
    }
    user(app, row.user_id, Via::Session(row.id)).await
}

async fn user(app: &App, id: UserId, via: Via) -> Result<Caller, Problem> {
    let row = app.store.users.user(id).await?.ok_or_else(refused)?;
    Ok(Caller { user_id: row.id, username: row.username, role: row.role, via })
}

/// How the session that opened a stream stands now.
///
/// # Errors
///
/// When the database cannot say.
pub async fn session_stands(app: &App, id: SessionId, user: UserId) -> Result<Verdict, StoreError> {
    let is_there = app.store.sessions.by_id(id).await?.is_some();
    Ok(if is_there && app.store.users.user(user).await?.is_some() {
        Verdict::Valid
    } else {
        Verdict::Ended
    })
}

/// How the API key that opened a stream stands now.
///
/// # Errors
///
/// When the database cannot say.
pub async fn key_stands(app: &App, id: ApiKeyId, user: UserId) -> Result<Verdict, StoreError> {
    let Some(row) = app.store.api_keys.by_id(id).await? else { return Ok(Verdict::Ended) };
    let is_over = row.expires_at_ms.is_some_and(|end| end <= app.clock.now_ms());
    if is_over || app.store.users.user(user).await?.is_none() {
        return Ok(Verdict::Ended);
    }
    let may_look = scopes_of(&row.scopes).contains(&Scope::Read);
    Ok(if may_look { Verdict::Valid } else { Verdict::Forbidden })
}

fn unauthenticated() -> Problem {
    challenge(Problem::new(
        Code::InvalidCredentials,
        "log in, or send an API key: Authorization: Bearer hf_…",
    ))
}

/// The same for unknown, revoked and malformed: a stranger learns nothing.
fn refused() -> Problem {
    challenge(Problem::new(Code::InvalidCredentials, "the session or the API key is not accepted"))
}

fn challenge(problem: Problem) -> Problem {
    problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"holdfast\""))
}

/// Scopes as they are stored: words with spaces between.
#[must_use]
pub fn scopes_text(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}

/// Reads [`scopes_text`]; a word that this version does not know gives nothing.
#[must_use]
pub fn scopes_of(text: &str) -> Vec<Scope> {
    let all = [Scope::Read, Scope::Write, Scope::Admin];
    text.split(' ').filter_map(|word| all.into_iter().find(|s| s.as_str() == word)).collect()
}

/// A new secret: 256 bits as base64url.
///
/// # Errors
///
/// When the system has no randomness to give.
pub fn new_secret() -> Result<String, Problem> {
    let mut bytes = [0_u8; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(Problem::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a secret.
#[must_use]
pub fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        pairs.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| [SECURE_COOKIE, PLAIN_COOKIE].contains(name)).map(|(_, value)| value)
}

/// The header that gives a browser its session, or takes it away (`secret` empty).
#[must_use]
pub fn set_cookie(app: &App, headers: &HeaderMap, secret: &str) -> HeaderValue {
    let (name, secure) =
        if over_tls(app, headers) { (SECURE_COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
    let age_s = if secret.is_empty() { 0 } else { app.session_lifetime_ms() / 1_000 };
    let text = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether the browser reaches us over TLS: its own word first, then the configuration's.
fn over_tls(app: &App, headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) {
        Some(origin) => origin.starts_with("https://"),
        None => app.http.options.public_url.as_deref().is_some_and(|u| u.starts_with("https://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cookies_are_found_and_others_are_not() {
        let headers = |text: &str| {
            let mut map = HeaderMap::new();
            map.insert(header::COOKIE, text.parse().unwrap());
            map
        };
        assert_eq!(cookie(&headers("a=b; __Host-holdfast=x; c=d")), Some("x"));
        assert_eq!(cookie(&headers("holdfast=y")), Some("y"));
        assert_eq!(cookie(&headers("holdfastx=y; xholdfast=z")), None);
    }

    #[test]
    fn scopes_are_read_back_and_unknown_ones_give_nothing() {
        let scopes = [Scope::Read, Scope::Admin];
        assert_eq!(scopes_of(&scopes_text(&scopes)), scopes);
        assert_eq!(scopes_of("root"), []);
    }

    #[test]
    fn a_key_without_the_scope_and_a_member_may_not() {
        let ids: &dyn shared::ids::IdSource = &shared::testing::CountingIds::default();
        let caller = |role, via| Caller { user_id: ids.id(), username: "u".to_owned(), role, via };
        let key = |scopes: &[Scope]| Via::ApiKey(ids.id(), scopes.to_vec());
        let code = |caller: Caller, right| caller.require(right).map_err(|p| p.code().to_owned());
        assert_eq!(code(caller(UserRole::Admin, key(&[Scope::Read])), Scope::Read), Ok(()));
        assert_eq!(
            code(caller(UserRole::Admin, key(&[Scope::Read])), Scope::Write),
            Err("missing_scope".to_owned())
        );
        assert_eq!(
            code(caller(UserRole::Member, Via::Session(ids.id())), Scope::Admin),
            Err("admin_only".to_owned())
        );
    }
}
