//! One viewer of one chat: what it is told, in which order, and how it resumes.
//!
//! ```text
//!                ┌──────── hint, turnover of the episode, poll ────────┐
//!                ▼                                                     │
//!  subscribe ► read the row ► messages, queue, status, error, … ► preview ► wait
//!                                                                  ▲     │
//!                                                                  └─────┘ news of the episode
//! ```
//!
//! A [`Subscription`] is pulled: it holds a place (a [`Cursor`]) and no buffer beyond what was read
//! in one go. Both wake-ups are subscribed to *before* the first read, so nothing that is committed
//! or said afterwards can be missed; and the row is read again after every opening or closing of an
//! episode *before* its preview is touched, so that a message always comes before the reset that
//! takes its preview away.
//!
//! A reader that falls behind is sent merged text. One that does not read at all is closed, see
//! [`Lag`]. Either resumes exactly from its cursor.

mod following;
mod lag;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shared::clock::Clock;
use shared::ids::ChatId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::event::{ChatEvent, Cursor, Envelope, InvalidCursor};
use super::hints::Hints;
use super::hub::{EpisodeKey, Hub, Joined};
use super::reader::{ChatReader, ChatState, MessageChange, ReadError};

/// Events in one batch.
const BATCH_EVENTS: usize = 256;
/// Text of the preview in one batch, about.
const BATCH_BYTES: usize = 256 * 1024;
/// Backstop for a lost hint.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Silence after which a ping is sent.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// Pause before a read that failed is tried again.
const READ_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Reads in a row that may fail before the stream gives up.
const READ_RETRIES: u32 = 30;

/// Longest wait for the preview of a chat that another replica drives, before the stream says that
/// it is complete all the same.
const CATCH_UP_WAIT: Duration = Duration::from_secs(1);

pub use following::{Following, Relays};
pub use lag::Lag;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamEnd {
    /// There is no such chat (any more).
    #[error("there is no such chat")]
    NotFound,
    /// The database could not be read for a while.
    #[error("the chat cannot be read now")]
    Unavailable(#[source] ReadError),
}

/// Opens [`Subscription`]s. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    hub: Hub,
    hints: Hints,
    reader: Arc<dyn ChatReader>,
    clock: Arc<dyn Clock>,
    relays: Arc<OnceLock<Arc<dyn Relays>>>,
}

impl Streams {
    /// Over `reader`, woken by `hints`, with the previews of `hub`.
    #[must_use]
    pub fn new(hub: Hub, hints: Hints, reader: Arc<dyn ChatReader>, clock: Arc<dyn Clock>) -> Self {
        Self { hub, hints, reader, clock, relays: Arc::default() }
    }

    /// From now on viewers also see the previews of chats that other replicas drive. Once.
    pub fn relay_through(&self, relays: Arc<dyn Relays>) {
        let _ = self.relays.set(relays);
    }

    /// Follows `chat` from `cursor`, or from the beginning. The caller has checked that the viewer
    /// may see the chat.
    ///
    /// A cursor that is no cursor (the outer `Some` holds an error), lies in the future or belongs
    /// to another chat is answered with `resync` and a fresh snapshot.
    #[must_use]
    pub fn subscribe(
        &self,
        chat: ChatId,
        cursor: Option<Result<Cursor, InvalidCursor>>,
    ) -> Subscription {
        self.subscribe_to(chat, cursor, Window::default())
    }

    /// As [`subscribe`](Self::subscribe), for a viewer that knows no more than a window of the
    /// messages: it equals the database from the window's first message on.
    #[must_use]
    pub fn subscribe_to(
        &self,
        chat: ChatId,
        cursor: Option<Result<Cursor, InvalidCursor>>,
        window: Window,
    ) -> Subscription {
        // Before the first read, otherwise what happens in between is lost.
        let hint = self.hints.chat(chat);
        let channel = self.hub.join(chat);
        let following = self.relays.get().map(|relays| relays.follow(chat));
        let news = channel.news();
        let start = Cursor::start(chat);
        let (place, invalid) = match cursor {
            None => (start, false),
            Some(Ok(cursor)) if cursor.tag == start.tag => (cursor, false),
            Some(_) => (start, true),
        };
        let read_bytes = Arc::new(AtomicU64::new(channel.published_bytes()));
        let now = Instant::now();
        Subscription {
            streams: self.clone(),
            chat,
            hint,
            news,
            channel,
            place,
            handed: place,
            following,
            opened_at: now,
            known: None,
            outbox: VecDeque::new(),
            resync: invalid.then_some("cursor_invalid"),
            row_due: true,
            row_read_at: now,
            told_at: now,
            turnover: u64::MAX,
            ready: false,
            read_bytes,
            failures: 0,
            resumed: place.snapshot != 0,
            newest: window.newest,
            from: window.from.unwrap_or(i64::MIN),
        }
    }
}

