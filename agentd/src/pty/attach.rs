//! One viewer of one terminal: two directions that never wait for each other.
//!
//! ```text
//! stream ──► hear: input in order ──► keeper          one input at a time; a few are read ahead
//! stream ◄── tell: mailbox, writer, sizes, output     from the log, at the viewer's own pace
//! ```
//!
//! A viewer holds an offset and a small mailbox. One that does not read costs its own lateness; one
//! that is too far behind gets a gap and a new screen.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shared::limits::{PTY_INPUT_MAX_BYTES, RAW_FRAME_MAX_BYTES};
use shared::protocol::pty::{PtyAttached, PtyItem, PtySay, PtySize};
use shared::protocol::{ErrorCode, Reply, WireError};
use shared::wire::incoming::Answerer;
use shared::wire::io::WriteError;
use shared::wire::{Frame, FrameKind, FrameReader};
use tokio::sync::Notify;

use super::roster::{AttachmentId, Event};
use super::session::Session;
use crate::process::log::Piece;

/// Inputs that are read ahead of the one that is being typed, so that a resize or a take-over
/// behind a large paste is heard.
const AHEAD: usize = 4;
/// Refusals that wait to be told; more of them are told as one.
const REFUSALS_MAX: usize = 32;
/// Bytes this close to the end are in the page cache: they are read in place.
const WARM_BYTES: u64 = 1024 * 1024;

/// What one viewer wants.
pub(super) struct Viewing {
    pub(super) session: Arc<Session>,
    pub(super) id: AttachmentId,
    pub(super) viewer: String,
    /// The size of its window.
    pub(super) size: Option<PtySize>,
    pub(super) skip_behind_bytes: Option<u64>,
    /// Where its output goes on.
    pub(super) offset: u64,
    /// The size that it was told.
    pub(super) told_size: Option<PtySize>,
    pub(super) taken_seq: u64,
}

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The viewer wants no more.
    Detached,
    /// Its stream is gone, or it does not keep to the protocol.
    Lost,
    /// Everything was told.
    Told,
}

/// From hearing to telling.
#[derive(Default)]
struct Mailbox {
    state: Mutex<Mail>,
    filled: Notify,
}

#[derive(Default)]
struct Mail {
    /// Highest number that was taken, if that is news.
    taken: Option<u64>,
    refusals: VecDeque<PtyItem>,
}

impl Mailbox {
    fn taken(&self, seq: u64) {
        self.lock().taken = Some(seq);
        self.filled.notify_one();
    }

    fn refuse(&self, seq: Option<u64>, error: WireError) {
        let mut mail = self.lock();
        if mail.refusals.len() >= REFUSALS_MAX {
            mail.refusals.pop_back();
        }
        mail.refusals.push_back(PtyItem::Refused { seq, error });
        drop(mail);
        self.filled.notify_one();
    }

