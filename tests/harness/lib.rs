//! The harness of the tests that need more than one program.
//!
//! ```text
//! api        speaks HTTP, WebSocket and server-sent events as any client would
//! postgres   a private Postgres from installed binaries
//! programs   the two real programs: start, kill -9, start again
//! gate       holds a program at a named fault point
//! relay      sits in the link and can be cut
//! fake_llm   a model server that answers as it is told and checks what it is asked
//! stream     a viewer of a chat, with the product's own client state
//! world      all of it with a scripted model: what a story starts from
//! ```

pub mod api;
pub mod fake_llm;
pub mod gate;
pub mod postgres;
pub mod programs;
pub mod relay;
pub mod stream;
pub mod world;
