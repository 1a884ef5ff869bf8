//! What viewers are shown before it is stored: the parts of running episodes, in memory.
//!
//! ```text
//!  runner ──EpisodeWriter──► Channel (one per chat) ──► every Subscription reads at its own pace
//!                             │ episode: a log          (`stream`)
//!                             └ watch: "something new"
//! ```
//!
//! Nothing here is the truth: the row is. A viewer pulls, so a slow one costs a place in the log
//! and no buffer; see [`Episode`]. Nothing here touches a disk or waits.
//!
//! A replica on which viewers of a chat are, and not its runner, holds a copy of the episode: a
//! [`Mirror`] that takes entry by entry what a [`Source`] on the runner's replica gives, with the
//! same sequence numbers. So a cursor of one replica is good on every other.
//!
//! Invariants: an episode is opened after the row that names it was committed, and closed or
//! replaced after the commit that makes it history; every opening and closing raises the channel's
//! `turnover`. A viewer that reads the row after the turnover it saw therefore knows at least what
//! the runner had committed by then.

mod channel;
mod episode;
mod mirror;

pub(super) use channel::Joined;
pub use channel::{EpisodeWriter, Hub};
pub use episode::{EntryCopy, Episode, EpisodeCopy, EpisodeKey, Piece, Walk};
pub use mirror::{Mirror, Source};
