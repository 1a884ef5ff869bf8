//! The daemon in operation: the real program under the packaged units and a real systemd, and as
//! users start, kill and upgrade it by hand.
//!
//! ```text
//! outlive  processes through kills and upgrades of the daemon (P20, P21)
//! host     who starts the daemon again: the test by hand, or systemd
//! units    what the packaged units promise: restart, watchdog, states that cannot be used (B101)
//! ```

mod host;
mod outlive;
mod scene;
mod units;