    fn next(&self) -> Option<PtyItem> {
        let mut mail = self.lock();
        if let Some(seq) = mail.taken.take() {
            return Some(PtyItem::Taken { seq });
        }
        mail.refusals.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewing {
    /// Serves the viewer until it goes, or everything is told. Leaves the roster as it ends.
    pub(super) async fn serve(
        self,
        (head, screen): (PtyAttached, Bytes),
        frames: FrameReader,
        mut answer: Answerer,
        gone: impl Future<Output = ()>,
    ) -> Result<(), WriteError> {
        let (session, id) = (Arc::clone(&self.session), self.id);
        let mailbox = Mailbox::default();
        let hearing = Hearing {
            session: Arc::clone(&session),
            id,
            viewer: self.viewer.clone(),
            size: self.size,
            taken: self.taken_seq,
            mailbox: &mailbox,
        };
        let soft = session.lifecycle.soft();
        let served = tokio::select! {
            heard = hearing.hear(frames) => Ok(heard),
            told = self.tell((head, screen), &mut answer, &mailbox) => {
                told.map(|()| Ending::Told)
            }
            () = gone => Ok(Ending::Lost),
            () = soft.cancelled() => Ok(Ending::Lost),
        };
        let is_orderly = matches!(served, Ok(Ending::Detached));
        session.apply(if is_orderly { Event::Detached(id) } else { Event::Lost(id) });
        match served? {
            // Half an item may have been written: only what ends by itself ends in order.
            Ending::Told => answer.finish().await,
            Ending::Detached | Ending::Lost => Ok(()),
        }
    }

    /// Tells the viewer everything, until the end.
    async fn tell(
        mut self,
        (head, screen): (PtyAttached, Bytes),
        answer: &mut Answerer,
        mailbox: &Mailbox,
    ) -> Result<(), WriteError> {
        let mut told_writer = (head.pty.writer.clone(), head.is_writer);
        answer.reply(&Reply::Ok(head)).await?;
        answer.raw(screen).await?;
        let session = Arc::clone(&self.session);
        let mut roster = session.roster_changes();
        let mut changes = session.process.log().changes();
        let mut sizes = session.process.sizes();
        let mut phases = session.process.phases();
        loop {
            // Before the look, so that nothing falls between look and wait.
            roster.borrow_and_update();
            changes.borrow_and_update();
            sizes.borrow_and_update();
            let is_over = !phases.borrow_and_update().is_running();
            if let Some(item) = mailbox.next() {
                answer.item(&item).await?;
                continue;
            }
            if !session.roster(|roster| roster.is_attached(self.id)) {
                return answer.item(&PtyItem::Replaced).await;
            }
            let writer = self.writer();
            if writer != told_writer {
                let (viewer, is_you) = writer.clone();
                answer.item(&PtyItem::Writer { viewer, is_you }).await?;
                told_writer = writer;
                continue;
            }
            if self.tell_output(answer).await? {
                continue;
            }
            if is_over {
                session.catch_up_quietly().await;
                return answer.item(&PtyItem::End { pty: session.view() }).await;
            }
            tokio::select! {
                () = mailbox.filled.notified() => {}
                changed = roster.changed() => drop(changed),
                changed = changes.changed() => drop(changed),
                changed = sizes.changed() => drop(changed),
                changed = phases.changed() => drop(changed),
            }
        }
    }

    fn writer(&self) -> (Option<String>, bool) {
        self.session
            .roster(|roster| (roster.writer().map(str::to_owned), roster.is_writer(self.id)))
    }

    /// The next piece of output, or the size before it. False: there is none.
    async fn tell_output(&mut self, answer: &mut Answerer) -> Result<bool, WriteError> {
        let total = self.session.process.log().extent().total;
        let (size, next_size) = self.session.process.sizes().borrow().at(self.offset);
        if self.told_size != Some(size) {
            self.told_size = Some(size);
            answer.item(&PtyItem::Resized { offset: self.offset, size }).await?;
            return Ok(true);
        }
        if self.offset >= total {
            return Ok(false);
        }
        let is_far = self.skip_behind_bytes.is_some_and(|most| total - self.offset > most);
        if is_far && self.session.live.offset() > self.offset {
            self.skip(answer, self.offset).await?;
            return Ok(true);
        }
        let until = next_size.map_or(total, |(next, _)| next.min(total));
        match self.read(until - self.offset, total).await? {
            Some(Piece::Bytes { offset, bytes }) => {
                self.offset = offset + bytes.len() as u64;
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                answer.item_with(&PtyItem::Chunk { offset, len }, bytes.into()).await?;
            }
            Some(Piece::Gap { to, .. }) => self.skip(answer, to).await?,
            None => return Ok(false),
        }
        Ok(true)
    }

    async fn read(&self, room: u64, total: u64) -> std::io::Result<Option<Piece>> {
        let (log, offset) = (Arc::clone(self.session.process.log()), self.offset);
        let most = usize::try_from(room).unwrap_or(usize::MAX).min(RAW_FRAME_MAX_BYTES);
        let read = move || log.read(offset, most);
        if total - offset <= WARM_BYTES {
            return read();
        }
        self.session.lifecycle.blocking("pty.read", read).await
    }

    /// Leaves bytes out, those before `to` at least, and gives a screen in their place.
    async fn skip(&mut self, answer: &mut Answerer, to: u64) -> Result<(), WriteError> {
        let mut progress = self.session.live.progress();
        let ahead = progress.wait_for(|offset| *offset >= to && *offset > self.offset);
        // The screen is kept up to date as long as the terminal is there.
        drop(ahead.await);
        let session = Arc::clone(&self.session);
        let (screen, bytes) =
            self.session.lifecycle.blocking("pty.skip", move || session.live.screen_anew()).await;
        answer.item(&PtyItem::Dropped { from: self.offset, to: screen.offset }).await?;
        answer.item_with(&PtyItem::Screen { screen }, bytes.into()).await?;
        (self.offset, self.told_size) = (screen.offset, Some(screen.size));
        Ok(())
    }
}

struct Hearing<'a> {
    session: Arc<Session>,
    id: AttachmentId,
    viewer: String,
    size: Option<PtySize>,
    /// Highest number that was taken or waits.
    taken: u64,
    mailbox: &'a Mailbox,
}

type Typed = Pin<Box<dyn Future<Output = (u64, Result<(), WireError>)> + Send>>;

impl Hearing<'_> {
    async fn hear(mut self, mut frames: FrameReader) -> Ending {
        let mut waiting: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut typing: Option<Typed> = None;
        loop {
            if typing.is_none() {
                typing = waiting.pop_front().map(|(seq, data)| self.type_in(seq, data));
            }
            let frame = tokio::select! {
                (seq, typed) = running(&mut typing) => {
                    typing = None;
                    match typed {
                        Ok(()) => {
                            self.session.note_taken(&self.viewer, seq);
                            self.mailbox.taken(seq);
                        }
                        Err(error) => self.mailbox.refuse(Some(seq), error),
                    }
                    continue;
                }
                frame = frames.next(), if waiting.len() < AHEAD => frame,
            };
            let say = match frame {
                Ok(Some(Frame { kind: FrameKind::Message, body })) => shared::wire::decode(&body),
                // What was said before is still typed: it is in the keeper's hands, or next.
                Ok(None) => {
                    self.finish(typing, waiting).await;
                    return Ending::Detached;
                }
                Ok(Some(_)) | Err(_) => return Ending::Lost,
            };
            match say {
                Ok(PtySay::Input { seq, data }) => waiting.extend(self.input(seq, data)),
                Ok(say) => self.do_at_once(say),
                Err(error) => {
                    let text = error.to_string();
                    self.refuse(None, ErrorCode::InvalidRequest, &text);
                }
            }
        }
    }

