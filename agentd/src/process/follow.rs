//! Following one log: bytes as they come, from any offset, for as many followers as ask.
//!
//! A follower holds an offset and nothing else: it reads from the log at its own pace, wakes on the
//! log's changes, and costs a slow reader nothing but its own lateness (what was dropped meanwhile
//! is told as such).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use shared::lifecycle::Lifecycle;
use shared::limits::{FOLLOW_BYTES_PER_SECOND, RAW_FRAME_MAX_BYTES};
use shared::protocol::process::{OutputStream, ProcessView};
use tokio::sync::watch;
use tokio::time::Instant;

use super::log::Piece;
use super::machine::Phase;
use super::pace::Pace;
use super::table::Process;

/// Bytes this close to the end are in the page cache: they are read in place.
const WARM_BYTES: u64 = 1024 * 1024;

/// Follows one process's output.
pub struct Follower {
    process: Arc<Process>,
    offset: u64,
    pace: Pace,
    changes: watch::Receiver<u64>,
    phases: watch::Receiver<Phase>,
    lifecycle: Lifecycle,
}

/// What comes next.
#[derive(Debug)]
pub enum FollowStep {
    /// Bytes of one stream.
    Chunk {
        /// Of the first byte.
        offset: u64,
        /// Who wrote them.
        stream: OutputStream,
        /// 1 byte to 256 KiB.
        bytes: Bytes,
    },
    /// Bytes that were dropped before they could be read: `[from, to)`.
    Dropped {
        /// First one.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The process ended and everything up to then was given.
    End(ProcessView),
}

impl Follower {
    pub(super) fn new(process: Arc<Process>, offset: u64, lifecycle: Lifecycle) -> Self {
        let (changes, phases) = (process.log.changes(), process.phase.subscribe());
        let pace = Pace::new(FOLLOW_BYTES_PER_SECOND);
        Self { process, offset, pace, changes, phases, lifecycle }
    }

    /// The process at this moment.
    #[must_use]
    pub fn view(&self) -> ProcessView {
        self.process.view()
    }

    /// Waits for what comes next. Cancel-safe: what was not given comes again.
    pub async fn next(&mut self) -> io::Result<FollowStep> {
        loop {
            // Before the look at the log, so that no change falls between look and wait.
            self.changes.borrow_and_update();
            let is_open = self.phases.borrow_and_update().is_running();
            let extent = self.process.log.extent();
            if self.offset < extent.total {
                let now = Instant::now().into_std();
                let next_at = self.pace.next_at(now);
                if next_at > now {
                    tokio::time::sleep_until(next_at.into()).await;
                    continue;
                }
                return self.step(extent.total).await;
            }
            if !is_open {
                return Ok(FollowStep::End(self.process.view()));
            }
            tokio::select! {
                changed = self.changes.changed() => drop(changed),
                changed = self.phases.changed() => drop(changed),
            }
        }
    }

    async fn step(&mut self, total: u64) -> io::Result<FollowStep> {
        let (process, offset) = (Arc::clone(&self.process), self.offset);
        let read = move || {
            let left = usize::try_from(total - offset).unwrap_or(usize::MAX);
            let (stream, len) = process.log.stream_at(offset, left.min(RAW_FRAME_MAX_BYTES) as u64);
            let max = usize::try_from(len).unwrap_or(RAW_FRAME_MAX_BYTES);
            io::Result::Ok((stream, process.log.read(offset, max)?))
        };
        let is_warm = total - offset <= WARM_BYTES;
        let (stream, piece) =
            if is_warm { read()? } else { self.lifecycle.blocking("process.follow", read).await? };
        match piece {
            Some(Piece::Bytes { offset, bytes }) => {
                self.offset = offset + bytes.len() as u64;
                self.pace.sent(bytes.len(), Instant::now().into_std());
                Ok(FollowStep::Chunk { offset, stream, bytes: bytes.into() })
            }
            Some(Piece::Gap { from, to }) => {
                self.offset = to;
                Ok(FollowStep::Dropped { from, to })
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
