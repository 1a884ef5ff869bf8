//! Chats: the state machine, its driver, and the hub that tells viewers.
//!
//! ```text
//!  http ──► ChatService ──► store ◄── Worker ── Runner (one per owned chat) ──► llm, tools
//!                │ hints      ▲                   │ pieces
//!                ▼            │ read              ▼
//!              Hints ─────► Streams ◄──────────── Hub
//! ```

pub mod actions;
pub mod attachments;
pub mod changing;
pub mod client;
pub mod content;
pub mod context;
pub mod deciding;
pub mod edit_check;
pub mod engine;
pub mod event;
pub mod family;
pub mod hints;
pub mod history;
pub mod hub;
pub mod list;
pub mod machine;
pub mod naming;
mod plan;
pub mod ports;
pub mod price;
pub mod reader;
mod runner;
pub mod service;
mod stored;
pub mod stored_models;
pub mod stored_results;
pub mod stream;
pub mod telling;
#[cfg(test)]
mod tests;
mod title;
pub mod trace;
pub mod ui;
pub mod worker;
pub mod workspace_tools;

pub use engine::{Engine, EngineParts};
