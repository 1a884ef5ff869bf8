//! The few statements that only Postgres understands. Correctness over several replicas needs one
//! clock; everything else here would be a hint.

use sqlx::postgres::{PgListener, PgPool};

use super::error::StoreError;

const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

const NOTIFY: &str = "SELECT pg_notify($1, $2)";
/// Where replicas of this major version of the hints' text talk.
const CHANNEL: &str = "holdfast_1";

/// Unix milliseconds of the server's clock: the one that every replica compares leases with.
pub(super) async fn clock_ms(pool: &PgPool) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(CLOCK).fetch_one(pool).await?)
}

/// Sends a text to everybody who listens.
pub(super) async fn notify(pool: &PgPool, text: &str) -> Result<(), StoreError> {
    sqlx::query(NOTIFY).bind(CHANNEL).bind(text).execute(pool).await?;
    Ok(())
}

/// Listens, on a connection that it takes from the pool for good.
pub(super) async fn listen(pool: &PgPool) -> Result<PgListener, StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
