//! Terminals: open, attach, type, search, record. `docs/design/011-pty.md`.
//!
//! ```text
//! keeper ──► log on disk ──┬──► live: emulator ──► checkpoint on disk
//!    ▲                     │         └──► screens, title, text
//!    │ typing, sizes       ├──► attach: one task per viewer, from its own offset
//!    └────── session ◄─────┘    search, recording: read the log when asked
//!            roster: who watches, who writes
//! ```
//!
//! A PTY is a process of [`process`](crate::process) whose keeper holds a terminal: starting, the
//! log, adoption and ending are decided there. Here is what a terminal has besides: a screen, and
//! people before it. What is shown is never asked of the emulator but of the log; what the emulator
//! knows can always be made again from the log, so nothing here has to survive a crash.
//!
//! | Guard | Holds |
//! |---|---|
//! | mutex of the service | which terminals have a session |
//! | mutex of a session's roster | who watches, who writes |
//! | mutex of a live screen | the emulator and its offset |
//! | task `pty.screen`, one per terminal | brings the screen forward |
//! | task `pty.size`, one per terminal | the size that is wanted |
//! | the call of a viewer | its offset, its mailbox |

pub mod emulator;

mod attach;
mod calls;
mod checkpoint;
mod handle;
mod lines;
mod live;
mod recording;
mod roster;
mod search;
mod session;

use shared::protocol::{ErrorCode, WireError};

pub use calls::serve;
pub use handle::PtyHandle;

fn unreadable(error: &std::io::Error) -> WireError {
    WireError::failed(ErrorCode::IoFailed, format!("the output cannot be read: {error}"))
}

fn check_range(field: &str, value: u64, min: u64, max: u64) -> Result<(), WireError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let text = format!("{field} is {value}; it may be {min} to {max}");
    let error = WireError::refused(ErrorCode::OutOfRange, text).with("field", field);
    Err(error.with("min", min).with("max", max))
}
