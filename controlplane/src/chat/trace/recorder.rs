//! Takes spans from the runners without ever waiting, shows the ones that run, and writes them in
//! batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::ids::ChatId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Head;
use crate::store::{SPANS_PER_CHAT, SpanRow, TraceStore, TraceWrite};

/// Writes that wait for the task: two seconds of a thousand busy chats.
const WAITING: usize = 8_192;
/// Writes of one transaction.
const BATCH: usize = 512;
/// How long writes are gathered: one commit a second, however many chats run.
const GATHER: Duration = Duration::from_secs(1);
/// Tries of a batch before it is given up.
const TRIES: u32 = 5;
/// Heads of prompts that are known to be kept.
const HEADS_KNOWN: usize = 1_024;

/// Takes spans. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    writes: mpsc::Sender<TraceWrite>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Spans that run or are not written yet, with the number of their last change.
    live: Mutex<HashMap<ChatId, BTreeMap<String, SpanRow>>>,
    heads: Mutex<HashSet<String>>,
    dropped: AtomicU64,
    /// No runner is left that could record.
    finished: CancellationToken,
}

/// Writes what the recorder took. Run it once.
pub struct Recording {
    writes: mpsc::Receiver<TraceWrite>,
    shared: Arc<Shared>,
    store: TraceStore,
}

impl Recorder {
    /// A recorder, and what writes for it.
    #[must_use]
    pub fn new(store: TraceStore) -> (Self, Recording) {
        let (writes, waiting) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared::default());
        let recording = Recording { writes: waiting, shared: Arc::clone(&shared), store };
        (Self { writes, shared }, recording)
    }

    /// Records a span as it is now. Never waits; with a full channel the span is dropped.
    pub fn span(&self, span: SpanRow) {
        let mut live = self.shared.live();
        let of_chat = live.entry(span.chat_id).or_default();
        of_chat.insert(span.key.clone(), span.clone());
        drop(live);
        self.write(TraceWrite::Span(Box::new(span)));
    }

    /// A runner begins with a chat.
    pub fn taken_over(&self, chat: ChatId, at_ms: i64) {
        self.shared.live().remove(&chat);
        self.write(TraceWrite::TakenOver { chat, at_ms });
    }

    /// A runner left a chat: what it had open is nothing that runs here.
    pub fn left(&self, chat: ChatId) {
        let mut live = self.shared.live();
        if let Some(of_chat) = live.get_mut(&chat) {
            of_chat.retain(|_, span| span.ended_at_ms.is_some());
        }
    }

    /// A turn is over.
    pub fn turn_over(&self, chat: ChatId) {
        self.write(TraceWrite::Trim { chat, keep: SPANS_PER_CHAT });
    }

    /// Keeps what stands before the messages of a prompt.
    pub fn head(&self, head: Head, at_ms: i64) {
        let mut heads = self.shared.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() >= HEADS_KNOWN {
            heads.clear();
        }
        let is_new = heads.insert(head.hash.clone());
        drop(heads);
        if is_new {
            self.write(TraceWrite::Head { hash: head.hash, body: head.body, at_ms });
        }
    }

    /// The spans of a chat that run here or are not written yet.
    #[must_use]
    pub fn live(&self, chat: ChatId) -> Vec<SpanRow> {
        self.shared.live().get(&chat).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Writes that were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Nothing will be recorded any more: what waits is written, and the task ends.
    pub fn finish(&self) {
        self.shared.finished.cancel();
    }

    fn write(&self, write: TraceWrite) {
        if let Err(error) = self.writes.try_send(write) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            if let TraceWrite::Span(span) = error.into_inner() {
                self.shared.forget(&span);
            }
        }
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, HashMap<ChatId, BTreeMap<String, SpanRow>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A span that ended is forgotten once it is written, if it did not change meanwhile.
    fn forget(&self, span: &SpanRow) {
        let mut live = self.live();
        if let Some(of_chat) = live.get_mut(&span.chat_id) {
            if of_chat.get(&span.key) == Some(span) && span.ended_at_ms.is_some() {
                of_chat.remove(&span.key);
            }
            if of_chat.is_empty() {
                live.remove(&span.chat_id);
            }
        }
    }
}