    async fn finish(&self, typing: Option<Typed>, waiting: VecDeque<(u64, Vec<u8>)>) {
        let mut last = match typing {
            Some(typing) => Some(typing.await),
            None => None,
        };
        for (seq, data) in waiting {
            last = Some(self.type_in(seq, data).await);
        }
        if let Some((seq, Ok(()))) = last {
            self.session.note_taken(&self.viewer, seq);
        }
    }

    /// What is to be typed, if it may be.
    fn input(&mut self, seq: u64, data: Vec<u8>) -> Option<(u64, Vec<u8>)> {
        if data.is_empty() || data.len() > PTY_INPUT_MAX_BYTES || seq == 0 {
            let text = format!("an input has 1 to {PTY_INPUT_MAX_BYTES} bytes and a number from 1");
            self.refuse(Some(seq), ErrorCode::InvalidRequest, &text);
            return None;
        }
        if !self.session.roster(|roster| roster.is_writer(self.id)) {
            self.refuse(Some(seq), ErrorCode::ReadOnly, "another viewer writes, or nobody does");
            return None;
        }
        if !self.session.process.phase().is_running() {
            self.mailbox.refuse(Some(seq), crate::process::terminal::exited());
            return None;
        }
        // It was typed before, over an earlier stream of this viewer.
        if seq <= self.taken {
            self.mailbox.taken(self.taken);
            return None;
        }
        self.taken = seq;
        Some((seq, data))
    }

    fn do_at_once(&mut self, say: PtySay) {
        match say {
            PtySay::Resize { size } => {
                self.size = Some(size);
                self.apply_size();
            }
            PtySay::Take => {
                self.session.apply(Event::Take(self.id));
                self.apply_size();
            }
            PtySay::Release => drop(self.session.apply(Event::Release(self.id))),
            PtySay::Input { .. } | PtySay::Unknown => {}
        }
    }

    /// The window of the one who writes is the terminal's size.
    fn apply_size(&self) {
        if let (Some(size), true) =
            (self.size, self.session.roster(|roster| roster.is_writer(self.id)))
        {
            self.session.want_size(size);
        }
    }

    fn type_in(&self, seq: u64, data: Vec<u8>) -> Typed {
        let (process, viewer) = (self.session.process.clone(), self.viewer.clone());
        Box::pin(async move { (seq, process.type_in(viewer, seq, data).await) })
    }

    fn refuse(&self, seq: Option<u64>, code: ErrorCode, text: &str) {
        self.mailbox.refuse(seq, WireError::refused(code, text));
    }
}

/// The typing that runs; pending while there is none. Cancel-safe: the future stays where it is.
async fn running(typing: &mut Option<Typed>) -> (u64, Result<(), WireError>) {
    match typing {
        Some(typing) => typing.await,
        None => std::future::pending().await,
    }
}
