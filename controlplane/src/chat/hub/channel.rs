//! The per-chat channel between one runner and any number of viewers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ids::ChatId;
use tokio::sync::watch;

use super::mirror::{Mirror, Source};
use super::{EntryCopy, Episode, EpisodeCopy, EpisodeKey, Piece, Walk};
use crate::chat::content::StoredPart;

/// Every chat that has a running episode or a viewer. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hub {
    channels: Arc<Mutex<HashMap<ChatId, Arc<Channel>>>>,
}

impl Hub {
    /// No chats yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an episode, in place of the one that was open. The caller owns the chat with `epoch`
    /// and has committed the row that names the episode.
    #[must_use]
    pub fn open(&self, chat: ChatId, key: EpisodeKey, epoch: u64) -> EpisodeWriter {
        let channel = self.join(chat);
        let turnover = channel.replace(Some(Episode::new(key, epoch)));
        EpisodeWriter { channel, turnover }
    }

    /// The chat's preview as other replicas are told it.
    #[must_use]
    pub fn source(&self, chat: ChatId) -> Source {
        Source::new(self.join(chat))
    }

    /// The chat's preview as it is filled from another replica.
    #[must_use]
    pub fn mirror(&self, chat: ChatId) -> Mirror {
        Mirror::new(self.join(chat))
    }

    /// The chat's channel, kept while the answer lives.
    pub(in crate::chat) fn join(&self, chat: ChatId) -> Joined {
        let channel = Arc::clone(lock(&self.channels).entry(chat).or_default());
        Joined { hub: self.clone(), chat, channel: Some(channel) }
    }

    #[cfg(test)]
    pub(in crate::chat) fn len(&self) -> usize {
        lock(&self.channels).len()
    }
}

/// One use of a chat's channel; the last one that ends lets the hub forget it.
pub(in crate::chat) struct Joined {
    hub: Hub,
    chat: ChatId,
    channel: Option<Arc<Channel>>,
}

impl std::ops::Deref for Joined {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        self.channel.as_ref().expect("it is taken out only when dropped")
    }
}

impl Clone for Joined {
    fn clone(&self) -> Self {
        self.hub.join(self.chat)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // Every use begins and ends under this lock, so the count is exact.
        let mut channels = lock(&self.hub.channels);
        drop(self.channel.take());
        if channels.get(&self.chat).is_some_and(|it| Arc::strong_count(it) == 1) {
            channels.remove(&self.chat);
        }
    }
}

/// One chat's preview and the news of it.
pub(in crate::chat) struct Channel {
    state: Mutex<State>,
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    episode: Option<Episode>,
    /// The episode is another replica's.
    is_copy: bool,
    turnover: u64,
    published_bytes: u64,
}

/// Whether a copy was begun.
pub(super) enum Copied {
    /// With this turnover.
    Now(u64),
    /// A newer owner's episode is open.
    NotHere,
}

/// What a viewer finds in the channel at one moment.
#[derive(Debug)]
pub(in crate::chat) struct Glance {
    /// Raised by every opening and closing.
    pub turnover: u64,
    /// The episode and what to send from it, if one is open.
    pub preview: Option<(EpisodeKey, Walk)>,
}

impl Default for Channel {
    fn default() -> Self {
        Self { state: Mutex::default(), news: watch::Sender::new(()) }
    }
}

impl Channel {
    /// Wakes after every change; read with [`glance`](Self::glance) afterwards.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Raised by every opening and closing.
    pub fn turnover(&self) -> u64 {
        lock(&self.state).turnover
    }

    /// Bytes that were ever published to the channel.
    pub fn published_bytes(&self) -> u64 {
        lock(&self.state).published_bytes
    }

    /// What a viewer who has `seq` of the episode `has` is to be sent, up to about `max_bytes`.
    pub fn glance(&self, has: EpisodeKey, seq: u64, max_bytes: usize) -> Glance {
        let state = lock(&self.state);
        let preview = state.episode.as_ref().map(|episode| {
            // A place in another episode is no place in this one.
            let seq = if episode.key() == has { seq } else { 0 };
            (episode.key(), episode.since(seq, max_bytes))
        });
        Glance { turnover: state.turnover, preview }
    }

