//! From the viewer to the terminal: one frame after the other, and no further while one waits.
//!
//! Input that does not follow the last one is not passed on: the viewer sends it again after
//! `attached`, and passing on a later piece first would lose the earlier one.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::SplitStream;
use futures_util::{Stream, StreamExt};
use shared::limits::PTY_INPUT_MAX_BYTES;
use shared::protocol::pty::{PtySay, PtySize, WriteWish};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::message::{PtySaid, PtyTold};
use super::session::{Phase, Viewer};
use crate::fleet::PtyVoice;
use crate::http::code::Code;
use crate::http::stream::ending::Ending;

/// Frames that a viewer may send in one go; a hand, a mouse and acknowledgements need far fewer.
const FRAMES_FREE: u32 = 20_000;
/// After so long without a frame the count begins anew.
const FRAMES_REST: Duration = Duration::from_secs(1);
/// What each further frame waits.
const FRAME_PAUSE: Duration = Duration::from_millis(5);

/// The direction in.
pub(super) struct Incoming<S = SplitStream<WebSocket>> {
    pub(super) stream: S,
    pub(super) viewer: Arc<Viewer>,
    pub(super) replies: mpsc::Sender<PtyTold>,
    /// Whether the caller may change something.
    pub(super) may_write: bool,
    pub(super) voice: Voice,
    pub(super) counted_from: Instant,
    pub(super) frames: u32,
}

/// Whom the viewer speaks to.
pub(super) enum Voice {
    /// Nobody for now.
    None,
    /// The terminal; input up to the number was passed on or taken.
    Terminal(PtyVoice, u64),
    /// A program that has ended.
    Exited,
}

