//! The harness of the tests that need more than one program.
//!
//! ```text
//! api        speaks HTTP, WebSocket and server-sent events as any client would
//! postgres   a private Postgres from installed binaries
//! programs   the two real programs: start, kill -9, start again
//! gate       holds a program at a named fault point
//! relay      sits in the link and can be cut
//! stream_relay  the same between a control plane and its database
//! fake_llm   a model server that answers as it is told and checks what it is asked
//! pty        a viewer of a terminal
//! strace     counts the system calls of a program, or kills it at a chosen one
//! stream     a viewer of a chat, with the product's own client state
//! deployment several control planes on one Postgres, with daemons
//! fleet      a control plane in the test's own process, which calls daemons by hand
//! systemd    a real one as PID 1 of namespaces of its own
//! wall       a wall clock that a test may move
//! world      all of it with a scripted model: what a story starts from
//! ```

pub mod api;
pub mod deployment;
pub mod fake_llm;
pub mod fleet;
pub mod gate;
pub mod ports;
pub mod postgres;
pub mod programs;
pub mod pty;
pub mod relay;
pub mod strace;
pub mod stream;
pub mod stream_relay;
pub mod systemd;
pub mod wall;
pub mod world;
