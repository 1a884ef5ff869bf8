//! What model calls used: one entry per call, written in the transaction that keeps its answer, and
//! never forgotten with the traces. Unknown counts stay unknown: they are never billed as zero.

use shared::ids::{ChatId, UserId};

use super::Base;
use super::db::{Tx, on_pool};
use super::error::StoreError;
use super::row::Reader;
use super::text::clean;
use crate::chat::content::Usage;
use crate::text_enum::text_enum;

text_enum! {
    /// What a model was called for.
    UsagePurpose {
        /// A step of a turn.
        Step = "step",
        /// The summary of a history.
        Compaction = "compaction",
        /// A chat's title.
        Title = "title",
        /// A turn's label.
        Label = "label",
        /// A second opinion.
        Advisor = "advisor",
    }
}

/// What one model call used.
#[derive(Clone, Debug)]
pub struct UsageEntry<'a> {
    /// The message that it became, or an id of its own; an entry is kept once.
    pub id: String,
    /// Who is billed.
    pub owner: UserId,
    /// For which chat.
    pub chat: ChatId,
    /// For what.
    pub purpose: UsagePurpose,
    /// The provider's name of the model.
    pub model: &'a str,
    /// The counts.
    pub usage: &'a Usage,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// What calls used together: of one day, one model and one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// Days since 1970 in UTC.
    pub day: i64,
    /// The provider's name of the model.
    pub model: String,
    /// For what.
    pub purpose: UsagePurpose,
    /// Calls.
    pub calls: i64,
    /// Calls whose counts are unknown; they are in none of the sums.
    pub unknown_calls: i64,
    /// Tokens.
    pub input: i64,
    /// Tokens.
    pub cache_read: i64,
    /// Tokens.
    pub cache_write: i64,
    /// Tokens, reasoning included.
    pub output: i64,
    /// Tokens.
    pub reasoning: i64,
    /// Millionths of the price's currency, of the calls whose cost is known.
    pub cost_micros: i64,
    /// Calls whose cost is known.
    pub priced_calls: i64,
}

/// The entries. Cheap to clone.
#[derive(Clone)]
pub struct UsageStore {
    base: Base,
}

const INSERT: &str = "INSERT INTO usage_entries (id, owner_id, chat_id, purpose, model, is_known, \
     input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, \
     cost_micros, at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
     ON CONFLICT (id) DO NOTHING";
const SUMS: &str = "SELECT at_ms / 86400000 AS day, model, purpose, COUNT(*) AS calls, \
     CAST(SUM(CASE WHEN is_known THEN 0 ELSE 1 END) AS BIGINT) AS unknown_calls, \
     CAST(SUM(input_tokens) AS BIGINT) AS input, \
     CAST(SUM(cache_read_tokens) AS BIGINT) AS cache_read, \
     CAST(SUM(cache_write_tokens) AS BIGINT) AS cache_write, \
     CAST(SUM(output_tokens) AS BIGINT) AS output, \
     CAST(SUM(reasoning_tokens) AS BIGINT) AS reasoning, \
     CAST(COALESCE(SUM(cost_micros), 0) AS BIGINT) AS cost_micros, \
     COUNT(cost_micros) AS priced_calls FROM usage_entries \
     WHERE owner_id = $1 AND at_ms >= $2 AND at_ms < $3 \
     GROUP BY at_ms / 86400000, model, purpose ORDER BY day DESC, model, purpose LIMIT $4";

pub(super) const STATEMENTS: &[&str] = &[INSERT, SUMS];

/// Writes an entry within a transaction of the caller's.
pub(super) async fn enter(tx: &mut Tx, entry: &UsageEntry<'_>) -> Result<(), StoreError> {
    let usage = entry.usage;
    let known = usage.is_known();
    let count = |tokens: u64| if known { i64::try_from(tokens).unwrap_or(i64::MAX) } else { 0 };
    on_pool!(tx.conn(), |conn| {
        sqlx::query(INSERT)
            .bind(&entry.id)
            .bind(entry.owner.to_string())
            .bind(entry.chat.to_string())
            .bind(entry.purpose.as_str())
            .bind(clean(entry.model))
            .bind(known)
            .bind(count(usage.input))
            .bind(count(usage.cache_read))
            .bind(count(usage.cache_write))
            .bind(count(usage.output))
            .bind(count(usage.reasoning))
            .bind(usage.cost_micros.filter(|_| known).and_then(|cost| i64::try_from(cost).ok()))
            .bind(entry.at_ms)
            .execute(conn)
            .await?;
    });
    Ok(())
}

impl UsageStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Keeps what a call beside the turns used. Idempotent by the entry's id.
    pub async fn add(&self, entry: &UsageEntry<'_>) -> Result<(), StoreError> {
        let mut tx = Tx::begin_write(&self.base.db).await?;
        enter(&mut tx, entry).await?;
        tx.commit().await
    }

    /// What a person's calls used from one moment to another (exclusive), newest day first, at
    /// most `limit` sums.
    pub async fn sums(
        &self,
        owner: UserId,
        (from_ms, to_ms): (i64, i64),
        limit: u32,
    ) -> Result<Vec<UsageSum>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(SUMS)
                .bind(owner.to_string())
                .bind(from_ms)
                .bind(to_ms)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
            rows.iter()
                .map(|row| {
                    let row = Reader::of(row, "usage_entries", "model");
                    Ok(UsageSum {
                        day: row.int("day")?,
                        model: row.text("model")?,
                        purpose: row.parsed("purpose")?,
                        calls: row.int("calls")?,
                        unknown_calls: row.int("unknown_calls")?,
                        input: row.int("input")?,
                        cache_read: row.int("cache_read")?,
                        cache_write: row.int("cache_write")?,
                        output: row.int("output")?,
                        reasoning: row.int("reasoning")?,
                        cost_micros: row.int("cost_micros")?,
                        priced_calls: row.int("priced_calls")?,
                    })
                })
                .collect()
        })
    }
}
