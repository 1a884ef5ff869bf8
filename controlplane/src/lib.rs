//! The Holdfast server.
pub mod chat;
pub mod fleet;
pub mod llm;
pub mod secrets;
pub mod store;
pub mod time;
pub mod tools;
