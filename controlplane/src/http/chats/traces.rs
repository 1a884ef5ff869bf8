//! `GET /api/v1/chats/{id}/traces`, and what an attempt sent.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use shared::ids::ChatId;
use utoipa::ToSchema;

use crate::app::App;
use crate::chat::trace::{Sent, rebuild};
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::page::Page;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::store::{SpanRow, SpanStatus};
use crate::time::Timestamp;

/// One span of a turn, step, attempt, tool or compaction.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpanView {
    /// Unique in the chat.
    id: String,
    /// The span it belongs to: a turn has steps and compactions, these have attempts and tools.
    parent_id: Option<String>,
    /// `turn`, `step`, `attempt`, `tool`, `compaction`, `advisor` or `naming`.
    kind: &'static str,
    /// As OpenTelemetry names it: `invoke_agent`, `chat {model}`, `execute_tool {tool}`.
    name: String,
    /// `running`, `ok`, `error`, `interrupted` or `lost`.
    status: &'static str,
    /// When it began.
    started_at: Timestamp,
    /// When it ended; none: it runs.
    ended_at: Option<Timestamp>,
    /// From begin to end; none: it runs.
    duration_ms: Option<i64>,
    /// By OpenTelemetry's names (`gen_ai.…`) and our own (`holdfast.…`).
    #[schema(value_type = Object)]
    attributes: Value,
}

impl From<SpanRow> for SpanView {
    fn from(row: SpanRow) -> Self {
        let SpanRow {
            key, parent, kind, name, status, started_at_ms, ended_at_ms, attributes, ..
        } = row;
        Self {
            id: key,
            parent_id: parent,
            kind: kind.as_str(),
            name,
            status: status.as_str(),
            started_at: Timestamp(started_at_ms),
            ended_at: ended_at_ms.map(Timestamp),
            duration_ms: ended_at_ms.map(|end| end.saturating_sub(started_at_ms).max(0)),
            attributes: if attributes.is_null() {
                Value::Object(Default::default())
            } else {
                attributes
            },
        }
    }
}

/// What a chat's turns did: the newest spans, in the order of their begin, those that run included.
///
/// Spans are written within a second, and kept for 30 days and up to 20,000 a chat.
/// `next_cursor` goes on with older ones.
#[utoipa::path(get, path = "/chats/{id}/traces", tag = "chats",
    params(("id" = String, Path,), ("cursor" = Option<String>, Query, description = "Spans before a page"),
        ("limit" = Option<u32>, Query, description = "1 to 2,000; 500 by default")),
    responses((status = 200, body = Page<SpanView>)))]
pub async fn list_traces(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    mut query: Query,
) -> Result<Json<Page<SpanView>>, Problem> {
    let cursor = query.text("cursor")?;
    let limit = query.limit(500, 2_000)?;
    query.finish()?;
    let before = cursor.as_deref().map(place).transpose()?;
    app.chats.head(caller.user_id, id).await?;
    let is_newest = before.is_none();
    let mut rows = app.store.traces.page(id, before, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor =
        rows.last().filter(|_| more).map(|row| format!("{}:{}", row.started_at_ms, row.key));
    let mut spans: BTreeMap<(i64, String), SpanRow> = BTreeMap::new();
    let live = if is_newest { app.recorder.live(id) } else { Vec::new() };
    let newer: Vec<String> = live.iter().map(|span| span.key.clone()).collect();
    rows.retain(|row| !newer.contains(&row.key));
    for row in rows.into_iter().chain(live) {
        spans.insert((row.started_at_ms, row.key.clone()), row);
    }
    Ok(Json(Page { items: spans.into_values().map(SpanView::from).collect(), next_cursor }))
}

fn place(text: &str) -> Result<(i64, String), Problem> {
    let invalid = || Problem::new(Code::InvalidCursor, "pass back the `next_cursor` of a page");
    let (at_ms, key) = text.split_once(':').ok_or_else(invalid)?;
    let at_ms = at_ms.parse().map_err(|_| invalid())?;
    if key.is_empty() || key.len() > 64 {
        return Err(invalid());
    }
    Ok((at_ms, key.to_owned()))
}

/// What an attempt sent to its provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct SentView {
    /// Whether this is what was sent, byte for byte but for what is taken out. If not, another
    /// branch of the history is shown now, or another version of this program made the prompt.
    exact: bool,
    /// The body of the request. What looks like a key is replaced by `[key]`.
    #[schema(value_type = Object)]
    body: Value,
}

/// What an attempt (a span of the kind `attempt`) sent to its provider, made again from what is
/// stored and compared with the digest of what was sent.
///
/// 404: there is no such span, it is no attempt, or what it sent is forgotten.
#[utoipa::path(get, path = "/chats/{id}/traces/{span}/request", tag = "chats",
    params(("id" = String, Path,), ("span" = String, Path,)),
    responses((status = 200, body = SentView)))]
pub async fn sent_request(
    State(app): State<App>,
    caller: Caller,
    Path((id, span)): Path<(ChatId, String)>,
) -> Result<Json<SentView>, Problem> {
    app.chats.head(caller.user_id, id).await?;
    let live = app.recorder.live(id).into_iter().find(|row| row.key == span);
    let row = match live {
        Some(row) => Some(row),
        None => app.store.traces.span(id, &span).await?,
    };
    let sent = row
        .filter(|row| row.status != SpanStatus::Lost || row.attributes.is_object())
        .and_then(|row| {
            serde_json::from_value::<Sent>(row.attributes["holdfast.prompt"].clone()).ok()
        })
        .ok_or_else(Problem::not_found)?;
    let head = app.store.traces.head(&sent.head).await?.ok_or_else(Problem::not_found)?;
    let history = app.store.chats.history(id).await?;
    let request = rebuild(&sent, &head, &history, id.to_string()).ok_or_else(Problem::not_found)?;
    Ok(Json(SentView { exact: request.exact, body: request.body }))
}
