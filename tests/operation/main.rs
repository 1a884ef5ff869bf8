//! The daemon in operation: the real program under the packaged units and a real systemd, and as
//! users start, kill and upgrade it by hand.
//!
//! ```text
//! units    what the packaged units promise: restart, watchdog, states that cannot be used (B101)
//! ```

mod scene;
mod units;
