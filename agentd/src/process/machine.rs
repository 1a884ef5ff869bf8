//! The life of one process. Pure.
//!
//! ```text
//! starting ──started──► running ──leader ended──► draining ──output ended──► ended
//!    │                     │                          │                        ▲ ▲
//!    │ not started         │ output ended             │ time is up             │ │
//!    ▼                     ▼                          ▼                        │ │
//! not started            silent ──leader ended──┐   held ──────output ended────┘ │
//!                                               └────────────────────────────────┘
//! unwatched: starting, running, silent ──► lost; draining, held ──► ended
//! ```
//!
//! *Draining* is a moment: the leader has ended and its pipes are read to their end. A process that
//! it left behind may hold a pipe open; after two seconds the end is told anyway (*held*) and the
//! output goes on. To the outside, starting, silent and draining are `running`: "exited" implies that
//! the output is final, or says that it is held.

use shared::protocol::WireError;
use shared::protocol::process::{Exit, ProcessState};

/// Where a process stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its start is durable; it may or may not have been executed.
    Starting,
    /// It runs.
    Running,
    /// It runs and has closed its output.
    Silent,
    /// Its leader ended; the rest of its output is being read.
    Draining {
        /// How.
        end: End,
    },
    /// Its leader ended, and others hold its output open.
    Held {
        /// How.
        end: End,
    },
    /// It ended and its output is complete.
    Ended {
        /// How.
        end: End,
    },
    /// It was never executed.
    NotStarted {
        /// Why.
        error: WireError,
    },
    /// It ran, or may have run, when its keeper ended.
    Lost {
        /// Unix milliseconds.
        noticed_at_ms: i64,
    },
}

/// How and when a leader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Code or signal.
    pub exit: Exit,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// What happens to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was executed.
    Started,
    /// It could not be executed.
    NotStarted(WireError),
    /// Its leader ended.
    LeaderEnded(End),
    /// Nobody can write to its output any more, and all of it was read.
    OutputEnded,
    /// The time for draining is up.
    TimeUp,
    /// Its keeper is gone, and what it wrote down is all that will ever be known.
    Unwatched {
        /// Unix milliseconds.
        now_ms: i64,
    },
}

/// What is to be done about it, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the end of the leader durable.
    RecordExit,
    /// Report [`Event::TimeUp`] in two seconds.
    StartTimer,
    /// Record that the output is complete; a crash may lose it.
    RecordComplete,
    /// Make it durable that the process was not started, or is lost.
    RecordAbsence,
    /// Show the new state to everybody who asks or waits.
    Publish,
    /// Nothing more will happen: the driver ends.
    Finish,
    /// Nothing: late or repeated.
    Stale,
}

/// The machine of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMachine {
    phase: Phase,
}

impl ProcessMachine {
    /// A process whose start is durable and not yet tried.
    #[must_use]
    pub const fn starting() -> Self {
        Self { phase: Phase::Starting }
    }

    /// As its records say.
    #[must_use]
    pub const fn recorded(phase: Phase) -> Self {
        Self { phase }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Moves on by one event.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        use Effect::{
            Finish, Publish, RecordAbsence, RecordComplete, RecordExit, Stale, StartTimer,
        };
        let (phase, effects) = match (&self.phase, event) {
            (Phase::Starting, Event::Started) => (Phase::Running, vec![Publish]),
            (Phase::Starting, Event::NotStarted(error)) => {
                (Phase::NotStarted { error }, vec![RecordAbsence, Publish, Finish])
            }
            (Phase::Running, Event::LeaderEnded(end)) => {
                (Phase::Draining { end }, vec![RecordExit, StartTimer])
            }
            (Phase::Running, Event::OutputEnded) => (Phase::Silent, vec![]),
            (Phase::Silent, Event::LeaderEnded(end)) => {
                (Phase::Ended { end }, vec![RecordExit, RecordComplete, Publish, Finish])
            }
            (Phase::Draining { end }, Event::OutputEnded) => {
                (Phase::Ended { end: *end }, vec![RecordComplete, Publish, Finish])
            }
            (Phase::Draining { end }, Event::TimeUp) => (Phase::Held { end: *end }, vec![Publish]),
            (Phase::Held { end }, Event::OutputEnded) => {
                (Phase::Ended { end: *end }, vec![RecordComplete, Publish, Finish])
            }
            (Phase::Starting | Phase::Running | Phase::Silent, Event::Unwatched { now_ms }) => {
                (Phase::Lost { noticed_at_ms: now_ms }, vec![RecordAbsence, Publish, Finish])
            }
            // What held the output is out of reach, and so is what it would have written.
            (Phase::Draining { end } | Phase::Held { end }, Event::Unwatched { .. }) => {
                (Phase::Ended { end: *end }, vec![RecordComplete, Publish, Finish])
            }
            _ => return vec![Stale],
        };
        self.phase = phase;
        effects
    }
}

