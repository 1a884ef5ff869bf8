//! People who look: each follows one chat from one control plane after the other, fast or slowly, and
//! resumes from its cursor whenever it is cut off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controlplane::chat::client::ClientState;
use controlplane::chat::event::{ChatEvent, MessageView};
use controlplane::chat::hub::Hub;
use controlplane::chat::stream::Streams;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shared::ids::ChatId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::director::Director;

/// The control planes that run, by their number: what a viewer can connect to.
pub type Doors = watch::Sender<Vec<Option<Door>>>;

/// One control plane that runs.
#[derive(Clone)]
pub struct Door {
    pub streams: Streams,
    /// What it says while it drives a chat.
    pub hub: Hub,
    /// Cancelled when it dies.
    pub gone: CancellationToken,
}

/// One viewer. All clones are one.
#[derive(Clone)]
pub struct Viewer {
    pub chat: ChatId,
    number: u64,
    director: Director,
    state: Arc<Mutex<ClientState>>,
    /// Messages that were shown and not compared with the database yet.
    shown: Arc<Mutex<Vec<MessageView>>>,
}

impl Viewer {
    /// Of `chat`; has seen nothing.
    pub fn new(chat: ChatId, number: u64, director: Director) -> Self {
        Self { chat, number, director, state: Arc::default(), shown: Arc::default() }
    }

    /// Looks for as long as the world lasts.
    pub async fn look(self, doors: watch::Receiver<Vec<Option<Door>>>, seed: u64) {
        let mut doors = doors;
        let mut rng = StdRng::seed_from_u64(seed ^ self.number.wrapping_mul(0x51EE_9D03));
        let slow = rng.random_bool(0.3);
        loop {
            let door = {
                let Ok(open) = doors.wait_for(|doors| doors.iter().any(Option::is_some)).await
                else {
                    return;
                };
                let open: Vec<Door> = open.iter().flatten().cloned().collect();
                open[rng.random_range(0..open.len())].clone()
            };
            let batches = rng.random_range(1..40);
            let followed = self.follow(&door, batches, slow.then_some(&mut rng));
            door.gone.run_until_cancelled(followed).await;
            self.director.note(|| format!("viewer {} is cut off", self.number));
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..3_000))).await;
        }
    }

    /// Resumes and takes so many batches.
    async fn follow(&self, door: &Door, batches: usize, mut slow: Option<&mut StdRng>) {
        let cursor = self.lock().cursor.map(Ok);
        let mut stream = door.streams.subscribe(self.chat, cursor);
        for _ in 0..batches {
            let Ok(batch) = stream.next().await else { return };
            self.director.note(|| format!("viewer {} gets {}", self.number, batch.len()));
            for envelope in &batch {
                if let ChatEvent::Message { message } = &envelope.event {
                    lock(&self.shown).push(message.clone());
                }
                self.lock().apply(envelope);
            }
            if let Some(rng) = &mut slow {
                tokio::time::sleep(Duration::from_millis(rng.random_range(1..2_000))).await;
            }
        }
    }

    /// Resumes and reads until the snapshot is complete.
    pub async fn catch_up(&self, streams: &Streams) {
        let cursor = {
            let mut state = self.lock();
            state.ready = false;
            state.cursor
        };
        let mut stream = streams.subscribe(self.chat, cursor.map(Ok));
        while !self.lock().ready {
            let Ok(batch) = stream.next().await else { return };
            for envelope in &batch {
                self.lock().apply(envelope);
            }
        }
    }

    /// What it sees.
    pub fn state(&self) -> ClientState {
        self.lock().clone()
    }

    /// What it was shown since the last look.
    pub fn take_shown(&self) -> Vec<MessageView> {
        std::mem::take(&mut *lock(&self.shown))
    }

    fn lock(&self) -> MutexGuard<'_, ClientState> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