impl Recording {
    /// Writes until [`Recorder::finish`], or until `hard`.
    pub async fn run(mut self, hard: CancellationToken) {
        let finished = self.shared.finished.clone();
        loop {
            let first = tokio::select! {
                biased;
                () = hard.cancelled() => return,
                first = self.writes.recv() => first,
                () = finished.cancelled() => None,
            };
            let Some(first) = first else { return };
            // Not a poll: whatever comes within the time shares the commit.
            tokio::select! {
                biased;
                () = hard.cancelled() => return,
                () = finished.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.writes.try_recv()
            {
                batch.push(next);
            }
            self.keep(newest(batch), &hard).await;
        }
    }

    async fn keep(&self, batch: Vec<TraceWrite>, hard: &CancellationToken) {
        shared::fault::pass("trace batch").await;
        for attempt in 1..=TRIES {
            match self.store.write(&batch).await {
                Ok(()) => break,
                Err(error) if attempt < TRIES && !hard.is_cancelled() => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "spans wait");
                    tokio::time::sleep(GATHER).await;
                }
                Err(error) => {
                    let lost = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                    self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        lost,
                        "spans were not kept; the turns went on"
                    );
                }
            }
        }
        for write in &batch {
            if let TraceWrite::Span(span) = write {
                self.shared.forget(span);
            }
        }
    }
}

/// Of each span only its last state. The rest stays in order.
fn newest(batch: Vec<TraceWrite>) -> Vec<TraceWrite> {
    let mut seen: HashSet<(ChatId, String)> = HashSet::new();
    let mut kept: Vec<TraceWrite> = batch
        .into_iter()
        .rev()
        .filter(|write| match write {
            TraceWrite::Span(span) => seen.insert((span.chat_id, span.key.clone())),
            _ => true,
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use shared::clock::SystemClock;
    use shared::ids::{IdSource, SystemIds};

    use super::*;
    use crate::store::{DatabaseUrl, SpanKind, SpanStatus, Store};

    fn span(chat: ChatId, key: &str, ended_at_ms: Option<i64>) -> SpanRow {
        SpanRow {
            chat_id: chat,
            key: key.to_owned(),
            parent: None,
            kind: SpanKind::Tool,
            name: "execute_tool execute".into(),
            status: if ended_at_ms.is_some() { SpanStatus::Ok } else { SpanStatus::Running },
            started_at_ms: 1,
            ended_at_ms,
            attributes: json!({}),
        }
    }

    #[tokio::test]
    async fn a_recorder_that_nobody_empties_drops_and_never_waits() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("holdfast.db"));
        let ids = Arc::new(SystemIds::new());
        let store = Store::open(&url, Arc::new(SystemClock), ids.clone()).await.unwrap();
        let ids: &dyn IdSource = &*ids;
        let chat = ids.id();
        let (recorder, _recording) = Recorder::new(store.traces.clone());
        for number in 0..WAITING + 100 {
            recorder.span(span(chat, &format!("o{number}"), Some(2)));
        }
        assert_eq!(recorder.dropped(), 100);
        assert_eq!(recorder.live(chat).len(), WAITING, "what is dropped is shown no more");
    }

    #[tokio::test]
    async fn running_spans_are_live_and_the_end_of_a_program_writes_what_waits() {
        let folder = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::Sqlite(folder.path().join("holdfast.db"));
        let ids = Arc::new(SystemIds::new());
        let store = Store::open(&url, Arc::new(SystemClock), ids.clone()).await.unwrap();
        let ids: &dyn IdSource = &*ids;
        let chat = ids.id();
        let (recorder, recording) = Recorder::new(store.traces.clone());
        recorder.span(span(chat, "a", None));
        assert_eq!(recorder.live(chat), [span(chat, "a", None)]);
        recorder.span(span(chat, "a", Some(5)));
        recorder.finish();
        recording.run(CancellationToken::new()).await;
        assert!(recorder.live(chat).is_empty());
        assert_eq!(recorder.dropped(), 0);
    }

    #[test]
    fn of_each_span_its_last_state_is_written() {
        let ids: &dyn IdSource = &SystemIds::new();
        let chat = ids.id();
        let write = |key: &str, end| TraceWrite::Span(Box::new(span(chat, key, end)));
        let kept = newest(vec![write("a", None), write("b", None), write("a", Some(2))]);
        let keys: Vec<(String, bool)> = kept
            .iter()
            .filter_map(|write| match write {
                TraceWrite::Span(span) => Some((span.key.clone(), span.ended_at_ms.is_some())),
                _ => None,
            })
            .collect();
        assert_eq!(keys, [("b".to_owned(), false), ("a".to_owned(), true)]);
    }
}
