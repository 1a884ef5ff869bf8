//! Work that nobody waits for.

mod cleanup;

pub use cleanup::run as cleanup;
