//! Spans of turns: what was done when, for how long, and with which tokens.
//!
//! They are written beside the turn, in batches, and no chat depends on them. A span is written
//! whole, again and again, under a key that follows from what it describes, so that a write may be
//! repeated and a runner that takes a chat over goes on with the spans of the former one.

use serde_json::Value;
use shared::ids::ChatId;

use super::Base;
use super::db::{in_write_tx, on_pool};
use super::error::StoreError;
use super::row::{Columns, Reader};
use super::text::{clean, json};
use crate::text_enum::text_enum;

text_enum! {
    /// What a span describes.
    SpanKind {
        /// From a user's message to rest.
        Turn = "turn",
        /// One model call with its tools.
        Step = "step",
        /// One try at a model call.
        Attempt = "attempt",
        /// One tool call.
        Tool = "tool",
        /// The history was made shorter.
        Compaction = "compaction",
        /// A model call inside a tool call.
        Advisor = "advisor",
        /// A model wrote a title or a label.
        Naming = "naming",
    }
}

text_enum! {
    /// How a span ended.
    SpanStatus {
        /// Not yet.
        Running = "running",
        /// Well.
        Ok = "ok",
        /// With an error.
        Error = "error",
        /// Somebody stopped it.
        Interrupted = "interrupted",
        /// Its replica went away before it ended.
        Lost = "lost",
    }
}

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRow {
    /// Its chat.
    pub chat_id: ChatId,
    /// Unique in the chat; follows from what it describes.
    pub key: String,
    /// The span it belongs to.
    pub parent: Option<String>,
    /// What it describes.
    pub kind: SpanKind,
    /// For people, as OpenTelemetry names it: `chat {model}`, `execute_tool {tool}`.
    pub name: String,
    /// How it ended.
    pub status: SpanStatus,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Unix milliseconds; none: not yet.
    pub ended_at_ms: Option<i64>,
    /// By OpenTelemetry's names and our own.
    pub attributes: Value,
}

