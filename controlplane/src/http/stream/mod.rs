//! Live streams, over WebSocket and as server-sent events.
//!
//! ```text
//! chat's Subscription ─┐                        ┌─► WebSocket: text frames, arrays of events
//!                      ├─► Source (batches) ────┤
//! list's Subscription ─┘                        └─► SSE: id = cursor, event = type, data = event
//! chat's Subscription ──► UiProjection ─────────────► SSE: data = chunk of the AI SDK's protocol
//! ```
//!
//! | Close code | Meaning |
//! |---|---|
//! | 1001 | the server is ending; come back with the cursor |
//! | 1002, 1003, 1007, 1009 | the client broke the protocol: framing, binary, UTF-8, size |
//! | 1013 | the database cannot be read; come back with the cursor |
//! | 4008 | `slow_consumer`; the reason ends with the cursor to come back with |
//! | 4401 | the session or the API key that opened the stream has ended |
//! | 4403 | it may no longer look |
//! | 4404 | `not_found`: the chat is gone |
//! | 4408 | `ping_timeout`: no pong for 60 s |

mod access;
mod chat;
pub mod ending;
mod list;
mod seats;
mod socket;
mod source;
mod sse;
mod ui;
pub mod upgrade;

pub use access::{Access, Accesses, Verdict, check_accesses};
pub use chat::*;
pub use list::*;
pub use seats::{Seat, StreamSeats};
pub use ui::*;