impl<S: Stream<Item = Result<Message, axum::Error>> + Unpin> Incoming<S> {
    /// Passes on until the viewer ends it.
    pub(super) async fn run(&mut self) -> Ending {
        loop {
            let step = tokio::select! {
                // A phase is entered before the viewer is told of it, so what it says to that is heard
                // in the new phase. The other way round it would be said to nobody, or be taken for
                // something that was passed on over the last link.
                biased;
                phase = self.viewer.phase() => {
                    self.voice = match phase {
                        Phase::Attached(voice, taken) => Voice::Terminal(voice, taken),
                        Phase::Exited => Voice::Exited,
                    };
                    Ok(())
                }
                message = self.stream.next() => self.hear(message).await,
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    /// The viewer has gone in order: gives up the writer's role.
    pub(super) async fn detach(self) {
        if let Voice::Terminal(voice, _) = self.voice {
            voice.detach().await;
        }
    }

    /// Passes over what the viewer still says, until it has gone: a socket that ends with something
    /// unheard in it is reset, and what the viewer has not read yet is lost, the reason of the end too.
    pub(super) async fn outlast(mut self) {
        self.voice = Voice::None;
        while let Some(Ok(_)) = self.stream.next().await {}
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Ending> {
        let now = Instant::now();
        self.viewer.heard(now);
        self.slow_down(now).await;
        let said = match message {
            Some(Ok(Message::Text(text))) => PtySaid::read(text.as_str()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Binary(_))) => {
                return Err(Ending(1003, "input comes in text frames".to_owned()));
            }
            Some(Ok(Message::Close(_))) | None => return Err(Ending(1000, String::new())),
            Some(Err(error)) => return Err(error.into()),
        };
        match said {
            Ok(said) => self.act(said).await,
            Err(refusal) => self.reply(refusal).await,
        }
        Ok(())
    }

    async fn slow_down(&mut self, now: Instant) {
        if now.duration_since(self.counted_from) > FRAMES_REST {
            (self.counted_from, self.frames) = (now, 0);
        }
        self.frames = self.frames.saturating_add(1);
        if self.frames > FRAMES_FREE {
            tokio::time::sleep(FRAME_PAUSE).await;
        }
    }

    async fn act(&mut self, said: PtySaid) {
        match said {
            PtySaid::Input { seq, text, base64 } => self.input(seq, text, base64).await,
            PtySaid::Resize { cols, rows } => {
                let size = PtySize::clamped(cols, rows);
                self.viewer.resized(size);
                self.say(None, PtySay::Resize { size }).await;
            }
            PtySaid::Take if !self.may_write => self.lacks_scope(None).await,
            PtySaid::Take => {
                if matches!(self.voice, Voice::None) {
                    self.viewer.wishes(WriteWish::Take);
                }
                self.say(None, PtySay::Take).await;
            }
            PtySaid::Release => self.say(None, PtySay::Release).await,
            PtySaid::Ack { bytes } => {
                self.viewer.acked.send_if_modified(|acked| {
                    let is_more = bytes > *acked;
                    *acked = bytes.max(*acked);
                    is_more
                });
            }
            PtySaid::Ping => self.reply(PtyTold::Pong).await,
        }
    }

    async fn input(&mut self, seq: u64, text: Option<String>, base64: Option<String>) {
        if !self.may_write {
            return self.lacks_scope(Some(seq)).await;
        }
        let data = PtySaid::bytes(text, base64);
        let Some(data) = data.filter(|data| (1..=PTY_INPUT_MAX_BYTES).contains(&data.len())) else {
            let detail = format!("1 to {PTY_INPUT_MAX_BYTES} bytes are due, as text or as base64");
            return self.reply(PtyTold::refused(Some(seq), Code::InvalidEvent, detail)).await;
        };
        match &mut self.voice {
            Voice::Terminal(_, last) if seq == *last + 1 => {
                *last = seq;
                self.say(Some(seq), PtySay::Input { seq, data }).await;
            }
            // Typed before: it was passed on, and its `taken` comes or came.
            Voice::Terminal(_, last) if seq <= *last => {}
            Voice::Terminal(_, last) => {
                let detail = format!("input {} is due next; wait for attached", *last + 1);
                self.reply(PtyTold::refused(Some(seq), Code::NotAttached, detail)).await;
            }
            Voice::None | Voice::Exited => self.say(Some(seq), PtySay::Input { seq, data }).await,
        }
    }

    /// Says it to the terminal, or tells the viewer why not.
    async fn say(&mut self, seq: Option<u64>, say: PtySay) {
        let refusal = match &mut self.voice {
            Voice::Terminal(voice, _) => {
                self.viewer.hold(true, Instant::now());
                let said = voice.say(&say).await;
                self.viewer.hold(false, Instant::now());
                if said.is_ok() {
                    return;
                }
                // The other direction finds out too, and attaches again.
                self.voice = Voice::None;
                not_attached(seq)
            }
            Voice::None => not_attached(seq),
            Voice::Exited => {
                let detail = "the program has ended".to_owned();
                PtyTold::Refused { seq, code: "exited".to_owned(), detail }
            }
        };
        // Sizes and roles are remembered for the next attachment; only input is lost for now.
        if seq.is_some() {
            self.reply(refusal).await;
        }
    }

    async fn lacks_scope(&self, seq: Option<u64>) {
        let detail = "the API key may only look";
        self.reply(PtyTold::refused(seq, Code::MissingScope, detail)).await;
    }

    async fn reply(&self, told: PtyTold) {
        // The other direction is gone only when the socket ends.
        let _ = self.replies.send(told).await;
    }
}

fn not_attached(seq: Option<u64>) -> PtyTold {
    let detail = "the link to the workspace is lost; send it again after attached";
    PtyTold::refused(seq, Code::NotAttached, detail)
}

#[cfg(test)]
mod tests {
    use shared::ids::{IdSource, PtyId, SystemIds};
    use shared::protocol::pty::{AttachFrom, AttachPty};

    use super::*;

    fn viewer() -> Arc<Viewer> {
        let wish = AttachPty {
            pty_id: (&SystemIds::new() as &dyn IdSource).id::<PtyId>(),
            viewer: "a".to_owned(),
            from: AttachFrom::Offset { offset: 0 },
            write: WriteWish::IfFree,
            size: None,
            skip_behind_bytes: None,
        };
        Arc::new(Viewer::new(wish, Instant::now()))
    }

    /// Both are there at once when the viewer answers `attached` before this task is run again.
    #[tokio::test]
    async fn what_is_said_after_a_phase_was_told_is_heard_in_it() {
        for _ in 0..64 {
            let viewer = viewer();
            viewer.enter(Phase::Exited);
            let typed = Message::text(r#"{"type":"input","seq":1,"text":"x"}"#);
            let (replies, mut replied) = mpsc::channel(1);
            let mut incoming = Incoming {
                stream: futures_util::stream::iter([Ok(typed)]),
                viewer,
                replies,
                may_write: true,
                voice: Voice::None,
                counted_from: Instant::now(),
                frames: 0,
            };
            incoming.run().await;
            let Some(PtyTold::Refused { code, .. }) = replied.recv().await else {
                panic!("no refusal")
            };
            assert_eq!(code, "exited", "not as if no phase had been entered");
        }
    }
}