/// Which messages a viewer wants and knows; by default all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// A fresh snapshot has so many of the newest messages; none: all.
    pub newest: Option<u32>,
    /// The `seq` of the first message that it knows, for one that goes on from a cursor; none: it
    /// knows from the first message on.
    pub from: Option<i64>,
}

/// One viewer's stream. Pull it with [`next`](Self::next).
pub struct Subscription {
    streams: Streams,
    chat: ChatId,
    hint: watch::Receiver<()>,
    news: watch::Receiver<()>,
    channel: Joined,
    /// Keeps the relay, where another replica may drive the chat.
    following: Option<Following>,
    opened_at: Instant,
    /// After the last event of the outbox, or the last one handed out.
    place: Cursor,
    /// After the last event that was handed out.
    handed: Cursor,
    /// The row as the viewer was last told.
    known: Option<ChatState>,
    outbox: VecDeque<Envelope>,
    resync: Option<&'static str>,
    row_due: bool,
    row_read_at: Instant,
    told_at: Instant,
    /// Turnover of the channel before the row was last read.
    turnover: u64,
    ready: bool,
    read_bytes: Arc<AtomicU64>,
    failures: u32,
    /// The viewer came back: it may have what is gone since.
    resumed: bool,
    /// How many messages a fresh snapshot has; none: all.
    newest: Option<u32>,
    /// The `seq` of the first message that the viewer knows.
    from: i64,
}

impl Subscription {
    /// The next events, at least one and at most 256. Cancel safe. After `Ready` everything is
    /// live.
    ///
    /// # Errors
    /// The reason why there will be no more.
    pub async fn next(&mut self) -> Result<Vec<Envelope>, StreamEnd> {
        self.read_bytes.store(self.channel.published_bytes(), Ordering::Relaxed);
        while self.outbox.is_empty() {
            if self.row_due {
                self.read_row().await?;
            } else if !self.look_at_preview() {
                self.rest().await;
            }
        }
        self.told_at = Instant::now();
        let most = if shared::fault::rarely("stream: one event") { 1 } else { BATCH_EVENTS };
        let count = self.outbox.len().min(most);
        let batch: Vec<Envelope> = self.outbox.drain(..count).collect();
        self.handed = batch.last().map_or(self.handed, |last| last.cursor);
        Ok(batch)
    }

