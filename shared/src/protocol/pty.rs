//! Terminals: open, attach, type, search, record.
//!
//! A PTY is one process with a terminal of its own. Its output is one log of bytes with absolute
//! offsets, as a process has it, and beside it the daemon keeps the *screen*: what a terminal of
//! that size shows after exactly so many bytes.
//!
//! ```text
//! viewer                                      daemon
//!   AttachPty ──►
//!                                             ◄── Reply<PtyAttached>, raw: the screen
//!   PtySay: input, resize, take … ──►         ◄── PtyItem: chunk + raw, resized, writer, taken …
//!   FIN: detached in order                    ◄── PtyItem::End, FIN: the program ended
//! ```
//!
//! Any number of viewers watch; **one writes**. Only what the writer sends reaches the program, and
//! that includes the answers of its terminal to queries of the program, so no query is ever
//! answered twice. Another viewer becomes the writer by taking over, explicitly; the writer is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::WireError;
use super::call::methods;
use super::process::{ProcessState, Program};
use crate::ids::PtyId;

/// Columns and rows. Always 1 to 1,000 each: whatever is asked for is brought into that range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtySize {
    /// Columns.
    #[serde(deserialize_with = "clamped")]
    cols: u16,
    /// Rows.
    #[serde(deserialize_with = "clamped")]
    rows: u16,
}

impl PtySize {
    /// Most columns, and most rows.
    pub const MAX: u16 = 1_000;

    /// The nearest size that a terminal may have.
    #[must_use]
    pub fn clamped(cols: i64, rows: i64) -> Self {
        Self { cols: clamp(cols), rows: clamp(rows) }
    }

    /// 1 to 1,000.
    #[must_use]
    pub const fn cols(self) -> u16 {
        self.cols
    }

    /// 1 to 1,000.
    #[must_use]
    pub const fn rows(self) -> u16 {
        self.rows
    }
}

impl Default for PtySize {
    fn default() -> Self {
        Self { cols: 80, rows: 24 }
    }
}

fn clamp(value: i64) -> u16 {
    u16::try_from(value.clamp(1, i64::from(PtySize::MAX))).unwrap_or(PtySize::MAX)
}

fn clamped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    Ok(clamp(i64::deserialize(deserializer)?))
}

/// Opens a PTY. The answer comes when its program runs, or could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPty {
    /// Chosen by the control plane, so that a repeated open names the same PTY.
    pub pty_id: PtyId,
    /// What to run; none: the login shell of the daemon's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// Relative to the workspace's root, or absolute inside it; none: the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Added to the environment. `TERM` is `xterm-256color` when none is given, and `dumb` when the
    /// machine does not know the given one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// At the start.
    #[serde(default)]
    pub size: PtySize,
    /// Why it runs, as the agent's `chat_…` id; none for a person's. Shown in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// Bytes of output kept before the middle is dropped; none: the default of `limits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_kept_bytes: Option<u64>,
}

/// A PTY as the daemon knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyView {
    /// Which.
    pub pty_id: PtyId,
    /// What runs, for people: the command line, cut at 1,024 bytes.
    pub command: String,
    /// Absolute working directory at the start.
    pub cwd: String,
    /// The chat it runs for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// The operating system's pid of the program, while it runs. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_pid: Option<u32>,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Where it stands.
    pub state: ProcessState,
    /// Now.
    pub size: PtySize,
    /// What the program has set as title, at most 256 characters, without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The viewer that writes, whether or not it is attached at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// Viewers that are attached.
    pub viewers: u32,
    /// Bytes written so far; the offset one past the last.
    pub output_total: u64,
    /// What was dropped: `[from, to)`; equal when nothing was.
    pub dropped_from: u64,
    /// See [`PtyView::dropped_from`].
    pub dropped_to: u64,
}

/// One PTY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetPty {
    /// Which.
    pub pty_id: PtyId,
}

/// PTYs of the workspace: running ones first, then the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPtys {
    /// Only those of this chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// 1 to 1,000; none: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of [`ListPtys`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyList {
    /// In the order said there.
    pub items: Vec<PtyView>,
    /// How many there are in all.
    pub total: u64,
}

/// Closes a PTY: hang-up, grace, then kill of everything in it. Answers when it is gone. One that
/// has ended already is answered as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosePty {
    /// Which.
    pub pty_id: PtyId,
    /// 0 to 60,000: time between the hang-up and the kill.
    pub grace_ms: u64,
}

/// Gives the terminal another size, for callers that are not attached. An attached writer sends
/// [`PtySay::Resize`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizePty {
    /// Which.
    pub pty_id: PtyId,
    /// Clamped.
    pub size: PtySize,
}

/// Types into a PTY, for callers that are not attached. Refused `read_only` while a viewer writes.
/// Typed at most once, by the operation's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritePty {
    /// Which.
    pub pty_id: PtyId,
    /// 1 byte to 64 KiB.
    #[serde(with = "crate::wire::bytes")]
    pub data: Vec<u8>,
}

