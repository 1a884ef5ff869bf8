//! `GET /api/v1/workspaces/{id}/processes/{process}/output/follow`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use shared::ids::{ProcessId, WorkspaceId};
use shared::protocol::process::FollowOutput;
use tokio_util::sync::CancellationToken;

use super::view::ProcessView;
use crate::app::App;
use crate::fleet::{CallError, FollowEvent, FollowStream, WorkspaceLink};
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::stream::Access;
use crate::http::workspaces::link;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follows the output as it is written, as server-sent events.
///
/// `chunk` `{offset, stream, data}` (base64), `dropped` `{from, to}`, and at last `end` `{process}`. Each event's
/// id is the next offset; a client that comes back with `Last-Event-ID` misses and repeats nothing. A
/// lost link is waited for; `waiting` says so.
#[utoipa::path(get, path = "/workspaces/{id}/processes/{process}/output/follow", tag = "processes",
    params(("id" = String, Path,), ("process" = String, Path,),
        ("offset" = Option<u64>, Query, description = "The first byte; 0 by default")),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn follow_process(
    State(app): State<App>,
    caller: Caller,
    Path((id, process_id)): Path<(WorkspaceId, ProcessId)>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let asked = query.parse::<u64>("offset", "a number of bytes")?;
    query.finish()?;
    let offset = last.and_then(|text| text.parse().ok()).or(asked).unwrap_or(0);
    let link = link(&app, id).await?;
    let (_, stream) = link.follow(&FollowOutput { process_id, offset }).await?;
    let (access, soft) = (app.http.accesses.watch(&caller), app.lifecycle.soft());
    let tail = Tail { link, process_id, stream: Some(stream), offset };
    let follower = Follower { tail, access, soft };
    let events = unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        let (event, ended) = follower.next().await?;
        Some((Ok(event), (!ended).then_some(follower)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Follower {
    tail: Tail,
    access: Access,
    soft: CancellationToken,
}

/// The output from an offset on, over as many links as it takes.
struct Tail {
    link: WorkspaceLink,
    process_id: ProcessId,
    stream: Option<FollowStream>,
    offset: u64,
}

impl Follower {
    /// The next event, and whether it is the last one. None: the server is ending, or the
    /// credential has.
    async fn next(&mut self) -> Option<(Event, bool)> {
        let Self { tail, access, soft } = self;
        tokio::select! {
            () = soft.cancelled() => None,
            _ = access.ended() => None,
            event = tail.next() => event,
        }
    }
}

impl Tail {
    async fn next(&mut self) -> Option<(Event, bool)> {
        let Some(stream) = &mut self.stream else { return Some(self.resume().await) };
        let event = match stream.next().await {
            Ok(Some(FollowEvent::Chunk { offset, stream, bytes })) => {
                self.offset = offset + bytes.len() as u64;
                let data =
                    json!({"offset": offset, "stream": stream, "data": STANDARD.encode(&bytes)});
                (self.event("chunk", &data), false)
            }
            Ok(Some(FollowEvent::Dropped { from, to })) => {
                self.offset = to;
                (self.event("dropped", &json!({"from": from, "to": to})), false)
            }
            Ok(Some(FollowEvent::End { process })) => {
                let process = ProcessView::from(process);
                (self.event("end", &json!({"process": process})), true)
            }
            Ok(None) => return None,
            Err(error) => self.interrupted(&error),
        };
        Some(event)
    }

    fn interrupted(&mut self, error: &CallError) -> (Event, bool) {
        self.stream = None;
        match error {
            CallError::Refused(wire) | CallError::Failed(wire) => {
                let data = json!({"code": wire.code, "message": wire.message});
                (self.event("error", &data), true)
            }
            _ => (self.event("waiting", &json!({"reason": "link_lost"})), false),
        }
    }

    async fn resume(&mut self) -> (Event, bool) {
        self.link.connected().await;
        let request = FollowOutput { process_id: self.process_id, offset: self.offset };
        match self.link.follow(&request).await {
            Ok((following, stream)) => {
                self.stream = Some(stream);
                let process = ProcessView::from(following.process);
                (self.event("resumed", &json!({"process": process})), false)
            }
            Err(error) => self.interrupted(&error),
        }
    }

    fn event(&self, name: &str, data: &serde_json::Value) -> Event {
        Event::default().id(self.offset.to_string()).event(name).data(data.to_string())
    }
}
