//! `GET /api/v1/chats/{id}/stream` (WebSocket) and `GET /api/v1/chats/{id}/events` (SSE).

use async_trait::async_trait;
use axum::extract::ws::WebSocket;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use shared::ids::ChatId;

use super::access::Access;
use super::seats::Seat;
use super::source::{Source, SourceEnd};
use super::{socket, sse, upgrade};
use crate::app::App;
use crate::chat::event::{Cursor, Envelope, InvalidCursor};
use crate::chat::stream::{StreamEnd, Subscription, Window};
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};

/// Most messages of a window.
const TAIL_MAX: u32 = 1_000;

/// Follows a chat over a WebSocket: text frames with arrays of events.
///
/// First what is (messages, queue, status, error, actions, retry, preview), then `ready`, then what comes. With
/// the `cursor` of the last event one goes on exactly after it; a cursor that cannot be resumed is
/// answered with `resync` and everything anew. With `tail` the first messages are the newest ones; those before
/// them are at `GET …/messages?before=`, and changes of them are not told.
#[utoipa::path(get, path = "/chats/{id}/stream", tag = "streams",
    params(("id" = String, Path,), ("cursor" = Option<String>, Query, description = "Go on after this event"),
        ("tail" = Option<u32>, Query, description = "Begin with so many of the newest messages, 1 to 1,000; none: all"),
        ("from" = Option<i64>, Query, description = "With a cursor: the seq of the first message that is known")),
    responses((status = 101, description = "WebSocket", body = Vec<Envelope>)))]
pub async fn chat_stream(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let cursor = query.text("cursor")?;
    let window = window(&mut query)?;
    query.finish()?;
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade::upgrade(&mut parts).await?;
    let seat = app.http.streams.take(caller.user_id)?;
    let access = app.http.accesses.watch(&caller);
    let source = subscribe(&app, &caller, id, cursor, window).await?;
    Ok(upgrade.on_upgrade(move |websocket| async move {
        let lifecycle = app.lifecycle.clone();
        lifecycle.spawn_serving("chat stream", serve(app, websocket, source, (seat, access)));
    }))
}

async fn serve(app: App, websocket: WebSocket, source: impl Source, held: (Seat, Access)) {
    let (seat, access) = held;
    socket::serve(app, websocket, source, access).await;
    drop(seat);
}

/// Follows a chat as server-sent events: `id` is the cursor, `event` the type, `data` the event.
///
/// The same events as the WebSocket's; `Last-Event-ID` or `cursor` goes on after one.
#[utoipa::path(get, path = "/chats/{id}/events", tag = "streams",
    params(("id" = String, Path,), ("cursor" = Option<String>, Query, description = "Go on after this event"),
        ("tail" = Option<u32>, Query, description = "Begin with so many of the newest messages, 1 to 1,000; none: all"),
        ("from" = Option<i64>, Query, description = "With a cursor: the seq of the first message that is known"),
        ("Last-Event-ID" = Option<String>, Header,)),
    responses((status = 200, body = Envelope, content_type = "text/event-stream")))]
pub async fn chat_events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let cursor = query.text("cursor")?;
    let window = window(&mut query)?;
    query.finish()?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("").to_owned());
    let seat = app.http.streams.take(caller.user_id)?;
    let access = app.http.accesses.watch(&caller);
    let source = subscribe(&app, &caller, id, last.or(cursor), window).await?;
    Ok(sse::answer(source, seat, access, app.lifecycle.soft()))
}

/// `tail` and `from`: a viewer that pages through the messages before its window by itself.
fn window(query: &mut Query) -> Result<Window, Problem> {
    let expected = format!("a number from 1 to {TAIL_MAX}");
    let newest = query.parse::<u32>("tail", &expected)?;
    if newest.is_some_and(|tail| !(1..=TAIL_MAX).contains(&tail)) {
        let detail = format!("the parameter tail takes {expected}");
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    Ok(Window { newest, from: query.parse("from", "the seq of a message")? })
}

async fn subscribe(
    app: &App,
    caller: &Caller,
    id: ChatId,
    cursor: Option<String>,
    window: Window,
) -> Result<ChatSource, Problem> {
    let cursor: Option<Result<Cursor, InvalidCursor>> =
        cursor.filter(|text| !text.is_empty()).map(|text| text.parse());
    Ok(ChatSource(app.chats.subscribe_to(caller.user_id, id, cursor, window).await?))
}

struct ChatSource(Subscription);

#[async_trait]
impl Source for ChatSource {
    async fn next(&mut self) -> Result<Vec<Value>, SourceEnd> {
        match self.0.next().await {
            Ok(events) => Ok(events.iter().filter_map(|e| serde_json::to_value(e).ok()).collect()),
            Err(StreamEnd::NotFound) => Err(SourceEnd::NotFound),
            Err(StreamEnd::Unavailable(_)) => Err(SourceEnd::Unavailable),
        }
    }

    async fn overrun(&self) {
        let mut lag = self.0.lag();
        lag.exceeded().await;
    }
}