impl Phase {
    /// Whether the leader may still run.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Silent | Self::Draining { .. })
    }

    /// Whether the output can still grow.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_running() || matches!(self, Self::Held { .. })
    }

    /// When the leader ended, or its loss was noticed; unix milliseconds.
    #[must_use]
    pub const fn ended_at_ms(&self) -> Option<i64> {
        match self {
            Self::Held { end } | Self::Ended { end } => Some(end.at_ms),
            Self::Lost { noticed_at_ms } => Some(*noticed_at_ms),
            _ => None,
        }
    }

    /// As the wire has it.
    #[must_use]
    pub fn to_state(&self, output_held_by: u32) -> ProcessState {
        match self {
            Self::Starting | Self::Running | Self::Silent | Self::Draining { .. } => {
                ProcessState::Running
            }
            Self::Held { end } => {
                ProcessState::Exited { exit: end.exit, ended_at_ms: end.at_ms, output_held_by }
            }
            Self::Ended { end } => {
                ProcessState::Exited { exit: end.exit, ended_at_ms: end.at_ms, output_held_by: 0 }
            }
            Self::NotStarted { error } => ProcessState::NotStarted { error: error.clone() },
            Self::Lost { noticed_at_ms } => ProcessState::Lost { noticed_at_ms: *noticed_at_ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::protocol::ErrorCode;

    const END: End = End { exit: Exit::Code { code: 3 }, at_ms: 5 };

    fn events() -> [Event; 6] {
        [
            Event::Started,
            Event::NotStarted(WireError::failed(ErrorCode::SpawnFailed, "no")),
            Event::LeaderEnded(END),
            Event::OutputEnded,
            Event::TimeUp,
            Event::Unwatched { now_ms: 9 },
        ]
    }

    fn word<T: std::fmt::Debug>(value: &T) -> String {
        let text = format!("{value:?}");
        text.split([' ', '(']).next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_drawing_is_the_machine() {
        let mut seen = vec![ProcessMachine::starting()];
        let mut lines = Vec::new();
        let mut next = 0;
        while let Some(machine) = seen.get(next).cloned() {
            next += 1;
            for event in events() {
                let mut moved = machine.clone();
                let effects = moved.apply(event.clone());
                if effects == [Effect::Stale] {
                    assert_eq!(moved, machine, "a stale event changes nothing");
                    continue;
                }
                let (from, to) = (word(&machine.phase), word(&moved.phase));
                lines.push(format!("{from} {} {to} {effects:?}", word(&event)));
                if !seen.contains(&moved) {
                    seen.push(moved);
                }
            }
        }
        lines.sort();
        let expected = "\
Draining OutputEnded Ended [RecordComplete, Publish, Finish]
Draining TimeUp Held [Publish]
Draining Unwatched Ended [RecordComplete, Publish, Finish]
Held OutputEnded Ended [RecordComplete, Publish, Finish]
Held Unwatched Ended [RecordComplete, Publish, Finish]
Running LeaderEnded Draining [RecordExit, StartTimer]
Running OutputEnded Silent []
Running Unwatched Lost [RecordAbsence, Publish, Finish]
Silent LeaderEnded Ended [RecordExit, RecordComplete, Publish, Finish]
Silent Unwatched Lost [RecordAbsence, Publish, Finish]
Starting NotStarted NotStarted [RecordAbsence, Publish, Finish]
Starting Started Running [Publish]
Starting Unwatched Lost [RecordAbsence, Publish, Finish]";
        assert_eq!(lines.join("\n"), expected);
    }

    proptest! {
        /// Whatever comes in whatever order: the end is recorded before it is shown, it is
        /// recorded once, and an end that was shown never changes.
        #[test]
        fn an_end_is_recorded_before_it_is_shown_and_is_final(
            order in proptest::collection::vec(0_usize..6, 0..30),
        ) {
            let mut machine = ProcessMachine::starting();
            let mut records = 0;
            let mut shown: Option<ProcessState> = None;
            for n in order {
                for effect in machine.apply(events()[n].clone()) {
                    match effect {
                        Effect::RecordExit => records += 1,
                        Effect::Publish => {
                            let state = machine.phase().to_state(0);
                            if let ProcessState::Exited { .. } = state {
                                prop_assert_eq!(records, 1);
                            }
                            if let Some(former @ ProcessState::Exited { .. }) = &shown {
                                prop_assert_eq!(former, &state);
                            }
                            shown = Some(state);
                        }
                        _ => {}
                    }
                }
            }
            prop_assert!(records <= 1);
        }
    }
}
