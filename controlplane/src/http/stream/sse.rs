//! Server-sent events: the same batches, one event each.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{iter, unfold};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::seats::Seat;
use super::source::Source;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams `source` until its end, the client's, its credential's, or the soft stop. The client is the one who pulls:
/// while it does not read, nothing is read for it.
pub fn answer(
    source: impl Source,
    seat: Seat,
    access: Access,
    soft: CancellationToken,
) -> Response {
    let state = (source, seat, access, soft);
    let batches = unfold(state, |(mut source, seat, mut access, soft)| async move {
        let batch = tokio::select! {
            () = soft.cancelled() => return None,
            _ = access.ended() => return None,
            batch = source.next() => batch.ok()?,
        };
        Some((batch, (source, seat, access, soft)))
    });
    let events = batches.flat_map(|batch| iter(batch.into_iter().map(Ok::<_, Infallible>)));
    let events = events.map(|event| event.map(|event| encode(&event)));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn encode(event: &Value) -> Event {
    let mut sse = Event::default().event(event["type"].as_str().unwrap_or("message"));
    if let Some(cursor) = event["cursor"].as_str() {
        sse = sse.id(cursor);
    }
    sse.data(event.to_string())
}
