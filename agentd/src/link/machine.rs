//! The life of the link, as a pure machine: what to do next after each thing that happens.
//!
//! ```text
//!            start            connected
//!   idle ──────────► dialling ──────────► up
//!                    ▲  │  ▲               │ lost
//!          pause over│  │  │renewed        ▼
//!                    │  │  └─ renewing ◄─ (expired)
//!                    │  └──── failed ──► waiting ◄── lost
//!                    └────────────────── waiting           stop: any ──► stopped
//! ```
//!
//! | Phase | Event | Next | Effect |
//! |---|---|---|---|
//! | idle | start | dialling | dial |
//! | dialling | connected | up | |
//! | dialling, renewing | failed: no way there | waiting | pause 0 to bound |
//! | dialling | failed: own certificate expired | renewing | renew |
//! | renewing | failed: own certificate expired | waiting | long pause |
//! | dialling, renewing | failed: rejected, version | waiting | long pause |
//! | renewing | renewed | dialling | dial |
//! | up | lost | waiting | pause 0 to bound |
//! | up | lost: displaced, rejected | waiting | long pause |
//! | waiting | pause over | dialling | dial |
//! | any | stop | stopped | |
//!
//! Anything else is stale: links duplicate and reorder, and a late event changes nothing. The
//! pause before the *first* try after a lost link is drawn like every other, so that a fleet that
//! lost its server at one instant does not come back at one instant.

use std::time::{Duration, Instant};

use shared::backoff::Backoff;
use shared::limits::{RECONNECT_MAX, RECONNECT_MIN};

/// A link that lived this long forgets the failures before it; a shorter one is flapping.
const STABLE: Duration = Duration::from_secs(30);
/// Of the failures before a link that flaps, at most so many count: it came up, so the control
/// plane lives, and a pause of up to a second is polite enough.
const FLAPPING_FAILURES: u32 = 2;
/// Pause where trying again soon cannot help: an operator has to do something.
const LONG_PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(180));

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The program wants a link.
    Start,
    /// The hello was answered.
    Connected,
    /// No link came about.
    Failed(FailureKind),
    /// A fresh certificate is stored.
    Renewed,
    /// The link ended.
    Lost(LossKind),
    /// The pause is over.
    PauseOver,
    /// The program ends.
    Stop,
}

/// Why no link came about, as far as it decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Name, network, a busy or absent server: time may heal it.
    NoWayThere,
    /// The control plane says that our certificate has ended.
    Expired,
    /// We are not who we should be, or it is not.
    Rejected,
    /// No common protocol version.
    Version,
}

/// Why a link ended, as far as it decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Network, restart, stop of the control plane.
    Gone,
    /// Another daemon with our identity connected.
    Displaced,
    /// The control plane does not want us any more.
    Rejected,
}

/// What the driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEffect {
    /// Dial and say hello.
    Dial,
    /// Ask for a fresh certificate with the enrolled key.
    Renew,
    /// Wait a time drawn uniformly between the two.
    Pause {
        /// Shortest.
        at_least: Duration,
        /// Longest.
        at_most: Duration,
    },
}

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// Nothing was asked for yet.
    Idle,
    /// On the way.
    Dialling,
    /// Getting a fresh certificate.
    Renewing,
    /// Connected.
    Up {
        /// Since when.
        since: Instant,
    },
    /// Until the next try.
    Waiting,
    /// For good.
    Stopped,
}

/// See the module's text.
#[derive(Debug)]
pub struct LinkMachine {
    phase: LinkPhase,
    failures: u32,
    bounds: Backoff,
}

impl LinkMachine {
    /// Idle.
    #[must_use]
    pub const fn new() -> Self {
        let bounds = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
        Self { phase: LinkPhase::Idle, failures: 0, bounds }
    }

    /// Where it stands.
    #[cfg(test)]
    pub const fn phase(&self) -> LinkPhase {
        self.phase
    }