/// What is written in one batch, in order.
#[derive(Clone, Debug)]
pub enum TraceWrite {
    /// A span as it is now.
    Span(Box<SpanRow>),
    /// A runner begins with a chat: what a former one left open is lost.
    TakenOver {
        /// Which.
        chat: ChatId,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// What stands before the messages in a prompt, by its hash.
    Head {
        /// Its hash.
        hash: String,
        /// JSON.
        body: String,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// A turn is over: only the newest spans of the chat are kept.
    Trim {
        /// Which chat.
        chat: ChatId,
        /// How many.
        keep: i64,
    },
}

/// The traces. Cheap to clone.
#[derive(Clone)]
pub struct TraceStore {
    base: Base,
}

/// Spans that a chat keeps.
pub const SPANS_PER_CHAT: i64 = 20_000;

const UPSERT: &str = "INSERT INTO spans (chat_id, span_key, parent_key, kind, name, status, \
     started_at_ms, ended_at_ms, attributes) \
     SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM chats WHERE id = $1 \
     ON CONFLICT (chat_id, span_key) DO UPDATE SET parent_key = excluded.parent_key, \
     name = excluded.name, status = excluded.status, started_at_ms = excluded.started_at_ms, \
     ended_at_ms = excluded.ended_at_ms, attributes = excluded.attributes";
const LOST: &str = "UPDATE spans SET status = 'lost', ended_at_ms = $2 \
     WHERE chat_id = $1 AND ended_at_ms IS NULL";
const HEAD: &str = "INSERT INTO prompt_heads (hash, body, last_used_at_ms) VALUES ($1, $2, $3) \
     ON CONFLICT (hash) DO UPDATE SET last_used_at_ms = excluded.last_used_at_ms";
const TRIM: &str = "DELETE FROM spans WHERE chat_id = $1 AND started_at_ms < \
     (SELECT MIN(newest.started_at_ms) FROM (SELECT started_at_ms FROM spans \
     WHERE chat_id = $1 ORDER BY started_at_ms DESC, span_key DESC LIMIT $2) AS newest)";
const PAGE: &str = "SELECT chat_id, span_key, parent_key, kind, name, status, started_at_ms, \
     ended_at_ms, attributes FROM spans WHERE chat_id = $1 \
     AND (started_at_ms, span_key) < ($2, $3) \
     ORDER BY started_at_ms DESC, span_key DESC LIMIT $4";
const ONE: &str = "SELECT chat_id, span_key, parent_key, kind, name, status, started_at_ms, \
     ended_at_ms, attributes FROM spans WHERE chat_id = $1 AND span_key = $2";
const HEAD_OF: &str = "SELECT body FROM prompt_heads WHERE hash = $1";
const DELETE_OLD: &str = "DELETE FROM spans WHERE started_at_ms < $1";
const DELETE_OLD_HEADS: &str = "DELETE FROM prompt_heads WHERE last_used_at_ms < $1";

pub(super) const STATEMENTS: &[&str] =
    &[UPSERT, LOST, HEAD, TRIM, PAGE, ONE, HEAD_OF, DELETE_OLD, DELETE_OLD_HEADS];

impl TraceStore {
    pub(super) const fn new(base: Base) -> Self {
        Self { base }
    }

    /// Writes a batch in one transaction. Idempotent. Spans of a chat that is gone are dropped.
    pub async fn write(&self, batch: &[TraceWrite]) -> Result<(), StoreError> {
        in_write_tx!(&self.base.db, |tx| {
            for write in batch {
                on_pool!(tx.conn(), |conn| match write {
                    TraceWrite::Span(span) => {
                        sqlx::query(UPSERT)
                            .bind(span.chat_id.to_string())
                            .bind(&span.key)
                            .bind(span.parent.as_deref())
                            .bind(span.kind.as_str())
                            .bind(clean(&span.name))
                            .bind(span.status.as_str())
                            .bind(span.started_at_ms)
                            .bind(span.ended_at_ms)
                            .bind(json(&span.attributes))
                            .execute(conn)
                            .await?;
                    }
                    TraceWrite::TakenOver { chat, at_ms } => {
                        sqlx::query(LOST).bind(chat.to_string()).bind(*at_ms).execute(conn).await?;
                    }
                    TraceWrite::Head { hash, body, at_ms } => {
                        sqlx::query(HEAD)
                            .bind(hash)
                            .bind(clean(body))
                            .bind(*at_ms)
                            .execute(conn)
                            .await?;
                    }
                    TraceWrite::Trim { chat, keep } => {
                        sqlx::query(TRIM).bind(chat.to_string()).bind(*keep).execute(conn).await?;
                    }
                });
            }
        })
    }

    /// The newest spans of a chat before a place (start and key), newest first, at most `limit`.
    pub async fn page(
        &self,
        chat: ChatId,
        before: Option<(i64, String)>,
        limit: u32,
    ) -> Result<Vec<SpanRow>, StoreError> {
        let (at_ms, key) = before.unwrap_or((i64::MAX, String::new()));
        on_pool!(self.base.db.reader(), |pool| {
            let rows = sqlx::query(PAGE)
                .bind(chat.to_string())
                .bind(at_ms)
                .bind(key)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?;
            rows.iter().map(read).collect()
        })
    }

    /// One span.
    pub async fn span(&self, chat: ChatId, key: &str) -> Result<Option<SpanRow>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let query = sqlx::query(ONE).bind(chat.to_string()).bind(key);
            query.fetch_optional(pool).await?.as_ref().map(read).transpose()
        })
    }

    /// What stood before the messages in a prompt.
    pub async fn head(&self, hash: &str) -> Result<Option<String>, StoreError> {
        on_pool!(self.base.db.reader(), |pool| {
            let row = sqlx::query(HEAD_OF).bind(hash).fetch_optional(pool).await?;
            row.map(|row| Reader::of(&row, "prompt_heads", "body").text("body")).transpose()
        })
    }

    /// Forgets what began before `before_ms`; how many spans.
    pub async fn delete_old(&self, before_ms: i64) -> Result<u64, StoreError> {
        on_pool!(self.base.db.writer(), |pool| {
            let spans = sqlx::query(DELETE_OLD).bind(before_ms).execute(pool).await?;
            sqlx::query(DELETE_OLD_HEADS).bind(before_ms).execute(pool).await?;
            Ok(spans.rows_affected())
        })
    }
}

fn read<R: Columns>(row: &R) -> Result<SpanRow, StoreError> {
    let row = Reader::of(row, "spans", "span_key");
    Ok(SpanRow {
        chat_id: row.parsed("chat_id")?,
        key: row.text("span_key")?,
        parent: row.text_or_null("parent_key")?,
        kind: row.parsed("kind")?,
        name: row.text("name")?,
        status: row.parsed("status")?,
        started_at_ms: row.int("started_at_ms")?,
        ended_at_ms: row.int_or_null("ended_at_ms")?,
        attributes: row.json("attributes")?,
    })
}