/// Answer of [`WritePty`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyWritten {
    /// Bytes that the terminal took.
    pub written: u64,
}

/// Attaches a viewer. The call's stream stays open both ways, see the module's text.
///
/// An attachment with the name of one that is still there takes its place, with its role: that is
/// how a viewer comes back after its network was gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPty {
    /// Which.
    pub pty_id: PtyId,
    /// The viewer's own name for itself, kept over its reconnects: 1 to 64 of `[A-Za-z0-9._-]`.
    pub viewer: String,
    /// Where to begin.
    pub from: AttachFrom,
    /// Whether it wants to write.
    #[serde(default)]
    pub write: WriteWish,
    /// The size of the viewer's window: the terminal's, if it becomes the writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<PtySize>,
    /// How many bytes it may be behind. One that is further behind is given a gap and a new screen
    /// in place of the bytes. None: as far as the log reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_behind_bytes: Option<u64>,
}

/// Where a viewer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum AttachFrom {
    /// With the screen as it is now, and the lines above it.
    Screen {
        /// Lines above the screen, 0 to 10,000, as far as the log has them.
        #[serde(default)]
        scrollback_lines: u32,
    },
    /// With the bytes from an offset on. What the viewer's terminal answers to bytes before
    /// [`PtyAttached::live_from`] must not be sent: it was answered long ago.
    Offset {
        /// Absolute.
        offset: u64,
    },
}

/// Whether a viewer wants to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteWish {
    /// It only watches.
    #[default]
    Never,
    /// If nobody writes, or if it was the writer itself.
    IfFree,
    /// Takes over from whoever writes.
    Take,
}

/// Head of the answer of [`AttachPty`]. Raw frames with exactly [`PtyScreen::len`] bytes follow it
/// when there is a screen, then [`PtyItem`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyAttached {
    /// The PTY at that moment.
    pub pty: PtyView,
    /// Whether this viewer writes.
    pub is_writer: bool,
    /// Highest sequence number of this viewer's input that was taken, over all its attachments:
    /// what came after it is to be sent again. 0: none.
    pub taken_seq: u64,
    /// Offset of the first byte after the screen.
    pub offset: u64,
    /// Bytes from here on are new; those before are a replay.
    pub live_from: u64,
    /// Present when it begins with a screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<PtyScreen>,
}

/// A screen as bytes for a terminal: written to a terminal of this size, they bring it from any
/// state into the one that the program sees, with its content, modes, colours and cursor. They ask
/// the terminal nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyScreen {
    /// Every byte before this one is in it.
    pub offset: u64,
    /// Its size.
    pub size: PtySize,
    /// Bytes of raw frames that follow.
    pub len: u64,
}

/// One thing that a viewer sends after [`AttachPty`], as a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum PtySay {
    /// Types. Not taken from a viewer that is not the writer (`read_only`).
    ///
    /// The daemon stops reading while the program does: the stream's own flow control holds a
    /// large paste back.
    Input {
        /// 1, 2, 3… over all attachments of this viewer. One that is not higher than the highest
        /// taken is dropped: it was typed before.
        seq: u64,
        /// 1 byte to 64 KiB.
        #[serde(with = "crate::wire::bytes")]
        data: Vec<u8>,
    },
    /// The viewer's window has another size. That of the writer becomes the terminal's.
    Resize {
        /// Clamped. Many at once are one.
        size: PtySize,
    },
    /// Becomes the writer, whoever was it.
    Take,
    /// Is the writer no more; nobody is.
    Release,
    /// From a newer peer.
    #[serde(other)]
    Unknown,
}

/// One thing that a viewer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case")]
pub enum PtyItem {
    /// Output; one raw frame follows.
    Chunk {
        /// Of the first byte.
        offset: u64,
        /// Bytes in the raw frame, 1 to 256 KiB.
        len: u32,
    },
    /// Bytes that this viewer is not given: it was too far behind, or they are dropped. A `screen`
    /// follows.
    Dropped {
        /// First one.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// A new screen in place of what was dropped; raw frames with exactly `len` bytes follow.
    Screen {
        /// It.
        screen: PtyScreen,
    },
    /// The terminal has this size from this offset on.
    Resized {
        /// Bytes from here on are for the new size.
        offset: u64,
        /// The new size.
        size: PtySize,
    },
    /// Who writes has changed.
    Writer {
        /// Its name; none: nobody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        viewer: Option<String>,
        /// Whether it is this viewer.
        is_you: bool,
    },
    /// Input up to this number has reached the terminal.
    Taken {
        /// The highest.
        seq: u64,
    },
    /// Something that was said is not done; the attachment goes on.
    Refused {
        /// Of the input, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        /// Why: `read_only`, `exited`, `invalid_request`.
        error: WireError,
    },
    /// The program ended and every byte was sent. The last item.
    End {
        /// Its final view.
        pty: PtyView,
    },
    /// Another attachment has this viewer's name now. The last item.
    Replaced,
    /// From a newer daemon.
    #[serde(other)]
    Unknown,
}

/// The screen as text, for a model and for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPtyScreen {
    /// Which.
    pub pty_id: PtyId,
}

