//! The life of one keeper. Pure.
//!
//! ```text
//! preparing ──executed──► running ──leader ended──► draining ──output ended──► over ──┐ released, or
//!     │                      │                                                  ▲     │ nobody attached
//!     │ not executed         └─output ended──► silent ──leader ended────────────┤     ▼
//!     └─────────────────────────────────────────────────────────────────────────┘   left
//! ```
//!
//! A daemon is *attached* while it holds the keeper's socket. An end is told to a daemon that is
//! attached, and the daemon makes it durable before it tells anybody; while none is attached the
//! keeper syncs its own record. So an end is durable before it can be known, and is paid for once.

/// Where a keeper stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Nothing was executed yet.
    Preparing,
    /// The leader runs, and its output is open.
    Running,
    /// The leader runs and has closed its output.
    Silent,
    /// The leader ended; its output is still held open.
    Draining,
    /// Everything is on record: an end with all output, or that nothing was executed.
    Over,
    /// The keeper ends.
    Left,
}

/// What happens to a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The program runs.
    Executed,
    /// The program could not be executed.
    NotExecuted,
    /// The leader ended and was reaped.
    LeaderEnded,
    /// Nobody can write to the output any more, and all of it is in the log.
    OutputEnded,
    /// A daemon has connected.
    Attached,
    /// The daemon has gone away.
    Detached,
    /// The daemon has everything on record.
    Released,
}

/// What is to be done about it, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Write down which process it is; survives the daemon and not the machine.
    RecordRunning,
    /// Write down how the leader ended, or that nothing was executed.
    RecordEnd,
    /// Write down that the output is complete.
    RecordComplete,
    /// Make the record durable.
    Sync,
    /// Tell the daemon.
    Tell,
    /// End.
    Leave,
    /// Nothing: late or repeated.
    Stale,
}

/// The machine of one keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeeperMachine {
    phase: Phase,
    is_attached: bool,
}

impl KeeperMachine {
    /// A keeper that was just made, by a daemon that is attached.
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Preparing, is_attached: true }
    }

    /// Where it stands.
    pub(super) const fn phase(self) -> Phase {
        self.phase
    }

    /// Moves on by one event.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        use Effect::{Leave, RecordComplete, RecordEnd, RecordRunning, Stale, Sync, Tell};
        let (phase, mut effects) = match (self.phase, event) {
            (Phase::Preparing, Event::Executed) => (Phase::Running, vec![RecordRunning, Tell]),
            (Phase::Preparing, Event::NotExecuted) => (Phase::Over, vec![RecordEnd]),
            (Phase::Running, Event::LeaderEnded) => (Phase::Draining, vec![RecordEnd]),
            (Phase::Running, Event::OutputEnded) => (Phase::Silent, vec![Tell]),
            (Phase::Silent, Event::LeaderEnded) => (Phase::Over, vec![RecordEnd, RecordComplete]),
            (Phase::Draining, Event::OutputEnded) => (Phase::Over, vec![RecordComplete]),
            (Phase::Over, Event::Released) => (Phase::Left, vec![Leave]),
            (Phase::Left, _) => return vec![Stale],
            (phase, Event::Attached) => {
                self.is_attached = true;
                (phase, vec![Tell])
            }
            (phase, Event::Detached) if self.is_attached => {
                self.is_attached = false;
                (phase, if phase >= Phase::Draining { vec![Sync] } else { vec![] })
            }
            _ => return vec![Stale],
        };
        let has_recorded = effects.iter().any(|e| matches!(e, RecordEnd | RecordComplete));
        if has_recorded {
            effects.push(if self.is_attached { Tell } else { Sync });
        }
        self.phase = phase;
        if phase == Phase::Over && !self.is_attached {
            self.phase = Phase::Left;
            effects.push(Leave);
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [Event; 7] = [
        Event::Executed,
        Event::NotExecuted,
        Event::LeaderEnded,
        Event::OutputEnded,
        Event::Attached,
        Event::Detached,
        Event::Released,
    ];

    #[test]
    fn the_drawing_is_the_machine() {
        let mut lines = Vec::new();
        let mut seen = vec![KeeperMachine::new()];
        let mut next = 0;
        while let Some(machine) = seen.get(next).copied() {
            next += 1;
            for event in EVENTS {
                let mut moved = machine;
                if moved.apply(event) == [Effect::Stale] {
                    assert_eq!(moved, machine, "a stale event changes nothing");
                    continue;
                }
                if moved.phase != machine.phase {
                    lines.push(format!("{:?} {event:?} {:?}", machine.phase, moved.phase));
                }
                if !seen.contains(&moved) {
                    seen.push(moved);
                }
            }
        }
        lines.sort();
        lines.dedup();
        let expected = "\
Draining OutputEnded Left
Draining OutputEnded Over
Over Detached Left
Over Released Left
Preparing Executed Running
Preparing NotExecuted Left
Preparing NotExecuted Over
Running LeaderEnded Draining
Running OutputEnded Silent
Silent LeaderEnded Left
Silent LeaderEnded Over";
        assert_eq!(lines.join("\n"), expected);
    }

    proptest! {
        /// Whatever comes in whatever order: a keeper leaves only when everything is on record,
        /// and what no daemon took is durable by then.
        #[test]
        fn a_keeper_leaves_only_what_is_on_record(
            order in proptest::collection::vec(0_usize..7, 0..40),
        ) {
            let mut machine = KeeperMachine::new();
            let (mut executed, mut ends, mut completes, mut released) = (false, 0, 0, false);
            let mut unsynced = false;
            for n in order {
                released |= EVENTS[n] == Event::Released && machine.phase() == Phase::Over;
                for effect in machine.apply(EVENTS[n]) {
                    match effect {
                        Effect::RecordRunning => executed = true,
                        Effect::RecordEnd => { ends += 1; unsynced = true; }
                        Effect::RecordComplete => { completes += 1; unsynced = true; }
                        Effect::Sync => unsynced = false,
                        Effect::Leave => {
                            prop_assert_eq!(ends, 1);
                            prop_assert_eq!(completes, i32::from(executed));
                            prop_assert!(released || !unsynced);
                        }
                        Effect::Tell | Effect::Stale => {}
                    }
                }
            }
            prop_assert!(ends <= 1);
        }
    }
}
