//! Server-sent events from a provider: bytes in, decoded events out, with limits on both.
//!
//! ```text
//! bytes ──► watched (silence, size) ──► SseByteStream ──► Decoder (pure) ──► Event
//! ```
//!
//! | Limit | Value | Then |
//! |---|---|---|
//! | before the first byte | 10 min | silent |
//! | between bytes, comments included | 120 s | silent |
//! | between events | 10 min | silent |
//! | one event | 4 MiB | bad response |
//! | one answer | 64 MiB | bad response |
//! | after the reason to stop | 5 s | the answer is complete as it is |

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt};
use sse_stream::{Sse, SseByteStream};

use super::classify::{HEAD_SHOWN_BYTES, Teller, root_cause};
use super::{Event, EventStream, ProviderError, ProviderErrorKind};

/// Silence before the first byte.
pub(super) const FIRST_BYTE: Duration = Duration::from_secs(600);
/// Silence between bytes.
const NEXT_BYTE: Duration = Duration::from_secs(120);
/// Silence between events, where only comments come.
const NEXT_EVENT: Duration = Duration::from_secs(600);
/// Wait for what may follow the reason to stop: the usage, and the end.
const AFTER_STOP: Duration = Duration::from_secs(5);
/// Bytes of one event.
const EVENT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one answer.
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Turns one provider's events into ours. Pure; fed in order.
pub(super) trait Decoder: Send + 'static {
    /// Takes one event. Errors end the stream.
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut VecDeque<Event>,
    ) -> Result<Flow, ProviderError>;

    /// Whether the reason to stop was given, so that an end without a farewell is a good end.
    fn has_stopped(&self) -> bool;

    /// Takes the end of a stream that has stopped: says what is left to say, `Finished` last.
    fn finish(&mut self, out: &mut VecDeque<Event>);
}

/// Whether more is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Read on.
    More,
    /// The protocol says that this was the last event; `Finished` is out.
    Done,
}

/// Decodes `body` until its end or its first error.
pub(super) fn decode<E>(
    body: BoxStream<'static, Result<Bytes, E>>,
    decoder: impl Decoder,
    teller: Teller,
    request_id: Option<String>,
) -> EventStream
where
    E: std::error::Error + Send + Sync + 'static,
{
    let reader = Reader {
        events: Events::new(body),
        decoder,
        teller,
        request_id,
        out: VecDeque::new(),
        state: State::Reading,
    };
    unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) }).boxed()
}

struct Reader<D> {
    events: Events,
    decoder: D,
    teller: Teller,
    request_id: Option<String>,
    out: VecDeque<Event>,
    state: State,
}

/// Errors wait until what was decoded before them is out.
enum State {
    Reading,
    Failed(ProviderError),
    Over,
}

impl<D: Decoder> Reader<D> {
    async fn next(&mut self) -> Option<Result<Event, ProviderError>> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Some(Ok(event));
            }
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return None,
                State::Failed(error) => {
                    let request_id = error.request_id.clone().or_else(|| self.request_id.clone());
                    return Some(Err(ProviderError { request_id, ..error }));
                }
                State::Reading => self.state = self.read().await,
            }
        }
    }

    /// Takes one event from the body.
    async fn read(&mut self) -> State {
        let wait = if self.decoder.has_stopped() { AFTER_STOP } else { NEXT_EVENT };
        let item = match tokio::time::timeout(wait, self.events.next()).await {
            Ok(item) => item,
            Err(_) => Some(Err(Fault::Silent(wait))),
        };
        match item {
            Some(Ok(sse)) => {
                // A block without data (an id, a pause) says nothing to us.
                let Some(data) = sse.data else { return State::Reading };
                match self.decoder.event(sse.event.as_deref(), &data, &mut self.out) {
                    Ok(Flow::More) => State::Reading,
                    Ok(Flow::Done) => State::Over,
                    Err(error) => State::Failed(error),
                }
            }
            // The connection may break after the last byte that matters.
            None | Some(Err(_)) if self.decoder.has_stopped() => {
                self.decoder.finish(&mut self.out);
                State::Over
            }
            None => State::Failed(self.ended()),
            Some(Err(fault)) => State::Failed(self.broken(fault)),
        }
    }

    fn ended(&self) -> ProviderError {
        if self.events.seen_events == 0 {
            self.teller.bad_response(what_is(&self.events.head()), &self.events.head())
        } else {
            self.teller.cut("the stream ended")
        }
    }

    fn broken(&self, fault: Fault) -> ProviderError {
        match fault {
            Fault::Silent(limit) => self.teller.error(
                ProviderErrorKind::StreamSilent,
                &format!("{} said nothing for {} s.", self.teller.who, limit.as_secs()),
            ),
            Fault::Broken(why) => self.teller.cut(&why),
            Fault::TooLarge(what) => self.teller.bad_response(what, &self.events.head()),
            Fault::NotText => {
                self.teller.bad_response("bytes that are no text", &self.events.head())
            }
        }
    }
}