/// Answer of [`ReadPtyScreen`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyScreenText {
    /// The PTY at that moment.
    pub pty: PtyView,
    /// Every byte before this one is in it.
    pub offset: u64,
    /// One for each row, without blanks at the end.
    pub rows: Vec<String>,
    /// From 0.
    pub cursor_row: u16,
    /// From 0.
    pub cursor_col: u16,
    /// Whether it is shown.
    pub cursor_visible: bool,
    /// Whether a full-screen program has the alternate screen.
    pub alternate: bool,
}

/// A page of raw output. The answer's head is followed by raw frames with exactly `len` bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPtyOutput {
    /// Which.
    pub pty_id: PtyId,
    /// Absolute. Beyond the end: an empty page.
    pub offset: u64,
    /// Clamped to 4 MiB.
    pub limit_bytes: u64,
    /// Count the offset from the end: the page starts `offset` bytes before it.
    #[serde(default)]
    pub from_end: bool,
}

/// Head of the answer of [`ReadPtyOutput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyOutputPage {
    /// Where the page starts.
    pub offset: u64,
    /// Bytes that follow.
    pub len: u64,
    /// The PTY at that moment.
    pub pty: PtyView,
}

/// Searches the lines that the program has written, without the escape sequences in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchPty {
    /// Which.
    pub pty_id: PtyId,
    /// A regular expression for a linear-time engine, at most 4,096 bytes.
    pub pattern: String,
    /// Upper and lower case are the same.
    #[serde(default)]
    pub ignore_case: bool,
    /// Lines before and after each match, 0 to 20.
    #[serde(default)]
    pub context: u32,
    /// Most matching lines in the answer, 1 to 1,000. All are counted.
    pub limit: u32,
    /// Answer with matching lines that begin before this offset only, the last ones of them: how
    /// to page backwards. None: the last ones of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// Answer of [`SearchPty`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyMatches {
    /// In the order of the output.
    pub matches: Vec<PtyMatch>,
    /// Matching lines in all that is kept.
    pub total: u64,
    /// Bytes that were dropped and could not be searched.
    pub dropped_bytes: u64,
    /// Every byte before this one was searched.
    pub searched_to: u64,
}

/// One matching line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyMatch {
    /// Offset of the line's first byte.
    pub offset: u64,
    /// Lines before it that are kept.
    pub line: u64,
    /// Its text, valid UTF-8, at most 2,048 bytes.
    pub text: String,
    /// Where it matches: bytes of `text`, `[from, to)`, at most 100.
    pub ranges: Vec<(u32, u32)>,
    /// Lines before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// Lines after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

/// The PTY as a recording that plays with the times at which things were written. The answer's head
/// is followed by raw frames up to the end of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPty {
    /// Which.
    pub pty_id: PtyId,
    /// Which version of asciicast.
    #[serde(default)]
    pub format: RecordingFormat,
    /// Begin here: with a screen that shows what was before. None: at the first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// A version of asciicast: lines of JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingFormat {
    /// `{"version": 2, …}`, times since the start.
    #[default]
    AsciicastV2,
    /// `{"version": 3, …}`, times since the last event.
    AsciicastV3,
}

/// Head of the answer of [`RecordPty`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PtyRecording {
    /// The PTY at that moment; the recording ends there.
    pub pty: PtyView,
    /// For `Content-Type`.
    pub media_type: String,
}

methods! {
    OpenPty => "pty/open", Operation, PtyView;
    GetPty => "pty/get", Read, PtyView;
    ListPtys => "pty/list", Read, PtyList;
    ClosePty => "pty/close", Operation, PtyView;
    ResizePty => "pty/resize", Operation, PtyView;
    WritePty => "pty/input", Operation, PtyWritten;
    AttachPty => "pty/attach", Read, PtyAttached;
    ReadPtyScreen => "pty/screen", Read, PtyScreenText;
    ReadPtyOutput => "pty/output", Read, PtyOutputPage;
    SearchPty => "pty/search", Read, PtyMatches;
    RecordPty => "pty/recording", Read, PtyRecording;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::PtySize;

    #[test]
    fn a_size_is_brought_into_its_range_whatever_is_asked_for() {
        for (asked, cols, rows) in [
            (json!({"cols": 0, "rows": 0}), 1, 1),
            (json!({"cols": 65_535, "rows": 65_535}), 1_000, 1_000),
            (json!({"cols": -5, "rows": i64::MIN}), 1, 1),
            (json!({"cols": 1_000, "rows": i64::MAX}), 1_000, 1_000),
            (json!({"cols": 132, "rows": 43}), 132, 43),
        ] {
            let size: PtySize = crate::wire::decode(&crate::wire::encode(&asked)).unwrap();
            assert_eq!((size.cols(), size.rows()), (cols, rows), "{asked}");
        }
    }
}