    /// Where a viewer resumes that has applied everything it was handed.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.handed
    }

    /// Tells, while a batch is being sent, that the viewer does not read.
    #[must_use]
    pub fn lag(&self) -> Lag {
        Lag::new(self.channel.clone(), Arc::clone(&self.read_bytes))
    }

    async fn read_row(&mut self) -> Result<(), StreamEnd> {
        // Both before the read: what comes during it is looked at again.
        let turnover = self.channel.turnover();
        self.hint.borrow_and_update();
        let reader = &self.streams.reader;
        let read = match self.newest {
            Some(limit) if self.place.snapshot == 0 => reader.newest(self.chat, limit).await,
            _ => reader.changes(self.chat, self.place.snapshot).await,
        };
        match read {
            Ok(Some(state)) => {
                self.turnover = turnover;
                self.row_read_at = Instant::now();
                self.row_due = shared::fault::rarely("stream: row read twice");
                self.failures = 0;
                self.tell_row(state);
                Ok(())
            }
            Ok(None) => Err(StreamEnd::NotFound),
            Err(error) if self.failures >= READ_RETRIES => Err(StreamEnd::Unavailable(error)),
            Err(error) => {
                self.failures += 1;
                tracing::warn!(chat.id = %self.chat, error = &error as &dyn std::error::Error,
                    "a stream could not read its chat; it tries again");
                tokio::time::sleep(READ_RETRY_PAUSE).await;
                Ok(())
            }
        }
    }

    fn tell_row(&mut self, mut state: ChatState) {
        if self.known.is_none() && is_ahead(&self.place, &state) {
            self.resync = Some("cursor_invalid");
        }
        if self.place.snapshot != 0 && self.shows_before_window(&state.changes) {
            self.resync = Some("resync_required");
        }
        if let Some(reason) = self.resync.take() {
            let behind = self.place.snapshot != 0;
            self.place = Cursor::start(self.chat);
            self.tell(ChatEvent::Resync { reason: reason.to_owned() });
            if behind {
                // What was read begins after the cursor that is no longer believed.
                self.row_due = true;
                return;
            }
        }
        self.tell_messages(std::mem::take(&mut state.changes));
        self.place.snapshot = state.head.snapshot_version;
        let known = self.known.replace(state);
        self.tell_state(known.as_ref());
    }

    /// Whether another branch is shown that reaches back behind the window: its messages would
    /// stand there without those between.
    fn shows_before_window(&self, changes: &[MessageChange]) -> bool {
        let before = |change: &MessageChange| matches!(change, MessageChange::Present(it) if it.seq < self.from);
        let removed = |change: &MessageChange| matches!(change, MessageChange::Removed { .. });
        changes.iter().any(removed) && changes.iter().any(before)
    }

    /// Leaves out what stands before the window; a fresh snapshot says where it begins.
    fn within_window(&mut self, changes: &mut Vec<MessageChange>) {
        if self.place.snapshot == 0 {
            let seqs = changes.iter().filter_map(|change| match change {
                MessageChange::Present(message) => Some(message.seq),
                MessageChange::Removed { .. } => None,
            });
            let first = seqs.min().unwrap_or(i64::MIN);
            self.from = if self.newest.is_some() { first } else { i64::MIN };
        }
        let from = self.from;
        changes.retain(|change| !matches!(change, MessageChange::Present(it) if it.seq < from));
    }

    fn tell_messages(&mut self, mut changes: Vec<MessageChange>) {
        self.within_window(&mut changes);
        if self.place.snapshot == 0 {
            // Who knows nothing has nothing to remove.
            changes.retain(|change| matches!(change, MessageChange::Present(_)));
        }
        let mut usage = None;
        let revisions: Vec<i64> = changes.iter().map(MessageChange::revision).collect();
        for (at, change) in changes.into_iter().enumerate() {
            // A revision counts as seen only with the last of its messages.
            if revisions.get(at + 1) != Some(&revisions[at]) {
                self.place.snapshot = revisions[at];
            }
            self.tell(match change {
                MessageChange::Removed { id, .. } => ChatEvent::MessageRemoved { id },
                MessageChange::Present(message) => {
                    usage = message.usage.clone().or(usage);
                    ChatEvent::Message { message }
                }
            });
        }
        if let Some(usage) = usage {
            self.tell(ChatEvent::Usage { usage });
        }
    }

    /// Everything about the chat that is not a message, as far as it differs from `known`.
    fn tell_state(&mut self, known: Option<&ChatState>) {
        let Some(state) = &self.known else { return };
        let mut events = Vec::new();
        if known.is_none_or(|known| title_of(known) != title_of(state)) {
            events.push(ChatEvent::Chat { chat: state.head.clone() });
        }
        if known.is_none_or(|known| known.queue != state.queue) {
            events.push(ChatEvent::Queue { items: state.queue.clone() });
        }
        // A new status ends the retry phase of a client, so it also tells that one is over.
        let retry_changed = known.is_some_and(|known| known.retry != state.retry);
        let fallback_changed = known.is_some_and(|known| known.fallback != state.fallback);
        let status_due = retry_changed
            || fallback_changed
            || known.is_none_or(|known| known.head.status != state.head.status);
        if status_due {
            events.push(ChatEvent::Status { status: state.head.status });
        }
        if known.is_none_or(|known| known.error != state.error) {
            events.push(ChatEvent::Error { error: state.error.clone() });
        }
        let results_due = match known {
            Some(known) => known.results != state.results,
            None => self.resumed || !state.results.is_empty(),
        };
        if results_due {
            events.push(ChatEvent::Results { items: state.results.clone() });
        }
        if known.is_none_or(|known| known.actions != state.actions) {
            events.push(ChatEvent::ActionRequired { actions: state.actions.clone() });
        }
        if let Some(fallback) = state.fallback.as_ref().filter(|_| status_due) {
            events.push(ChatEvent::Fallback {
                selected_model: fallback.selected_model.clone(),
                answered_by: fallback.answered_by.clone(),
                reason: fallback.reason.clone(),
            });
        }
        if let Some(retry) = state.retry.as_ref().filter(|_| status_due) {
            let left = retry.retry_at.0.saturating_sub(self.streams.clock.now_ms());
            events.push(ChatEvent::Retry {
                attempt: retry.attempt,
                delay_ms: left.max(0).unsigned_abs().min(retry.delay_ms),
                retry_at: retry.retry_at,
                error: retry.error.clone(),
            });
        }
        for event in events {
            self.tell(event);
        }
    }

    /// Tells what is new in the preview. Whether there was anything to do.
    fn look_at_preview(&mut self) -> bool {
        self.news.borrow_and_update();
        let has = EpisodeKey { history: self.place.history, attempt: self.place.attempt };
        let most = if shared::fault::rarely("stream: small preview") { 8 } else { BATCH_BYTES };
        let glance = self.channel.glance(has, self.place.seq, most);
        if glance.turnover != self.turnover {
            self.row_due = true;
            return true;
        }
        let row = self.known.as_ref().map_or(EpisodeKey::default(), |state| EpisodeKey {
            history: state.history_version,
            attempt: state.attempt,
        });
        let none = EpisodeKey::default();
        // An episode that the row does not name is history already, or of a worker that lost the
        // chat.
        let (key, walk) = glance.preview.filter(|(key, _)| *key == row).unwrap_or_default();
        let before = self.outbox.len();
        if key != has || walk.reset && key != none {
            (self.place.history, self.place.attempt) = (key.history, key.attempt);
            self.place.seq = if walk.parts.is_empty() { walk.seq } else { 0 };
            self.tell(ChatEvent::PreviewReset);
        }
        for part in walk.parts {
            self.place.seq = part.seq;
            self.tell(ChatEvent::Part { part });
        }
        self.outbox.len() > before
    }

    /// Says that the snapshot is complete, or waits for anything new. Cancel safe.
    async fn rest(&mut self) {
        if !self.ready {
            let give_up_at = self.opened_at + CATCH_UP_WAIT;
            if let Some(following) = &mut self.following
                && !following.has_caught_up()
                && Instant::now() < give_up_at
            {
                tokio::select! {
                    biased;
                    () = changed(&mut self.hint) => self.row_due = true,
                    () = changed(&mut self.news) => {}
                    () = following.caught_up() => {}
                    () = tokio::time::sleep_until(give_up_at) => {}
                }
                return;
            }
            self.ready = true;
            self.tell(ChatEvent::Ready);
            return;
        }
        tokio::select! {
            biased;
            () = changed(&mut self.hint) => self.row_due = true,
            () = changed(&mut self.news) => {}
            () = tokio::time::sleep_until(self.row_read_at + POLL_INTERVAL) => self.row_due = true,
            () = tokio::time::sleep_until(self.told_at + PING_INTERVAL) => self.tell(ChatEvent::Ping),
        }
    }

    fn tell(&mut self, event: ChatEvent) {
        self.outbox.push_back(Envelope { cursor: self.place, event });
    }
}

/// Whether the place cannot have been reached yet.
fn is_ahead(place: &Cursor, state: &ChatState) -> bool {
    place.snapshot > state.head.snapshot_version
        || (place.history, place.attempt) > (state.history_version, i64::MAX)
}

/// What the `chat` event is about.
fn title_of(state: &ChatState) -> impl PartialEq + use<'_> {
    let head = &state.head;
    let work = (&head.mode, head.model_id, head.effort, &head.plan, head.workspace_id);
    let family = (head.family.waits_for_agents, head.family.outcome, &head.family.budget);
    (&head.title, &head.label, head.archived, head.queue_position, work, family)
}

/// Waits for a change; for ever, if there will be none.
async fn changed(receiver: &mut watch::Receiver<()>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
