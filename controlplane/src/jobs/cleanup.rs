//! Forgets what has had its time: expired log-ins, old idempotency keys, old join tokens, old traces,
//! files that nobody sent.
//!
//! Every replica may run it: each statement deletes by age alone and is harmless twice.

use std::time::Duration;

use crate::app::App;
use crate::store::StoreError;

const EVERY: Duration = Duration::from_secs(3_600);
/// Longer than any upload takes.
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Days that spans are kept.
const TRACES_KEPT_DAYS: i64 = 30;

/// Runs every hour until the soft stop, the first time at once.
pub async fn run(app: App) {
    let soft = app.lifecycle.soft();
    loop {
        match once(&app).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(rows = gone, "forgot old rows"),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not forget old rows"
                );
            }
        }
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn once(app: &App) -> Result<u64, StoreError> {
    let day_ago_ms = app.clock.now_ms().saturating_sub(DAY_MS);
    let sessions = app.store.sessions.delete_expired().await?;
    let keys = app.store.idempotency.delete_old(day_ago_ms).await?;
    let tokens = app.store.join_tokens.delete_old(day_ago_ms).await?;
    let traced_ms = app.clock.now_ms().saturating_sub(TRACES_KEPT_DAYS * DAY_MS);
    let spans = app.store.traces.delete_old(traced_ms).await?;
    let hour_ago_ms = app.clock.now_ms().saturating_sub(HOUR_MS);
    let files = app.store.attachments.sweep(day_ago_ms, hour_ago_ms).await?;
    Ok(sessions + keys + tokens + spans + files)
}
