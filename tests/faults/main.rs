//! Fault tests with the real programs: what is promised when one of them is killed.
//!
//! ```text
//! sweep    control plane, daemon, keepers, and both programs are killed at the fault points of one turn
//! stage    both programs, the model, and a gate that holds one of them at a point
//! turn     that turn: what is asked, and the oracle that judges what came of it
//! ```
//!
//! Each has a control that must fail, to show that the oracle can see a breach.

mod stage;
mod sweep;
mod turn;
