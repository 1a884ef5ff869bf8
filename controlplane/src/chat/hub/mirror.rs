//! The two ends of a relay between replicas: the channel of a chat as a source of entries, and as a
//! copy that is filled with them.
//!
//! The newer owner's episode wins: sequence numbers begin at the owner's epoch times 2^32, so a copy
//! of an old owner's never takes the place of what runs here.

use tokio::sync::watch;

use super::channel::{Copied, Joined};
use super::{EntryCopy, EpisodeCopy, EpisodeKey};

/// A chat's preview as another replica is told it.
pub struct Source {
    channel: Joined,
}

impl Source {
    pub(super) const fn new(channel: Joined) -> Self {
        Self { channel }
    }

    /// Wakes after every change; read with [`since`](Self::since) afterwards.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.channel.news()
    }

    /// The open episode after a place in `has`, up to about `max_bytes` of text; none: none is open,
    /// or what is here is itself a copy.
    #[must_use]
    pub fn since(&self, has: EpisodeKey, seq: u64, max_bytes: usize) -> Option<EpisodeCopy> {
        self.channel.copy_since(has, seq, max_bytes)
    }
}

/// A chat's preview that is filled from another replica. What it holds stays in the channel for as
/// long as somebody views it.
pub struct Mirror {
    channel: Joined,
    /// Of our episode in the channel.
    turnover: u64,
}

impl Mirror {
    pub(super) const fn new(channel: Joined) -> Self {
        Self { channel, turnover: 0 }
    }

    /// What was copied last: the episode and its newest sequence number; nothing: the default.
    #[must_use]
    pub fn place(&self) -> (EpisodeKey, u64) {
        self.channel.copied(self.turnover).unwrap_or_default()
    }

    /// Begins a copy. Whether it did: what runs here may be newer.
    pub fn open(&mut self, key: EpisodeKey, floor: u64) -> bool {
        match self.channel.begin_copy(key, floor) {
            Copied::Now(turnover) => {
                self.turnover = turnover;
                true
            }
            Copied::NotHere => false,
        }
    }

    /// Adds entries to the copy. Whether it is still there.
    pub fn absorb(&self, entries: Vec<EntryCopy>) -> bool {
        self.channel.absorb(self.turnover, entries)
    }

    /// The source has no episode any more.
    pub fn close(&self) {
        self.channel.close_copy(self.turnover);
    }
}