    /// Failures since the last stable link.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Moves on by one event; none: nothing to do, also for an event that does not fit.
    pub fn apply(&mut self, event: LinkEvent, now: Instant) -> Option<LinkEffect> {
        match (self.phase, event) {
            (_, LinkEvent::Stop) => {
                self.phase = LinkPhase::Stopped;
                None
            }
            (LinkPhase::Idle, LinkEvent::Start)
            | (LinkPhase::Renewing, LinkEvent::Renewed)
            | (LinkPhase::Waiting, LinkEvent::PauseOver) => {
                self.phase = LinkPhase::Dialling;
                Some(LinkEffect::Dial)
            }
            (LinkPhase::Dialling, LinkEvent::Connected) => {
                self.phase = LinkPhase::Up { since: now };
                None
            }
            (LinkPhase::Dialling, LinkEvent::Failed(FailureKind::Expired)) => {
                self.phase = LinkPhase::Renewing;
                Some(LinkEffect::Renew)
            }
            (
                LinkPhase::Dialling | LinkPhase::Renewing,
                LinkEvent::Failed(FailureKind::NoWayThere),
            ) => Some(self.wait()),
            (LinkPhase::Dialling | LinkPhase::Renewing, LinkEvent::Failed(_)) => {
                Some(self.wait_long())
            }
            (LinkPhase::Up { since }, LinkEvent::Lost(LossKind::Gone)) => {
                let is_stable = now.saturating_duration_since(since) >= STABLE;
                self.failures = if is_stable { 0 } else { self.failures.min(FLAPPING_FAILURES) };
                Some(self.wait())
            }
            (LinkPhase::Up { .. }, LinkEvent::Lost(_)) => Some(self.wait_long()),
            _ => None,
        }
    }

    fn wait(&mut self) -> LinkEffect {
        self.phase = LinkPhase::Waiting;
        let at_most = self.bounds.bound(self.failures);
        self.failures = self.failures.saturating_add(1);
        LinkEffect::Pause { at_least: Duration::ZERO, at_most }
    }

    const fn wait_long(&mut self) -> LinkEffect {
        self.phase = LinkPhase::Waiting;
        self.failures = self.failures.saturating_add(1);
        LinkEffect::Pause { at_least: LONG_PAUSE.0, at_most: LONG_PAUSE.1 }
    }
}

impl Default for LinkMachine {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::clock::Clock;
    use shared::testing::ManualClock;

    const EVENTS: [LinkEvent; 12] = [
        LinkEvent::Start,
        LinkEvent::Connected,
        LinkEvent::Failed(FailureKind::NoWayThere),
        LinkEvent::Failed(FailureKind::Expired),
        LinkEvent::Failed(FailureKind::Rejected),
        LinkEvent::Failed(FailureKind::Version),
        LinkEvent::Renewed,
        LinkEvent::Lost(LossKind::Gone),
        LinkEvent::Lost(LossKind::Displaced),
        LinkEvent::Lost(LossKind::Rejected),
        LinkEvent::PauseOver,
        LinkEvent::Stop,
    ];

    /// Events that lead to each phase, in the order of the drawing.
    const WAYS: [(&str, &[LinkEvent]); 6] = [
        ("idle", &[]),
        ("dialling", &[LinkEvent::Start]),
        ("renewing", &[LinkEvent::Start, LinkEvent::Failed(FailureKind::Expired)]),
        ("up", &[LinkEvent::Start, LinkEvent::Connected]),
        ("waiting", &[LinkEvent::Start, LinkEvent::Failed(FailureKind::NoWayThere)]),
        ("stopped", &[LinkEvent::Stop]),
    ];

