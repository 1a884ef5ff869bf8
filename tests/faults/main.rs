//! Fault tests with the real programs: what is promised when one of them is killed.
//!
//! ```text
//! sweep    the control plane is killed at every fault point of one turn with three tools
//! turn     that turn: what is asked, and the oracle that judges what came of it
//! ```
//!
//! Each has a control that must fail, to show that the oracle can see a breach.

mod sweep;
mod turn;
