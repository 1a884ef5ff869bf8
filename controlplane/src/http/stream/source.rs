//! What is streamed, whatever the transport: batches of events as JSON.

use async_trait::async_trait;
use serde_json::Value;

/// Why there will be no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceEnd {
    /// What is watched is gone.
    NotFound,
    /// It cannot be read for now.
    Unavailable,
}

/// A stream of batches.
#[async_trait]
pub trait Source: Send + 'static {
    /// The next events, at least one, as JSON objects with `type` and maybe `cursor`. Cancel safe.
    async fn next(&mut self) -> Result<Vec<Value>, SourceEnd>;

    /// Returns when the viewer is too far behind and does not read. Cancel safe.
    async fn overrun(&self);
}
