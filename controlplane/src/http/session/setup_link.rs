//! The one-time link for the first administrator.

use shared::clock::Clock;

use crate::http::auth;
use crate::http::problem::Problem;
use crate::store::Store;

/// How long a link is good for.
const LIFE_MS: i64 = 3_600_000;

/// Makes a link to the server at `url`. Only a hash of its token is stored. The token stands behind
/// the `#`, so that no server and no proxy ever logs it.
///
/// # Errors
///
/// When the database or the system's randomness fails.
pub async fn new_setup_link(
    store: &Store,
    clock: &dyn Clock,
    url: &str,
) -> Result<String, Problem> {
    let token = auth::new_secret()?;
    let expires_at_ms = clock.now_ms().saturating_add(LIFE_MS);
    store.setup_tokens.create(&auth::digest(&token), expires_at_ms).await?;
    Ok(format!("{url}/setup#token={token}"))
}
