//! The Holdfast server.
pub mod chat;
pub mod llm;
pub mod time;
