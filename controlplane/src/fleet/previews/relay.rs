//! The side on which viewers are: one task per chat that is viewed here, which fills the chat's
//! channel while another replica drives it.
//!
//! ```text
//! look who drives it ──► nobody, or this replica ──► wait for a hint
//!       ▲   ▲          └► another ──► copy its preview ── it ends ──► pause, look again
//!       │   └──────── hint: somebody else drives it ──────┘
//!       └──────────────────────────── the last viewer goes: end
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::ids::{ChatId, ReplicaId};
use shared::lifecycle::Lifecycle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::show::hear;
use crate::chat::hints::Hints;
use crate::chat::hub::{EpisodeKey, Hub, Mirror};
use crate::chat::stream::{Following, Relays};
use crate::fleet::peers::{PeerAsk, PeerError, Peers, WatchFrom, WatchItem};
use crate::store::ChatStore;

/// Pause before a relay that ended is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);
/// Backstop for a lost hint.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// The relays of this replica. Cheap to clone.
#[derive(Clone)]
pub struct PreviewRelays(Arc<Inner>);

struct Inner {
    peers: Peers,
    chats: ChatStore,
    hub: Hub,
    hints: Hints,
    lifecycle: Lifecycle,
    watched: Mutex<HashMap<ChatId, Watched>>,
}

struct Watched {
    viewers: usize,
    caught_up: watch::Sender<bool>,
    _stop: tokio_util::sync::DropGuard,
}

/// One viewer; the last one that goes ends the chat's relay.
struct Viewer {
    relays: Arc<Inner>,
    chat: ChatId,
}

impl PreviewRelays {
    /// Nobody views anything yet.
    #[must_use]
    pub fn new(
        peers: Peers,
        chats: ChatStore,
        hub: Hub,
        hints: Hints,
        lifecycle: Lifecycle,
    ) -> Self {
        let watched = Mutex::default();
        Self(Arc::new(Inner { peers, chats, hub, hints, lifecycle, watched }))
    }
}

impl Relays for PreviewRelays {
    fn follow(&self, chat: ChatId) -> Following {
        let mut watched = lock(&self.0.watched);
        let entry = watched.entry(chat).or_insert_with(|| {
            let stop = CancellationToken::new();
            let caught_up = watch::Sender::new(false);
            let relay =
                relay(Arc::clone(&self.0), chat, caught_up.clone(), self.0.lifecycle.soft());
            let stopped = stop.clone();
            self.0.lifecycle.spawn_serving("preview relay", async move {
                stopped.run_until_cancelled(relay).await;
            });
            Watched { viewers: 0, caught_up, _stop: stop.drop_guard() }
        });
        entry.viewers += 1;
        let caught_up = entry.caught_up.subscribe();
        drop(watched);
        Following::new(caught_up, Box::new(Viewer { relays: Arc::clone(&self.0), chat }))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut watched = lock(&self.relays.watched);
        if let Some(entry) = watched.get_mut(&self.chat) {
            entry.viewers -= 1;
            if entry.viewers == 0 {
                watched.remove(&self.chat);
            }
        }
    }
}

async fn relay(
    parts: Arc<Inner>,
    chat: ChatId,
    caught_up: watch::Sender<bool>,
    soft: CancellationToken,
) {
    let mut mirror = parts.hub.mirror(chat);
    while !soft.is_cancelled() {
        let mut news = News::of(&parts, chat);
        let driver = driver(&parts, chat).await;
        let pause = match driver {
            Some(replica) => {
                tokio::select! {
                    biased;
                    () = soft.cancelled() => return,
                    () = driven_by_another(&parts, chat, replica, &mut news) => Duration::ZERO,
                    ended = copy(&parts.peers, replica, chat, &mut mirror, &caught_up) => {
                        tracing::debug!(chat.id = %chat, replica.id = %replica, "a relay ended: {ended}");
                        REOPEN_PAUSE
                    }
                }
            }
            None => {
                // What is said here needs no relay.
                caught_up.send_replace(true);
                LOOK_INTERVAL
            }
        };
        if !pause.is_zero() {
            tokio::select! {
                () = soft.cancelled() => {}
                () = news.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// The other, living replica that drives the chat; none: nobody does, or this one.
async fn driver(parts: &Inner, chat: ChatId) -> Option<ReplicaId> {
    let worker = match parts.chats.worker_of(chat).await {
        Ok(worker) => worker?,
        Err(error) => {
            tracing::debug!(chat.id = %chat, error = &error as &dyn std::error::Error,
                "a relay could not look up who drives its chat");
            return None;
        }
    };
    parts.peers.living().borrow().contains_key(&worker).then_some(worker)
}

/// What may change the answer of [`driver`].
struct News {
    chat: watch::Receiver<()>,
    living: watch::Receiver<std::collections::BTreeMap<ReplicaId, crate::store::ReplicaRow>>,
}

impl News {
    /// From before the look on: what comes during it is looked at again.
    fn of(parts: &Inner, chat: ChatId) -> Self {
        Self { chat: parts.hints.chat(chat), living: parts.peers.living() }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.chat.changed() => {}
            _ = self.living.changed() => {}
        }
    }
}

/// Returns when `replica` no longer drives the chat. Every commit is a hint, so this looks often,
/// and only then.
async fn driven_by_another(parts: &Inner, chat: ChatId, replica: ReplicaId, news: &mut News) {
    loop {
        tokio::select! {
            () = news.next() => {}
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        if driver(parts, chat).await != Some(replica) {
            return;
        }
    }
}

/// Copies the preview until the stream ends; why it did.
async fn copy(
    peers: &Peers,
    replica: ReplicaId,
    chat: ChatId,
    mirror: &mut Mirror,
    caught_up: &watch::Sender<bool>,
) -> PeerError {
    let (EpisodeKey { history, attempt }, seq) = mirror.place();
    let from = WatchFrom { history, attempt, seq };
    let mut stream = match peers.ask(replica, PeerAsk::Watch { chat, from }).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    while let Some(item) = hear(&mut stream.receive).await {
        match item {
            WatchItem::Closed => mirror.close(),
            WatchItem::Opened { history, attempt, floor } => {
                // Refused when a newer owner's is here: then what follows is passed over as well.
                let _ = mirror.open(EpisodeKey { history, attempt }, floor);
            }
            WatchItem::Entries { entries } => {
                let _ = mirror.absorb(entries);
            }
            WatchItem::Live => drop(caught_up.send_replace(true)),
            WatchItem::Unknown => {}
        }
    }
    PeerError::Broken
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