    fn name(phase: LinkPhase) -> &'static str {
        match phase {
            LinkPhase::Idle => "idle",
            LinkPhase::Dialling => "dialling",
            LinkPhase::Renewing => "renewing",
            LinkPhase::Up { .. } => "up",
            LinkPhase::Waiting => "waiting",
            LinkPhase::Stopped => "stopped",
        }
    }

    #[test]
    fn the_machine_does_what_its_drawing_says() {
        let now = ManualClock::at(0).now();
        let mut found = Vec::new();
        for (from, way) in WAYS {
            for event in EVENTS {
                let mut machine = LinkMachine::new();
                for step in way {
                    machine.apply(*step, now);
                }
                assert_eq!(name(machine.phase()), from);
                let effect = machine.apply(event, now);
                let to = name(machine.phase());
                let effect = match effect {
                    None => "-".to_owned(),
                    Some(LinkEffect::Pause { at_least, at_most }) => {
                        format!("pause {}..{} ms", at_least.as_millis(), at_most.as_millis())
                    }
                    Some(effect) => format!("{effect:?}").to_lowercase(),
                };
                if to != from || effect != "-" {
                    found.push(format!("{from} + {event:?} = {to}, {effect}"));
                }
            }
        }
        let drawn = [
            "idle + Start = dialling, dial",
            "idle + Stop = stopped, -",
            "dialling + Connected = up, -",
            "dialling + Failed(NoWayThere) = waiting, pause 0..250 ms",
            "dialling + Failed(Expired) = renewing, renew",
            "dialling + Failed(Rejected) = waiting, pause 60000..180000 ms",
            "dialling + Failed(Version) = waiting, pause 60000..180000 ms",
            "dialling + Stop = stopped, -",
            "renewing + Failed(NoWayThere) = waiting, pause 0..250 ms",
            "renewing + Failed(Expired) = waiting, pause 60000..180000 ms",
            "renewing + Failed(Rejected) = waiting, pause 60000..180000 ms",
            "renewing + Failed(Version) = waiting, pause 60000..180000 ms",
            "renewing + Renewed = dialling, dial",
            "renewing + Stop = stopped, -",
            "up + Lost(Gone) = waiting, pause 0..250 ms",
            "up + Lost(Displaced) = waiting, pause 60000..180000 ms",
            "up + Lost(Rejected) = waiting, pause 60000..180000 ms",
            "up + Stop = stopped, -",
            "waiting + PauseOver = dialling, dial",
            "waiting + Stop = stopped, -",
        ];
        assert_eq!(found, drawn);
    }

    #[test]
    fn failures_double_the_pause_and_a_link_that_comes_up_forgets_most_of_them() {
        let clock = ManualClock::at(0);
        let mut machine = LinkMachine::new();
        machine.apply(LinkEvent::Start, clock.now());
        let mut bounds = Vec::new();
        for _ in 0..9 {
            let failed = LinkEvent::Failed(FailureKind::NoWayThere);
            let Some(LinkEffect::Pause { at_most, .. }) = machine.apply(failed, clock.now()) else {
                panic!("a failure is followed by a pause");
            };
            bounds.push(at_most.as_millis());
            machine.apply(LinkEvent::PauseOver, clock.now());
        }
        assert_eq!(bounds, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);

        let after = |up_for| {
            let mut machine = LinkMachine { failures: 5, ..LinkMachine::new() };
            machine.apply(LinkEvent::Start, clock.now());
            machine.apply(LinkEvent::Connected, clock.now());
            clock.advance(up_for);
            machine.apply(LinkEvent::Lost(LossKind::Gone), clock.now());
            machine.failures()
        };
        assert_eq!(after(Duration::from_secs(29)), 3, "it flaps: a pause of up to a second");
        assert_eq!(after(Duration::from_secs(30)), 1);
    }

    proptest! {
        #[test]
        fn no_order_of_events_dials_without_a_pause_after_a_failure(
            picks in proptest::collection::vec(0..EVENTS.len() - 1, 0..200),
        ) {
            let now = ManualClock::at(0).now();
            let mut machine = LinkMachine::new();
            let mut paused = true;
            for pick in picks {
                let event = EVENTS[pick];
                let was_up = matches!(machine.phase(), LinkPhase::Up { .. });
                match machine.apply(event, now) {
                    Some(LinkEffect::Dial) => {
                        prop_assert!(paused || event == LinkEvent::Renewed);
                        paused = false;
                    }
                    Some(LinkEffect::Pause { .. }) => paused = true,
                    Some(LinkEffect::Renew) => {}
                    None => {
                        let is_up = matches!(machine.phase(), LinkPhase::Up { .. });
                        prop_assert!(!was_up || is_up, "a link is never forgotten");
                    }
                }
            }
        }
    }
}
