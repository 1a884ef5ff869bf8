//! A viewer's attachment to a PTY: one stream that both sides speak on.
//!
//! ```text
//! voice ──PtySay──►  daemon  ──PtyItem, raw──►  events
//! ```
//!
//! The two halves are apart, because they wait apart: while the program does not read what was
//! typed, its output still comes. What comes is checked: offsets go on without a gap or a repeat, a
//! screen has the bytes it announced. A stream that ends without its last item is *unknown*.

use bytes::Bytes;
use shared::protocol::WireError;
use shared::protocol::pty::{PtyAttached, PtyItem, PtySay, PtyScreen, PtySize, PtyView};
use shared::wire::{Frame, FrameKind, FrameWriter, WriteError};

use super::body::{next_frame, raw};
use super::client::{CallError, Rest, UnknownReason, malformed, unknown};

/// Largest screen: 1,000 by 1,000 cells in changing colours, and the lines above it.
const SCREEN_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// An attached viewer.
pub struct PtyAttachment {
    /// How it stands at the start. The screen's bytes, if there is one, are the first events.
    pub attached: PtyAttached,
    /// What it is told.
    pub events: PtyEvents,
    /// What it says.
    pub voice: PtyVoice,
}

impl PtyAttachment {
    pub(super) fn new(attached: PtyAttached, rest: Rest, writer: FrameWriter) -> Self {
        let events = PtyEvents {
            rest,
            next_offset: attached.offset,
            screen_missing: attached.screen.map_or(0, |screen| screen.len),
            pending: None,
            ended: false,
        };
        Self { attached, events, voice: PtyVoice { writer } }
    }
}

/// One thing that a viewer is told.
#[derive(Clone, Debug, PartialEq)]
pub enum PtyEvent {
    /// Output, 1 byte to 256 KiB.
    Output {
        /// Of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The next bytes of the screen that was announced.
    ScreenBytes(Bytes),
    /// A screen follows, in place of what was dropped.
    Screen(PtyScreen),
    /// Bytes that this viewer is not given: `[from, to)`.
    Dropped {
        /// First one.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The terminal has this size from here on.
    Resized {
        /// Bytes from here on are for it.
        offset: u64,
        /// The new size.
        size: PtySize,
    },
    /// Who writes has changed.
    Writer {
        /// None: nobody.
        viewer: Option<String>,
        /// Whether it is this viewer.
        is_you: bool,
    },
    /// Input up to this number has reached the terminal.
    Taken(u64),
    /// Something that was said is not done.
    Refused {
        /// Of the input, if it was one.
        seq: Option<u64>,
        /// Why.
        error: WireError,
    },
    /// The program ended and every byte was told. The last event.
    End(Box<PtyView>),
    /// Another attachment has this viewer's name now. The last event.
    Replaced,
}

/// What an attached viewer is told. Dropping it ends the attachment.
pub struct PtyEvents {
    rest: Rest,
    next_offset: u64,
    /// Bytes of an announced screen that have not come yet.
    screen_missing: u64,
    /// A chunk's offset and length whose bytes have not come yet, so that `next` is cancel-safe.
    pending: Option<(u64, u32)>,
    ended: bool,
}

impl PtyEvents {
    /// One past the last byte of output that was told.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The next event; none after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<PtyEvent>, CallError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if self.screen_missing > 0 {
                return self.screen_bytes().await.map(Some);
            }
            if let Some((offset, len)) = self.pending {
                let bytes = raw(next_frame(&mut self.rest).await?)?;
                self.pending = None;
                if bytes.len() != len as usize {
                    return Err(malformed("a chunk has another length than announced"));
                }
                self.next_offset = offset + u64::from(len);
                return Ok(Some(PtyEvent::Output { offset, bytes }));
            }
            if let Some(event) = self.item().await? {
                return Ok(Some(event));
            }
        }
    }

    async fn screen_bytes(&mut self) -> Result<PtyEvent, CallError> {
        let bytes = raw(next_frame(&mut self.rest).await?)?;
        let Some(missing) = self.screen_missing.checked_sub(bytes.len() as u64) else {
            return Err(malformed("a screen has more bytes than announced"));
        };
        self.screen_missing = missing;
        Ok(PtyEvent::ScreenBytes(bytes))
    }

    /// The next item; none for one that only announces, or that this build does not know.
    async fn item(&mut self) -> Result<Option<PtyEvent>, CallError> {
        let Frame { kind: FrameKind::Message, body } = next_frame(&mut self.rest).await? else {
            return Err(malformed("raw bytes without their head"));
        };
        let item = shared::wire::decode(&body).map_err(|error| malformed(&error.to_string()))?;
        Ok(Some(match item {
            PtyItem::Chunk { offset, len } => {
                if offset != self.next_offset || offset.checked_add(u64::from(len)).is_none() {
                    return Err(malformed("a chunk does not continue the output"));
                }
                self.pending = Some((offset, len));
                return Ok(None);
            }
            PtyItem::Dropped { from, to } => {
                if from != self.next_offset || to < from {
                    return Err(malformed("a gap does not continue the output"));
                }
                self.next_offset = to;
                PtyEvent::Dropped { from, to }
            }
            PtyItem::Screen { screen } => {
                if screen.len > SCREEN_MAX_BYTES || screen.offset < self.next_offset {
                    return Err(malformed("a screen that cannot be"));
                }
                self.next_offset = screen.offset;
                self.screen_missing = screen.len;
                PtyEvent::Screen(screen)
            }
            PtyItem::Resized { offset, size } => PtyEvent::Resized { offset, size },
            PtyItem::Writer { viewer, is_you } => PtyEvent::Writer { viewer, is_you },
            PtyItem::Taken { seq } => PtyEvent::Taken(seq),
            PtyItem::Refused { seq, error } => PtyEvent::Refused { seq, error },
            PtyItem::End { pty } => {
                self.ended = true;
                PtyEvent::End(Box::new(pty))
            }
            PtyItem::Replaced => {
                self.ended = true;
                PtyEvent::Replaced
            }
            PtyItem::Unknown => return Ok(None),
        }))
    }
}

/// What an attached viewer says.
pub struct PtyVoice {
    writer: FrameWriter,
}

impl PtyVoice {
    /// Says one thing. Waits while the program does not read what was typed before. Not cancel-safe.
    pub async fn say(&mut self, say: &PtySay) -> Result<(), CallError> {
        self.writer.write(&Frame::message(say)).await.map_err(|error| match error {
            WriteError::Io(_) => unknown(UnknownReason::LinkLost),
            WriteError::Frame(error) => malformed(&error.to_string()),
        })
    }

    /// Detaches in order: the role of the writer is given up.
    pub async fn detach(mut self) {
        // A link that is gone has detached it already.
        let _ = self.writer.finish().await;
    }
}
