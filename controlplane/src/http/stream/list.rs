//! `GET /api/v1/events`: everything that the lists show, over WebSocket or as server-sent events.

use std::collections::VecDeque;

use async_trait::async_trait;
use axum::extract::ws::WebSocket;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use shared::ids::{ChatId, WorkspaceId};
use utoipa::ToSchema;

use super::access::Access;
use super::seats::Seat;
use super::source::{Source, SourceEnd};
use super::{socket, sse, upgrade};
use crate::app::App;
use crate::chat::event::ChatHead;
use crate::chat::list::{ListChange, ListSubscription};
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::workspaces::WorkspaceView;

/// Something that a list shows.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ListEvent {
    /// A chat as it is now.
    Chat {
        /// The chat.
        chat: Box<ChatHead>,
    },
    /// A chat that is gone, or no longer the caller's.
    ChatRemoved {
        /// Which.
        #[schema(value_type = String)]
        id: ChatId,
    },
    /// A workspace as it is now.
    Workspace {
        /// The workspace.
        workspace: Box<WorkspaceView>,
    },
    /// A workspace that is gone.
    WorkspaceRemoved {
        /// Which.
        #[schema(value_type = String)]
        id: WorkspaceId,
    },
    /// Subscribed: read the lists now; changes from here on are told.
    Ready,
    /// Keep-alive.
    Ping,
    /// Too much changed at once: read the lists again.
    Resync {
        /// `slow_consumer`.
        reason: &'static str,
    },
}

/// Follows what the lists show: chats and workspaces. Begins with `ready`: read the lists then.
///
/// With a WebSocket upgrade: text frames with arrays of events. Without: server-sent events.
#[utoipa::path(get, path = "/events", tag = "streams",
    responses((status = 200, body = ListEvent, content_type = "text/event-stream"),
        (status = 101, description = "WebSocket", body = Vec<ListEvent>)))]
pub async fn list_events(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
    request: Request,
) -> Result<Response, Problem> {
    // Accepted for clients that pass it everywhere; a list has no past to go on from.
    query.text("cursor")?;
    query.finish()?;
    let seat = app.http.streams.take(caller.user_id)?;
    let access = app.http.accesses.watch(&caller);
    let source = ListSource::new(app.clone(), app.lists.subscribe(caller.user_id));
    if !upgrade::is_upgrade(request.headers()) {
        return Ok(sse::answer(source, seat, access, app.lifecycle.soft()));
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade::upgrade(&mut parts).await?;
    Ok(upgrade.on_upgrade(move |websocket| async move {
        let lifecycle = app.lifecycle.clone();
        lifecycle.spawn_serving("list stream", serve(app, websocket, source, (seat, access)));
    }))
}

async fn serve(app: App, websocket: WebSocket, source: impl Source, held: (Seat, Access)) {
    let (seat, access) = held;
    socket::serve(app, websocket, source, access).await;
    drop(seat);
}

struct ListSource {
    app: App,
    changes: ListSubscription,
    /// Taken from the subscription and not yet told, so that a dropped `next` loses nothing.
    untold: VecDeque<ListChange>,
    told: Vec<Value>,
}

impl ListSource {
    fn new(app: App, changes: ListSubscription) -> Self {
        Self { app, changes, untold: VecDeque::new(), told: Vec::new() }
    }

    async fn event(&self, change: ListChange) -> Result<ListEvent, SourceEnd> {
        Ok(match change {
            ListChange::Ready => ListEvent::Ready,
            ListChange::Ping => ListEvent::Ping,
            ListChange::Resync => ListEvent::Resync { reason: "slow_consumer" },
            ListChange::Chat(chat) => ListEvent::Chat { chat },
            ListChange::ChatRemoved(id) => ListEvent::ChatRemoved { id },
            ListChange::Workspace(id) => {
                let row = self.app.store.workspaces.workspace(id).await;
                match row.map_err(|_| SourceEnd::Unavailable)? {
                    Some(row) => {
                        let presence = self.app.fleet.presence(id);
                        let workspace = Box::new(WorkspaceView::new(row, &presence));
                        ListEvent::Workspace { workspace }
                    }
                    None => ListEvent::WorkspaceRemoved { id },
                }
            }
        })
    }
}

#[async_trait]
impl Source for ListSource {
    async fn next(&mut self) -> Result<Vec<Value>, SourceEnd> {
        if self.untold.is_empty() && self.told.is_empty() {
            let changes = self.changes.next().await.map_err(|_| SourceEnd::Unavailable)?;
            self.untold.extend(changes);
        }
        while let Some(change) = self.untold.front() {
            let event = self.event(change.clone()).await?;
            self.untold.pop_front();
            self.told.extend(serde_json::to_value(event).ok());
        }
        Ok(std::mem::take(&mut self.told))
    }

    /// What waits for a viewer of lists is bounded by the hub.
    async fn overrun(&self) {
        std::future::pending::<()>().await;
    }
}
