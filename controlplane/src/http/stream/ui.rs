//! `GET /api/v1/chats/{id}/ui-stream` and `POST /api/v1/chats/{id}/ui-messages`: a turn as the AI SDK's UI
//! message stream, for chat kits that speak it. `docs/design/022-ui-stream.md`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{iter, unfold};
use serde_json::Value;
use shared::ids::ChatId;
use utoipa::ToSchema;

use crate::app::App;
use crate::chat::content::Part;
use crate::chat::event::ChatStatus;
use crate::chat::machine::Busy;
use crate::chat::service::Say;
use crate::chat::ui::UiProjection;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{At, Fields, FromJson, Json};
use crate::http::problem::Problem;
use crate::http::query::Path;

/// Says which protocol the body speaks.
const PROTOCOL: HeaderName = HeaderName::from_static("x-vercel-ai-ui-message-stream");
const VERSION: HeaderValue = HeaderValue::from_static("v1");
/// The end of every stream that came to its end.
const DONE: &str = "[DONE]";
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Text of one message, all parts together.
const TEXT_MAX_BYTES: usize = 1024 * 1024;

/// What a chat kit sends: its messages, of which the last one is said.
#[derive(Clone, Debug, ToSchema)]
pub struct UiMessagesBody {
    /// The kit's name of the chat; not looked at.
    #[expect(dead_code, reason = "only in the schema")]
    id: Option<String>,
    /// UI messages; the last one is a user's.
    #[schema(value_type = Vec<Object>)]
    messages: Vec<Value>,
    /// `submit-message`; `regenerate-message` is refused.
    trigger: Option<String>,
    /// Of a message to make anew; not looked at.
    #[schema(rename = "messageId")]
    #[expect(dead_code, reason = "only in the schema")]
    message_id: Option<String>,
}

impl FromJson for UiMessagesBody {
    fn from_json(value: Value, at: &mut At) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let id = fields.take("id", at);
        let messages = fields.take("messages", at);
        let trigger = fields.take("trigger", at);
        let message_id = fields.take("messageId", at);
        fields.finish(at);
        Some(Self { id: id?, messages: messages?, trigger: trigger?, message_id: message_id? })
    }
}

/// The running turn as an AI SDK UI message stream.
///
/// Server-sent events whose `data` is a chunk each, from the turn's beginning, then `[DONE]`. 204: nothing runs.
#[utoipa::path(get, path = "/chats/{id}/ui-stream", tag = "streams", params(("id" = String, Path,)),
    responses((status = 200, body = Object, content_type = "text/event-stream"), (status = 204)))]
pub async fn ui_stream(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
) -> Result<Response, Problem> {
    let row = app.chats.head(caller.user_id, id).await?;
    if matches!(row.status, ChatStatus::Waiting | ChatStatus::Error) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    answer(&app, &caller, id).await
}

/// Says the last of the messages and answers with the turn, as an AI SDK UI message stream.
///
/// Of a message its text is taken. While a turn runs it waits in the queue.
#[utoipa::path(post, path = "/chats/{id}/ui-messages", tag = "streams", params(("id" = String, Path,)),
    request_body = UiMessagesBody,
    responses((status = 200, body = Object, content_type = "text/event-stream")))]
pub async fn ui_messages(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    Json(body): Json<UiMessagesBody>,
) -> Result<Response, Problem> {
    if body.trigger.as_deref().is_some_and(|trigger| trigger != "submit-message") {
        let detail = "one of these is due here: submit-message";
        return Err(Problem::of_field(Code::InvalidValue, "/trigger", detail));
    }
    let content = said(&body.messages)?;
    let say = Say { content, model_id: None, effort: None, busy: Busy::Queue, key: None };
    app.chats.send(caller.user_id, id, say).await?;
    answer(&app, &caller, id).await
}

/// The text of the last message, which is a user's.
fn said(messages: &[Value]) -> Result<Vec<Part>, Problem> {
    let at = format!("/messages/{}", messages.len().saturating_sub(1));
    let invalid = |detail: &str| Problem::of_field(Code::InvalidValue, &at, detail.to_owned());
    let last = messages.last().ok_or_else(|| invalid("one message at least"))?;
    if last["role"] != "user" {
        return Err(invalid("the last message is a user's"));
    }
    let parts = last["parts"].as_array().ok_or_else(|| invalid("it has `parts`"))?;
    let mut content = Vec::new();
    let mut bytes = 0;
    for part in parts {
        if part["type"] != "text" {
            return Err(invalid("only parts of the type `text` can be said"));
        }
        let text = part["text"].as_str().ok_or_else(|| invalid("a part of text has `text`"))?;
        bytes += text.len();
        if !text.trim().is_empty() {
            content.push(Part::Text { text: text.to_owned() });
        }
    }
    if bytes > TEXT_MAX_BYTES {
        let detail = format!("the message has {bytes} bytes; the limit is {TEXT_MAX_BYTES}");
        return Err(Problem::new(Code::MessageTooLong, detail).with("limit", TEXT_MAX_BYTES));
    }
    if content.is_empty() {
        return Err(Problem::new(Code::EmptyMessage, "the message has no text"));
    }
    Ok(content)
}

async fn answer(app: &App, caller: &Caller, id: ChatId) -> Result<Response, Problem> {
    let seat = app.http.streams.take(caller.user_id)?;
    let access = app.http.accesses.watch(caller);
    let subscription = app.chats.subscribe(caller.user_id, id, None).await?;
    let state = (subscription, UiProjection::new(), seat, access, app.lifecycle.soft());
    let batches = unfold(Some(state), |state| async move {
        let (mut events, mut ui, seat, mut access, soft) = state?;
        let batch = tokio::select! {
            () = soft.cancelled() => return None,
            _ = access.ended() => return None,
            batch = events.next() => batch.ok()?,
        };
        let mut chunks: Vec<String> = batch
            .iter()
            .flat_map(|it| ui.apply(&it.event))
            .map(|chunk| chunk.to_string())
            .collect();
        if ui.is_over() {
            chunks.push(DONE.to_owned());
            return Some((chunks, None));
        }
        Some((chunks, Some((events, ui, seat, access, soft))))
    });
    let frames = batches.flat_map(iter);
    let frames = frames.map(|chunk| Ok::<_, Infallible>(Event::default().data(chunk)));
    let stream = Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([(PROTOCOL, VERSION)], stream).into_response())
}
