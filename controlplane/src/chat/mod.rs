//! Chats: the state machine, its driver, and the hub that tells viewers.
pub mod content;
pub mod event;
