//! Chats: the state machine, its driver, and the hub that tells viewers.
//!
//! ```text
//!  http ──► ChatService ──► store ◄── Worker ── Runner (one per owned chat) ──► llm, tools
//!                │ hints      ▲                   │ pieces
//!                ▼            │ read              ▼
//!              Hints ─────► Streams ◄──────────── Hub
//! ```

pub mod client;
pub mod content;
pub mod event;
pub mod hints;
pub mod hub;
pub mod list;
pub mod machine;
pub mod reader;
pub mod stream;
