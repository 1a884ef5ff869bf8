//! What a PTY looks like from outside. The daemon's own type stops here.

use serde::Serialize;
use shared::ids::PtyId;
use shared::protocol::pty::PtyView as Wire;
use utoipa::ToSchema;

use crate::http::processes::{ExitView, ProcessErrorView, ProcessStateView, Standing};
use crate::time::Timestamp;

/// A PTY: a program with a terminal of its own.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PtyView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: PtyId,
    /// The command line, for people, cut at 1,024 bytes.
    pub command: String,
    /// Absolute working directory at the start.
    pub cwd: String,
    /// The chat it runs for; none: a person's.
    pub chat_id: Option<String>,
    /// Where it stands.
    pub state: ProcessStateView,
    /// The operating system's pid, while it runs; for people.
    pub os_pid: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<ExitView>,
    /// Why it was not started.
    pub error: Option<ProcessErrorView>,
    /// Columns, 1 to 1,000.
    pub cols: u16,
    /// Rows, 1 to 1,000.
    pub rows: u16,
    /// What the program has set as title, at most 256 characters.
    pub title: Option<String>,
    /// The name of the viewer that writes; none: nobody.
    pub writer: Option<String>,
    /// Viewers that are attached.
    pub viewers: u32,
    /// Bytes of output so far.
    pub output_total: u64,
    /// What was dropped: from this offset …
    pub dropped_from: u64,
    /// … to this one, exclusive. Equal: nothing was.
    pub dropped_to: u64,
}

impl From<Wire> for PtyView {
    fn from(wire: Wire) -> Self {
        let Standing { state, ended_at, exit, error, .. } = wire.state.into();
        Self {
            id: wire.pty_id,
            command: wire.command,
            cwd: wire.cwd,
            chat_id: wire.chat_id,
            state,
            os_pid: wire.os_pid,
            started_at: Timestamp(wire.started_at_ms),
            ended_at,
            exit,
            error,
            cols: wire.size.cols(),
            rows: wire.size.rows(),
            title: wire.title,
            writer: wire.writer,
            viewers: wire.viewers,
            output_total: wire.output_total,
            dropped_from: wire.dropped_from,
            dropped_to: wire.dropped_to,
        }
    }
}