/// What an answer without a single event is, as far as its first bytes tell.
fn what_is(head: &[u8]) -> &'static str {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    match head.first() {
        None => "nothing",
        Some(b'<') => "a web page",
        Some(b'{' | b'[') => "JSON",
        Some(b':') => "comments alone",
        Some(_) => "something else",
    }
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("silent for {0:?}")]
    Silent(Duration),
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    TooLarge(&'static str),
    #[error("not text")]
    NotText,
}

/// The event reader with its watch over the bytes.
struct Events {
    inner: BoxStream<'static, Result<Sse, sse_stream::Error>>,
    watch: Arc<Watch>,
    seen_events: u64,
}

/// What the byte side tells the event side. Both run in one task; the lock is never contended.
#[derive(Default)]
struct Watch {
    /// Bytes since the last event, which is what the parser may hold.
    since_event: AtomicUsize,
    head: std::sync::Mutex<Vec<u8>>,
}

impl Events {
    fn new<E>(body: BoxStream<'static, Result<Bytes, E>>) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let watch = Arc::new(Watch::default());
        let bytes = watched(body, Arc::clone(&watch)).boxed();
        Self { inner: SseByteStream::new(bytes).boxed(), watch, seen_events: 0 }
    }

    async fn next(&mut self) -> Option<Result<Sse, Fault>> {
        let item = self.inner.next().await?;
        self.watch.since_event.store(0, Ordering::Relaxed);
        Some(match item {
            Ok(sse) => {
                self.seen_events += u64::from(sse.data.is_some());
                Ok(sse)
            }
            Err(sse_stream::Error::Body(source)) => Err(match source.downcast::<Fault>() {
                Ok(fault) => *fault,
                Err(other) => Fault::Broken(other.to_string()),
            }),
            Err(_) => Err(Fault::NotText),
        })
    }

    fn head(&self) -> Vec<u8> {
        self.watch.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

struct Bytewise<E> {
    body: BoxStream<'static, Result<Bytes, E>>,
    watch: Arc<Watch>,
    total: usize,
}

/// Passes bytes on until one of the limits of the table is reached.
fn watched<E>(
    body: BoxStream<'static, Result<Bytes, E>>,
    watch: Arc<Watch>,
) -> impl Stream<Item = Result<Bytes, Fault>> + Send
where
    E: std::error::Error + Send + Sync + 'static,
{
    unfold(Bytewise { body, watch, total: 0 }, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    })
}

impl<E: std::error::Error + Send + Sync + 'static> Bytewise<E> {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let wait = if self.total == 0 { FIRST_BYTE } else { NEXT_BYTE };
        let chunk = match tokio::time::timeout(wait, self.body.next()).await {
            Err(_) => return Some(Err(Fault::Silent(wait))),
            Ok(None) => return None,
            Ok(Some(Err(error))) => return Some(Err(Fault::Broken(root_cause(&error)))),
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.keep_head(&chunk);
        self.total += chunk.len();
        let since = self.watch.since_event.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        Some(if since > EVENT_MAX_BYTES {
            Err(Fault::TooLarge("an event of more than 4 MiB"))
        } else if self.total > ANSWER_MAX_BYTES {
            Err(Fault::TooLarge("more than 64 MiB"))
        } else {
            Ok(chunk)
        })
    }

    fn keep_head(&self, chunk: &[u8]) {
        if self.total < HEAD_SHOWN_BYTES {
            let mut head =
                self.watch.head.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = HEAD_SHOWN_BYTES - head.len().min(HEAD_SHOWN_BYTES);
            head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    }
}
