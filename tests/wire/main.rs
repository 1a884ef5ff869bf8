//! The wire between daemon and control plane: the real link, the real listener, QUIC on loopback.
//!
//! ```text
//! world     a control plane's fleet over a real database, and daemons with a double for a dispatch
//! stranger  a peer that speaks QUIC and TLS but does as it likes
//! link      enrol, connect, call, follow, cut, resume, renew, displace, restart
//! peers     who is let in: rows B38 and B39
//! frames    what is said: rows B40 to B45 and B47
//! schedules seeded cuts over an in-memory link, with the real journal
//! joining   join tokens: row B100
//! ```

mod frames;
mod joining;
mod link;
mod peers;
mod schedules;
mod stranger;
mod world;

use shared::testing::bad_input::BadInput;

/// Counts the cases of one row of the catalogue and prints the figure.
struct Row {
    name: &'static str,
    passed: usize,
    report: BadInput,
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self { name, passed: 0, report: BadInput::new() }
    }

    /// One case; its text says which when it fails.
    fn check(&mut self, case: &str, holds: bool, seen: impl std::fmt::Debug) {
        assert!(holds, "{} {case}: saw {seen:?}", self.name);
        self.report.check(case, true);
        self.passed += 1;
    }

    fn print(self, expected: usize) {
        println!("{} passed {}/{expected}", self.name, self.passed);
        assert_eq!(self.passed, expected, "{}: a case was left out", self.name);
        self.report.report(self.name);
    }
}
