//! The few statements that only Postgres understands. Correctness over several replicas needs one
//! clock; everything else here would be a hint.

use sqlx::postgres::PgPool;

use super::error::StoreError;

const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

/// Unix milliseconds of the server's clock: the one that every replica compares leases with.
pub(super) async fn clock_ms(pool: &PgPool) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(CLOCK).fetch_one(pool).await?)
}
