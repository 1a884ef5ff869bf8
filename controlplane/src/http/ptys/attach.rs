//! `GET /api/v1/workspaces/{id}/ptys/{pty}/attach` (WebSocket).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use shared::ids::{CallId, PtyId, WorkspaceId};
use shared::limits::PTY_SCROLLBACK_LINES_MAX;
use shared::protocol::pty::{AttachFrom, AttachPty, PtySize, WriteWish};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::incoming::{Incoming, Voice};
use super::message::PtyTold;
use super::outgoing::Outgoing;
use super::session::{Feed, Viewer, attach};
use crate::app::App;
use crate::fleet::{PtyAttachment, WorkspaceLink};
use crate::http::auth::{Caller, Scope};
use crate::http::code::Code;
use crate::http::problem::Problem;
use crate::http::query::{Path, Query};
use crate::http::stream::ending::Ending;
use crate::http::stream::{Access, Seat, upgrade};
use crate::http::workspaces::link;

const SCROLLBACK_LINES: u32 = 1_000;
/// An input of 64 KiB of control characters, each escaped.
const MESSAGE_MAX_BYTES: usize = 512 * 1024;
const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=16 * 1024 * 1024;
/// How far a viewer may be behind before it is given a new screen instead.
const BEHIND_BYTES: u64 = 4 * 1024 * 1024;
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// The same for one that was too slow: what it has not read yet stands before the close frame.
const SLOW_PATIENCE: Duration = Duration::from_secs(60);
/// Answers that wait for the socket; a viewer that asks faster is heard slower.
const REPLIES: usize = 16;

/// Attaches a viewer: binary frames are bytes for the terminal, text frames are `PtyTold` one way
/// and `PtySaid` the other.
///
/// Begins with `attached` and the screen, or goes on at `offset`. The attachment outlives the link
/// to the workspace and the daemon: `waiting`, then `attached` again. One viewer writes; `write` says
/// whether this one wants to (`never`, `if_free`, `take`). With `window`, at most so many binary bytes
/// are sent ahead of `ack`.
#[utoipa::path(get, path = "/workspaces/{id}/ptys/{pty}/attach", tag = "ptys",
    params(("id" = String, Path,), ("pty" = String, Path,),
        ("viewer" = Option<String>, Query, description = "The viewer's name for itself, kept over reconnects: 1 to 64 of [A-Za-z0-9._-]"),
        ("offset" = Option<u64>, Query, description = "Go on here instead of beginning with a screen"),
        ("scrollback" = Option<u32>, Query, description = "Lines above the screen, 0 to 10,000; 1,000 by default"),
        ("write" = Option<String>, Query, description = "never (the default), if_free or take"),
        ("cols" = Option<i64>, Query,), ("rows" = Option<i64>, Query,),
        ("behind" = Option<u64>, Query, description = "Bytes it may be behind before it is skipped ahead; 4 MiB by default"),
        ("window" = Option<u64>, Query, description = "Unacknowledged binary bytes, 64 KiB to 16 MiB; none: no limit")),
    responses((status = 101, description = "WebSocket", body = PtyTold)))]