    fn replace(&self, episode: Option<Episode>) -> u64 {
        let turnover = {
            let mut state = lock(&self.state);
            state.episode = episode;
            state.is_copy = false;
            state.turnover += 1;
            state.turnover
        };
        self.news.send_replace(());
        turnover
    }

    pub(super) fn copy_since(
        &self,
        has: EpisodeKey,
        seq: u64,
        max_bytes: usize,
    ) -> Option<EpisodeCopy> {
        let state = lock(&self.state);
        let episode = state.episode.as_ref().filter(|_| !state.is_copy)?;
        let known = episode.key() == has;
        let mut copy = episode.copy_since(if known { seq } else { episode.floor() }, max_bytes);
        copy.reset |= !known;
        Some(copy)
    }

    pub(super) fn begin_copy(&self, key: EpisodeKey, floor: u64) -> Copied {
        let turnover = {
            let mut state = lock(&self.state);
            let of_newer = |open: &Episode| open.floor() >> 32 > floor >> 32;
            let of_here = |open: &Episode| open.floor() >> 32 == floor >> 32 && !state.is_copy;
            if state.episode.as_ref().is_some_and(|open| of_newer(open) || of_here(open)) {
                return Copied::NotHere;
            }
            state.episode = Some(Episode::copy_of(key, floor));
            state.is_copy = true;
            state.turnover += 1;
            state.turnover
        };
        self.news.send_replace(());
        Copied::Now(turnover)
    }

    pub(super) fn absorb(&self, turnover: u64, entries: Vec<EntryCopy>) -> bool {
        let mut state = lock(&self.state);
        if state.turnover != turnover {
            return false;
        }
        let State { episode: Some(episode), published_bytes, .. } = &mut *state else {
            return false;
        };
        for entry in entries {
            *published_bytes += episode.absorb(entry) as u64;
        }
        drop(state);
        self.news.send_replace(());
        true
    }

    pub(super) fn copied(&self, turnover: u64) -> Option<(EpisodeKey, u64)> {
        let state = lock(&self.state);
        let ours = state.episode.as_ref().filter(|_| state.turnover == turnover)?;
        Some((ours.key(), ours.last_seq()))
    }

    pub(super) fn close_copy(&self, turnover: u64) {
        {
            let mut state = lock(&self.state);
            if state.turnover != turnover || !state.is_copy {
                return;
            }
            state.episode = None;
            state.turnover += 1;
        }
        self.news.send_replace(());
    }
}

/// Publishes one episode; closes it when dropped, unless another took its place.
pub struct EpisodeWriter {
    channel: Joined,
    turnover: u64,
}

impl EpisodeWriter {
    /// Adds `piece` and wakes the viewers. Never waits. Stale writers are ignored.
    pub fn publish(&self, piece: Piece<'_>) {
        self.with(|state| {
            if let Some(episode) = &mut state.episode {
                state.published_bytes += episode.push(piece) as u64;
            }
        });
        self.channel.news.send_replace(());
    }

    /// See [`Episode::partial`]. Empty if another episode took this one's place.
    #[must_use]
    pub fn partial(&self) -> Vec<StoredPart> {
        self.read(Episode::partial)
    }

    /// See [`Episode::complete`].
    #[must_use]
    pub fn complete(&self) -> Vec<StoredPart> {
        self.read(Episode::complete)
    }

    /// See [`Episode::model_bytes`].
    #[must_use]
    pub fn model_bytes(&self) -> usize {
        self.read(Episode::model_bytes)
    }

    fn read<T: Default>(&self, read: impl FnOnce(&Episode) -> T) -> T {
        self.with(|state| state.episode.as_ref().map(read)).flatten().unwrap_or_default()
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut state = lock(&self.channel.state);
        (state.turnover == self.turnover).then(|| act(&mut state))
    }
}

impl Drop for EpisodeWriter {
    fn drop(&mut self) {
        let closed = self.with(|state| {
            state.episode = None;
            state.turnover += 1;
        });
        if closed.is_some() {
            self.channel.news.send_replace(());
        }
    }
}

/// The sections under these locks run no foreign code, so a poisoned lock holds whole state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
