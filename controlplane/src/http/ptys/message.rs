//! What is said on an attached socket, in text frames. Binary frames are bytes for the terminal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::protocol::pty::{PtyAttached, PtyScreen};
use utoipa::ToSchema;

use super::view::PtyView;
use crate::http::code::Code;
use crate::http::json::parse;

/// What a viewer is told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PtyTold {
    /// Attached, at first or again after the link was lost. With a screen: what the terminal shows
    /// is to be thrown away, the next `screen.len` binary bytes bring the new state.
    Attached {
        /// The PTY at that moment.
        pty: Box<PtyView>,
        /// Whether this viewer writes.
        is_writer: bool,
        /// Highest number of this viewer's input that was taken: send again what came after it.
        taken_seq: u64,
        /// Offset of the first byte of output to come.
        offset: u64,
        /// Bytes before this offset are a replay: answers of the terminal to them are not sent.
        live_from: u64,
        /// None: output goes on where it was.
        screen: Option<PtyScreenHead>,
    },
    /// A screen in place of what was dropped.
    Screen {
        /// Its size and length.
        screen: PtyScreenHead,
    },
    /// Output that this viewer is not given: `[from, to)`. A screen follows.
    Dropped {
        /// First byte.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The terminal has this size from here on.
    Resized {
        /// Bytes from here on are for it.
        offset: u64,
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Who writes has changed.
    Writer {
        /// None: nobody.
        viewer: Option<String>,
        /// Whether it is this viewer.
        is_you: bool,
    },
    /// Input up to this number has reached the terminal.
    Taken {
        /// The highest.
        seq: u64,
    },
    /// Something that was said is not done.
    Refused {
        /// Of the input, if it was one.
        seq: Option<u64>,
        /// `not_attached`, `read_only`, `exited`, `missing_scope`, `invalid_event`, `unknown_type`.
        code: String,
        /// For people.
        detail: String,
    },
    /// The link to the workspace is lost. `attached` follows when it is back.
    Waiting {
        /// `link_lost`.
        reason: &'static str,
    },
    /// The program ended and every byte was told. Nothing more comes.
    End {
        /// Its final view.
        pty: Box<PtyView>,
    },
    /// Answers a `ping`.
    Pong,
}

/// A screen that follows as binary bytes.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct PtyScreenHead {
    /// Every byte of output before this one is in it.
    pub offset: u64,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// Binary bytes that bring it.
    pub len: u64,
}

impl From<PtyScreen> for PtyScreenHead {
    fn from(wire: PtyScreen) -> Self {
        let (cols, rows) = (wire.size.cols(), wire.size.rows());
        Self { offset: wire.offset, cols, rows, len: wire.len }
    }
}

impl From<PtyAttached> for PtyTold {
    fn from(wire: PtyAttached) -> Self {
        Self::Attached {
            pty: Box::new(wire.pty.into()),
            is_writer: wire.is_writer,
            taken_seq: wire.taken_seq,
            offset: wire.offset,
            live_from: wire.live_from,
            screen: wire.screen.map(PtyScreenHead::from),
        }
    }
}

impl PtyTold {
    /// A refusal with a code of ours.
    pub(super) fn refused(seq: Option<u64>, code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { seq, code: code.as_str().to_owned(), detail: detail.into() }
    }

    /// As a text frame.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a viewer says.
#[derive(Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PtySaid {
    /// Types. At most 64 KiB.
    Input {
        /// 1, 2, 3… over all attachments under one viewer's name; goes on after `taken_seq`.
        seq: u64,
        /// As text, or …
        text: Option<String>,
        /// … as bytes.
        base64: Option<String>,
    },
    /// The viewer's window has another size.
    Resize {
        /// Brought into 1 to 1,000.
        cols: i64,
        /// Brought into 1 to 1,000.
        rows: i64,
    },
    /// Becomes the writer, whoever was it.
    Take,
    /// Is the writer no more.
    Release,
    /// How many binary bytes of this socket were dealt with. Due with `window`.
    Ack {
        /// Since it was opened.
        bytes: u64,
    },
    /// Is answered with `pong`.
    Ping,
}

const KINDS: &[&str] = &["input", "resize", "take", "release", "ack", "ping"];

impl PtySaid {
    /// Reads a text frame.
    pub(super) fn read(text: &str) -> Result<Self, PtyTold> {
        let invalid = |detail: String| PtyTold::refused(None, Code::InvalidEvent, detail);
        let value =
            parse(text.as_bytes()).map_err(|problem| invalid(problem.detail().to_owned()))?;
        match value.get("type").and_then(Value::as_str) {
            Some(kind) if !KINDS.contains(&kind) => {
                let detail = format!("a viewer may send {}", KINDS.join(", "));
                Err(PtyTold::refused(None, Code::UnknownType, detail))
            }
            Some(_) => serde_json::from_value(value).map_err(|error| invalid(error.to_string())),
            None => Err(invalid("an object with a type is due".to_owned())),
        }
    }

    /// The bytes of an input.
    pub(super) fn bytes(text: Option<String>, base64: Option<String>) -> Option<Vec<u8>> {
        match (text, base64) {
            (Some(text), None) => Some(text.into_bytes()),
            (None, Some(base64)) => STANDARD.decode(base64).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_viewer_says_is_read_and_the_rest_is_refused_by_name() {
        let read = |text: &str| match PtySaid::read(text) {
            Ok(said) => format!("{said:?}"),
            Err(PtyTold::Refused { code, .. }) => code,
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(read(r#"{"type":"take"}"#), "Take");
        assert_eq!(read(r#"{"type":"resize","cols":-1,"rows":0}"#), "Resize { cols: -1, rows: 0 }");
        for (text, code) in [
            (r#"{"type":"dance"}"#, "unknown_type"),
            (r#"{"type":"input"}"#, "invalid_event"),
            (r#"{"type":"input","seq":-1}"#, "invalid_event"),
            (r#"{"type":"resize","cols":"wide","rows":1}"#, "invalid_event"),
            (r#"{"cols":1}"#, "invalid_event"),
            ("[]", "invalid_event"),
            ("ls", "invalid_event"),
        ] {
            assert_eq!(read(text), code, "{text}");
        }
    }

    #[test]
    fn input_is_text_or_bytes_and_never_both() {
        let bytes = |text: Option<&str>, base64: Option<&str>| {
            PtySaid::bytes(text.map(str::to_owned), base64.map(str::to_owned))
        };
        assert_eq!(bytes(Some("ü"), None).unwrap(), "ü".as_bytes());
        assert_eq!(bytes(None, Some("/wA=")).unwrap(), [0xff, 0]);
        assert_eq!(bytes(None, Some("%")), None);
        assert_eq!(bytes(None, None), None);
        assert_eq!(bytes(Some("a"), Some("YQ==")), None);
    }
}
