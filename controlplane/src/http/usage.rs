//! `GET /api/v1/usage`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::store::UsageSum;
use crate::time::Timestamp;

const DAY_MS: i64 = 86_400_000;
/// Days of one answer.
const DAYS_MAX: i64 = 366;
/// Rows of one answer: days by models by purposes.
const ROWS_MAX: u32 = 10_000;

/// What a person's model calls used.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageReport {
    /// From the beginning of this day in UTC.
    from: Timestamp,
    /// To the end of this day in UTC, exclusive.
    to: Timestamp,
    /// By day, model and purpose; newest day first.
    items: Vec<UsageItem>,
}

/// What the calls of one day, one model and one purpose used.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageItem {
    /// The day in UTC.
    day: Timestamp,
    /// The provider's name of the model that answered.
    model: String,
    /// `step`, `compaction`, `title`, `label` or `advisor`.
    purpose: &'static str,
    /// Calls.
    calls: i64,
    /// Calls whose counts the provider did not send, or sent wrong: they are in no sum.
    unknown_calls: i64,
    /// Input tokens that were neither read from nor written to a cache.
    input_tokens: i64,
    /// Input tokens read from a cache.
    cache_read_tokens: i64,
    /// Input tokens written to a cache.
    cache_write_tokens: i64,
    /// Output tokens, reasoning included.
    output_tokens: i64,
    /// Reasoning tokens among the output.
    reasoning_tokens: i64,
    /// Millionths of the price's currency; of the calls whose cost is known.
    cost_micros: i64,
    /// Calls whose cost is known.
    priced_calls: i64,
}

impl From<UsageSum> for UsageItem {
    fn from(sum: UsageSum) -> Self {
        Self {
            day: Timestamp(sum.day.saturating_mul(DAY_MS)),
            model: sum.model,
            purpose: sum.purpose.as_str(),
            calls: sum.calls,
            unknown_calls: sum.unknown_calls,
            input_tokens: sum.input,
            cache_read_tokens: sum.cache_read,
            cache_write_tokens: sum.cache_write,
            output_tokens: sum.output,
            reasoning_tokens: sum.reasoning,
            cost_micros: sum.cost_micros,
            priced_calls: sum.priced_calls,
        }
    }
}

/// What your model calls used in the last `days` days, today included.
#[utoipa::path(get, path = "/usage", tag = "usage",
    params(("days" = Option<i64>, Query, description = "1 to 366; 30 by default")),
    responses((status = 200, body = UsageReport)))]
pub async fn usage(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<UsageReport>, Problem> {
    let days = query.parse::<i64>("days", "a number of days")?.unwrap_or(30);
    query.finish()?;
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Problem::new(Code::InvalidQuery, format!("days is 1 to {DAYS_MAX}")));
    }
    let to_ms = (app.clock.now_ms().div_euclid(DAY_MS) + 1) * DAY_MS;
    let from_ms = to_ms - days * DAY_MS;
    let sums = app.store.usage.sums(caller.user_id, (from_ms, to_ms), ROWS_MAX).await?;
    Ok(Json(UsageReport {
        from: Timestamp(from_ms),
        to: Timestamp(to_ms),
        items: sums.into_iter().map(UsageItem::from).collect(),
    }))
}
