//! The daemon in operation: the real program under the packaged units and a real systemd, and as
//! users start, kill and upgrade it by hand.
//!
//! ```text
//! outlive  processes through kills and upgrades of the daemon (P20, P21)
//! host     who starts the daemon again: the test by hand, or systemd
//! full     a full disk, under the state and under the workspace (P32)
//! places   directories that are deleted or become read-only (P34)
//! second   two daemons for one state directory (P35)
//! units    what the packaged units promise: restart, watchdog, states that cannot be used (B101)
//! ```

mod full;
mod host;
mod outlive;
mod places;
mod scene;
mod second;
mod units;
