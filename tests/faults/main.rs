//! Fault tests with the real programs: what is promised when one of them is killed.
//!
//! ```text
//! sweep      control plane, daemon, keepers, and both programs are killed at the fault points of one turn
//! syscalls   the control plane is killed at its system calls
//! other_ends it is asked to stop, killed twice, out of memory
//! ends       those ends, each with the turn that goes through it
//! client     who asks, edits and has the history made shorter, and begins again where nobody answered
//! stage      both programs, the model, and a gate that holds one of them at a point
//! uploads    the control plane is killed at the fault points of an upload
//! turn       that turn: what is asked, and the oracle that judges what came of it
//! ```
//!
//! Each has a control that must fail, to show that the oracle can see a breach.

mod client;
mod ends;
mod other_ends;
mod stage;
mod sweep;
mod syscalls;
mod turn;
mod uploads;
