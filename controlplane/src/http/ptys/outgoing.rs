//! From the terminal to the viewer. While the viewer takes nothing, nothing is read for it: the daemon
//! holds what waits in its log and skips what is too far behind. One that stays that way is closed
//! with the offset to come back with.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::message::PtyTold;
use super::session::{Feed, Step, Viewer};
use crate::http::code::Code;
use crate::http::stream::Access;
use crate::http::stream::ending::Ending;

const PING_EVERY: Duration = Duration::from_secs(20);
/// Silence of the other side after which it counts as gone.
const PONG_PATIENCE: Duration = Duration::from_secs(60);
/// How long one frame may wait for the socket.
const STALL: Duration = Duration::from_secs(10);
/// How long a full window may wait for an acknowledgement: a page in the background works slowly.
const ACK_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes in one binary frame: with [`STALL`], three kilobytes a second are fast enough.
const FRAME_MAX_BYTES: usize = 32 * 1024;

/// The direction out.
pub(super) struct Outgoing {
    pub(super) sink: SplitSink<WebSocket, Message>,
    pub(super) feed: Feed,
    pub(super) viewer: Arc<Viewer>,
    pub(super) replies: mpsc::Receiver<PtyTold>,
    pub(super) access: Access,
    pub(super) soft: CancellationToken,
    /// Binary bytes that may be on their way; none: as the socket takes them.
    pub(super) window: Option<u64>,
    /// Binary bytes handed to the socket.
    pub(super) sent: u64,
    /// One past the last byte of output that was handed to the socket.
    pub(super) offset: u64,
    /// Bytes of a screen that are still to be handed over.
    pub(super) screen_missing: u64,
}

impl Outgoing {
    /// Tells what comes until something ends it. `first` is told before all.
    pub(super) async fn run(&mut self, first: PtyTold) -> Ending {
        if let Err(ending) = self.tell(first).await {
            return ending;
        }
        let mut ticks = tokio::time::interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut acked = self.viewer.acked.subscribe();
        let mut full_since = None;
        loop {
            let has_room = self
                .window
                .is_none_or(|window| self.sent.saturating_sub(*acked.borrow_and_update()) < window);
            let full_until = match has_room {
                true => {
                    full_since = None;
                    None
                }
                false => Some(*full_since.get_or_insert_with(Instant::now) + ACK_PATIENCE),
            };
            let step = tokio::select! {
                () = self.soft.cancelled() => Err(Ending::shutting_down()),
                verdict = self.access.ended() => Err(Ending::of_access(verdict)),
                _ = ticks.tick() => self.tick().await,
                Some(told) = self.replies.recv() => self.tell(told).await,
                step = self.feed.next(), if has_room && !self.feed.is_over() => self.take(step).await,
                // The sender lives in the viewer that is held here.
                _ = acked.changed(), if !has_room => Ok(()),
                () = until(full_until) => Err(self.too_slow()),
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), Ending> {
        match step {
            Step::Tell(told) => self.tell(*told).await,
            Step::Bytes(bytes) => self.bytes(bytes).await,
            Step::Replaced => Err(Ending(4409, "replaced".to_owned())),
            Step::Gone(code) => Err(Ending(4404, code)),
        }
    }

    async fn bytes(&mut self, mut bytes: Bytes) -> Result<(), Ending> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(FRAME_MAX_BYTES));
            let length = piece.len() as u64;
            self.send(Message::Binary(piece)).await?;
            self.sent += length;
            let of_screen = length.min(self.screen_missing);
            self.screen_missing -= of_screen;
            self.offset += length - of_screen;
        }
        Ok(())
    }

    async fn tell(&mut self, told: PtyTold) -> Result<(), Ending> {
        match &told {
            PtyTold::Attached { offset, screen, .. } => {
                self.offset = *offset;
                self.screen_missing = screen.map_or(0, |screen| screen.len);
            }
            PtyTold::Screen { screen } => {
                (self.offset, self.screen_missing) = (screen.offset, screen.len);
            }
            PtyTold::Dropped { to, .. } => self.offset = *to,
            _ => {}
        }
        self.send(Message::text(told.text())).await
    }

    async fn tick(&mut self) -> Result<(), Ending> {
        let silent = self.viewer.silent_since();
        if silent.is_some_and(|since| since.elapsed() > PONG_PATIENCE) {
            return Err(Ending::of(4408, Code::PingTimeout));
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Ending> {
        let late = tokio::time::timeout(STALL, self.sink.send(message));
        tokio::select! {
            sent = late => match sent {
                Ok(sent) => sent.map_err(Ending::from),
                Err(_) => Err(self.too_slow()),
            },
            verdict = self.access.ended() => Err(Ending::of_access(verdict)),
            () = self.soft.cancelled() => Err(Ending::shutting_down()),
        }
    }

    fn too_slow(&self) -> Ending {
        Ending(4008, format!("{} {}", Code::SlowConsumer.as_str(), self.offset))
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
