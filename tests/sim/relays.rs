//! Previews between the control planes of a world: what one says, entry by entry, is copied to where
//! viewers are, late and cut off now and then.
//!
//! The product's relay does the same over its wire (`fleet/previews`); both ends, the source and the
//! mirror of the hub, are the product's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controlplane::chat::hub::{EpisodeKey, Hub, Mirror};
use controlplane::chat::stream;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::ids::ChatId;
use shared::lifecycle::Lifecycle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::director::Director;
use crate::viewer::Door;

/// Before a relay that ended is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);
/// Text in one piece, so that an episode takes several.
const PIECE_BYTES: usize = 16;

/// The relays of one control plane.
#[derive(Clone)]
pub struct Relays(Arc<Inner>);

struct Inner {
    /// The number of this control plane.
    at: usize,
    hub: Hub,
    doors: watch::Receiver<Vec<Option<Door>>>,
    director: Director,
    lifecycle: Lifecycle,
    rng: Mutex<StdRng>,
    watched: Mutex<HashMap<ChatId, Watched>>,
}

/// A chat with viewers here.
struct Watched {
    viewers: usize,
    caught_up: watch::Sender<bool>,
    _stop: DropGuard,
}

/// One viewer; with the last one the relay ends.
struct Hold(Relays, ChatId);

impl Relays {
    /// Nobody views anything yet.
    pub fn new(
        (at, seed): (usize, u64),
        hub: Hub,
        doors: watch::Receiver<Vec<Option<Door>>>,
        director: Director,
        lifecycle: Lifecycle,
    ) -> Self {
        let rng = Mutex::new(StdRng::seed_from_u64(seed ^ 0x0E_1A75));
        let watched = Mutex::default();
        Self(Arc::new(Inner { at, hub, doors, director, lifecycle, rng, watched }))
    }

    async fn relay(self, chat: ChatId, caught_up: watch::Sender<bool>) {
        let mut mirror = self.0.hub.mirror(chat);
        let mut doors = self.0.doors.clone();
        loop {
            let other = {
                let doors = doors.borrow_and_update();
                let others = doors.iter().enumerate().filter(|(at, _)| *at != self.0.at);
                others.filter_map(|(_, door)| door.clone()).next()
            };
            let Some(other) = other else {
                // What is said here needs no relay.
                caught_up.send_replace(true);
                if doors.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let copied = self.copy(&other.hub, chat, &mut mirror, &caught_up);
            other.gone.run_until_cancelled(copied).await;
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    }

    /// Copies a number of pieces, and is cut off.
    async fn copy(
        &self,
        from: &Hub,
        chat: ChatId,
        mirror: &mut Mirror,
        caught_up: &watch::Sender<bool>,
    ) {
        let source = from.source(chat);
        let mut news = source.news();
        let (mut has, mut seq) = mirror.place();
        let mut is_open = true;
        let pieces = lock(&self.0.rng).random_range(1..60);
        for _ in 0..pieces {
            news.borrow_and_update();
            // Never no time at all: a timer that is due at once races with the database's threads.
            let late = lock(&self.0.rng).random_range(1..100);
            tokio::time::sleep(Duration::from_millis(late)).await;
            if let Some(copy) = source.since(has, seq, PIECE_BYTES) {
                is_open = true;
                if copy.reset {
                    // Refused when a newer owner's is here: what follows is passed over as well.
                    let _ = mirror.open(copy.key, copy.floor);
                }
                (has, seq) = (copy.key, copy.seq);
                if !copy.entries.is_empty() {
                    self.0.director.fired("preview is relayed");
                    let _ = mirror.absorb(copy.entries);
                    continue; // there may be more
                }
            } else {
                if is_open {
                    mirror.close();
                }
                (has, seq, is_open) = (EpisodeKey::default(), 0, false);
            }
            caught_up.send_replace(true);
            if news.changed().await.is_err() {
                return;
            }
        }
        self.0.director.fired("relay is cut off");
    }
}

impl stream::Relays for Relays {
    fn follow(&self, chat: ChatId) -> stream::Following {
        let mut watched = lock(&self.0.watched);
        let entry = watched.entry(chat).or_insert_with(|| {
            let (stop, caught_up) = (CancellationToken::new(), watch::Sender::new(false));
            let relay = self.clone().relay(chat, caught_up.clone());
            let stopped = stop.clone();
            self.0.lifecycle.spawn_serving("relay", async move {
                stopped.run_until_cancelled(relay).await;
            });
            Watched { viewers: 0, caught_up, _stop: stop.drop_guard() }
        });
        entry.viewers += 1;
        let caught_up = entry.caught_up.subscribe();
        drop(watched);
        stream::Following::new(caught_up, Box::new(Hold(self.clone(), chat)))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut watched = lock(&self.0.0.watched);
        if let Some(entry) = watched.get_mut(&self.1) {
            entry.viewers -= 1;
            if entry.viewers == 0 {
                watched.remove(&self.1);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