pub async fn attach_pty(
    State(app): State<App>,
    caller: Caller,
    Path((id, pty_id)): Path<(WorkspaceId, PtyId)>,
    query: Query,
    request: Request,
) -> Result<Response, Problem> {
    let (wish, window) = wish(&app, pty_id, query)?;
    let may_write = caller.require(Scope::Write).is_ok();
    if wish.write != WriteWish::Never {
        caller.require(Scope::Write)?;
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = upgrade::upgrade_up_to(&mut parts, MESSAGE_MAX_BYTES).await?;
    let seat = app.http.streams.take(caller.user_id)?;
    let access = app.http.accesses.watch(&caller);
    let link = link(&app, id).await?;
    let attachment = attach(&link, &wish).await?;
    Ok(upgrade.on_upgrade(move |websocket| async move {
        let lifecycle = app.lifecycle.clone();
        let socket = Attached { app, link, wish, window, may_write, access, _seat: seat };
        lifecycle.spawn_serving("pty viewer", socket.serve(websocket, attachment));
    }))
}

fn wish(app: &App, pty_id: PtyId, mut query: Query) -> Result<(AttachPty, Option<u64>), Problem> {
    let viewer = query.text("viewer")?;
    let offset = query.parse::<u64>("offset", "a number of bytes")?;
    let scrollback = query.parse::<u32>("scrollback", "a number of lines")?;
    let write = match query.text("write")?.as_deref() {
        None | Some("never") => WriteWish::Never,
        Some("if_free") => WriteWish::IfFree,
        Some("take") => WriteWish::Take,
        Some(_) => {
            return Err(Problem::new(Code::InvalidQuery, "write takes never, if_free or take"));
        }
    };
    let cols = query.parse::<i64>("cols", "a number of columns")?;
    let rows = query.parse::<i64>("rows", "a number of rows")?;
    let behind = query.parse::<u64>("behind", "a number of bytes")?;
    let window = query.parse::<u64>("window", "a number of bytes")?;
    query.finish()?;
    if window.is_some_and(|window| !WINDOW_BYTES.contains(&window)) {
        let detail = format!("window takes {} to {}", WINDOW_BYTES.start(), WINDOW_BYTES.end());
        return Err(Problem::new(Code::InvalidQuery, detail));
    }
    let from = match (offset, scrollback) {
        (Some(_), Some(_)) => {
            return Err(Problem::new(Code::InvalidQuery, "either offset or scrollback, not both"));
        }
        (Some(offset), None) => AttachFrom::Offset { offset },
        (None, lines) => {
            let lines = lines.unwrap_or(SCROLLBACK_LINES).min(PTY_SCROLLBACK_LINES_MAX);
            AttachFrom::Screen { scrollback_lines: lines }
        }
    };
    let wish = AttachPty {
        pty_id,
        // A viewer without a name is nobody's successor.
        viewer: viewer.unwrap_or_else(|| app.ids.id::<CallId>().to_string()),
        from,
        write,
        size: cols.zip(rows).map(|(cols, rows)| PtySize::clamped(cols, rows)),
        skip_behind_bytes: Some(behind.unwrap_or(BEHIND_BYTES)),
    };
    Ok((wish, window))
}

/// A viewer whose socket is open.
struct Attached {
    app: App,
    link: WorkspaceLink,
    wish: AttachPty,
    window: Option<u64>,
    may_write: bool,
    access: Access,
    _seat: Seat,
}

impl Attached {
    async fn serve(self, socket: WebSocket, attachment: PtyAttachment) {
        let (sink, stream) = socket.split();
        let now = Instant::from_std(self.app.clock.now());
        let begin = match self.wish.from {
            AttachFrom::Offset { .. } => AttachFrom::Screen { scrollback_lines: SCROLLBACK_LINES },
            screen @ AttachFrom::Screen { .. } => screen,
        };
        let viewer = Arc::new(Viewer::new(self.wish, now));
        let (replies_in, replies) = mpsc::channel::<PtyTold>(REPLIES);
        let (feed, first) = Feed::new(self.link, Arc::clone(&viewer), begin, attachment);
        let mut outgoing = Outgoing {
            sink,
            feed,
            viewer: Arc::clone(&viewer),
            replies,
            access: self.access,
            soft: self.app.lifecycle.soft(),
            window: self.window,
            sent: 0,
            offset: 0,
            screen_missing: 0,
        };
        let mut incoming = Incoming {
            stream,
            viewer,
            replies: replies_in,
            may_write: self.may_write,
            voice: Voice::None,
            counted_from: now,
            frames: 0,
        };
        let (ending, by_viewer) = tokio::select! {
            ending = outgoing.run(first) => (ending, false),
            ending = incoming.run() => (ending, true),
        };
        let is_orderly = by_viewer && ending.0 == 1000;
        // Nobody watches any more, however long the close frame takes to get through.
        outgoing.feed.end();
        let patience = if ending.0 == 4008 { SLOW_PATIENCE } else { CLOSE_PATIENCE };
        let soft = outgoing.soft.clone();
        tokio::select! {
            () = close(&mut outgoing, ending, patience) => {}
            // One that is slow is not waited for by a server that ends.
            () = soft.cancelled(), if patience == SLOW_PATIENCE => {}
        }
        drop(outgoing);
        if is_orderly {
            let _ = tokio::time::timeout(CLOSE_PATIENCE, incoming.detach()).await;
            return;
        }
        // The seat is held meanwhile: nobody has more of these than viewers.
        tokio::select! {
            () = incoming.outlast() => {}
            () = tokio::time::sleep(patience) => {}
            () = soft.cancelled() => {}
        }
    }
}

async fn close(outgoing: &mut Outgoing, ending: Ending, patience: Duration) {
    let frame = ending.frame();
    let close = async {
        // Who closed first is not told again, but the answer to their close is still to be sent.
        if outgoing.sink.send(Message::Close(Some(frame))).await.is_err() {
            let _ = outgoing.sink.flush().await;
        }
    };
    let _ = tokio::time::timeout(patience, close).await;
}
