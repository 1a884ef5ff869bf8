//! The Holdfast server.
pub mod chat;
pub mod fleet;
pub mod llm;
pub mod time;
pub mod tools;
