//! The stop of one process. Pure.
//!
//! ```text
//!                                    grace over                not gone after a moment
//! idle ──asked──► polite ───────────────────────────► killing ◄──────────────┐
//!                    │                                 │   └─ next means ─────┘
//!                    │ nothing left         nothing left│   │ patience over
//!                    ▼                                 ▼   ▼
//!                  settled ◄───────────────────────────────┘
//!                    │ asked again: from *polite*, or from *killing* if something is left
//!                    └──► …
//! ```
//!
//! *Polite* asks everything with SIGTERM. *Killing* uses the strongest means that there is, and when
//! something is still there after a moment the next: the kernel kills the control group; the group
//! is frozen and each in it killed; every descendant is killed, again and again until no new one
//! appears. "Nothing left" is what the kernel says: the keeper is the sub-reaper of everything that
//! the process started, so when it has no child there is nothing.

use std::time::{Duration, Instant};

use shared::protocol::process::StopMeans;

/// Until another means is tried.
const NEXT_MEANS: Duration = Duration::from_millis(50);
/// Between walks: what forks faster than it is found is found in one of them.
const NEXT_WALK: Duration = Duration::from_millis(5);
/// Until what is left is told instead of waited for: the kernel holds it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a stop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody asked.
    Idle,
    /// Everything was asked to end, and has until then.
    Polite { until: Instant },
    /// It is killed.
    Killing {
        /// What was used last.
        means: StopMeans,
        /// When what is left is looked at again.
        next: Instant,
        /// When that is given up.
        until: Instant,
    },
    /// It is done, as far as it can be.
    Settled {
        /// The last that was used.
        means: StopMeans,
        /// Whether nothing is left.
        is_clean: bool,
    },
}

/// What happens to a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody wants it, with so much time for a polite end.
    Asked { grace: Duration },
    /// Nothing of the process is left.
    Gone,
    /// Time has passed.
    Tick,
}

/// What is to be done about it, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Ask everything to end.
    Ask,
    /// Use these means.
    Kill(StopMeans),
    /// Tell everybody who asked.
    Answer,
}

/// The machine of one stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StopMachine {
    phase: Phase,
    /// The first of the means that kill.
    strongest: StopMeans,
}

impl StopMachine {
    /// Nobody asked; killing will begin with `strongest`.
    pub(super) const fn new(strongest: StopMeans) -> Self {
        Self { phase: Phase::Idle, strongest }
    }

    /// Where it stands.
    pub(super) const fn phase(self) -> Phase {
        self.phase
    }

    /// Whether somebody waits for it.
    pub(super) const fn is_active(self) -> bool {
        matches!(self.phase, Phase::Polite { .. } | Phase::Killing { .. })
    }

    /// When to look again.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self.phase {
            Phase::Polite { until } => Some(until),
            Phase::Killing { next, .. } => Some(next),
            Phase::Idle | Phase::Settled { .. } => None,
        }
    }

    /// Moves on by one event.
    pub(super) fn apply(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let (phase, effects) = match (self.phase, event) {
            (Phase::Idle | Phase::Settled { is_clean: true, .. }, Event::Asked { grace }) => {
                (Phase::Polite { until: now + grace }, vec![Effect::Ask])
            }
            // Who is in a hurry sets the pace.
            (Phase::Polite { until }, Event::Asked { grace }) => {
                (Phase::Polite { until: until.min(now + grace) }, vec![])
            }
            (Phase::Settled { is_clean: false, .. }, Event::Asked { .. }) => {
                self.kill(self.strongest, now, now + PATIENCE)
            }
            (Phase::Polite { .. }, Event::Gone) => {
                (Phase::Settled { means: StopMeans::Signal, is_clean: true }, vec![Effect::Answer])
            }
            (Phase::Killing { means, .. }, Event::Gone) => {
                (Phase::Settled { means, is_clean: true }, vec![Effect::Answer])
            }
            (Phase::Polite { until }, Event::Tick) if now >= until => {
                self.kill(self.strongest, now, now + PATIENCE)
            }
            (Phase::Killing { means, until, .. }, Event::Tick) if now >= until => {
                (Phase::Settled { means, is_clean: false }, vec![Effect::Answer])
            }
            (Phase::Killing { means, next, until }, Event::Tick) if now >= next => {
                self.kill(after(means), now, until)
            }
            _ => return vec![],
        };
        self.phase = phase;
        effects
    }

    fn kill(self, means: StopMeans, now: Instant, until: Instant) -> (Phase, Vec<Effect>) {
        let pause = if means == StopMeans::Walk { NEXT_WALK } else { NEXT_MEANS };
        (Phase::Killing { means, next: now + pause, until }, vec![Effect::Kill(means)])
    }

    /// The means that were to be used cannot be: the next are to be used at once.
    pub(super) fn cannot(&mut self, means: StopMeans) {
        if let Phase::Killing { means: now, next, .. } = &mut self.phase
            && *now == means
            && means != StopMeans::Walk
        {
            *next -= NEXT_MEANS;
        }
    }
}

/// The next weaker of the means, and at last the one that is always there.
const fn after(means: StopMeans) -> StopMeans {
    match means {
        StopMeans::Signal => StopMeans::CgroupKill,
        StopMeans::CgroupKill => StopMeans::FreezeKill,
        StopMeans::FreezeKill | StopMeans::Walk | StopMeans::Other => StopMeans::Walk,
    }
}

#[cfg(test)]
mod tests {
    use super::StopMeans::{CgroupKill, FreezeKill, Walk};
    use super::*;
    use proptest::prelude::*;

    fn now() -> Instant {
        shared::clock::Clock::now(&shared::clock::SystemClock)
    }

    const GRACE: Duration = Duration::from_secs(1);

    #[test]
    fn what_ends_politely_is_not_killed() {
        let (start, mut stop) = (now(), StopMachine::new(CgroupKill));
        assert_eq!(stop.apply(Event::Asked { grace: GRACE }, start), [Effect::Ask]);
        assert_eq!(stop.apply(Event::Tick, start + GRACE / 2), []);
        assert_eq!(stop.apply(Event::Gone, start + GRACE / 2), [Effect::Answer]);
        let settled = Phase::Settled { means: StopMeans::Signal, is_clean: true };
        assert_eq!(stop.phase(), settled);
    }

    #[test]
    fn each_means_follows_the_one_that_was_not_enough_and_the_walk_goes_on() {
        let (start, mut stop) = (now(), StopMachine::new(CgroupKill));
        stop.apply(Event::Asked { grace: GRACE }, start);
        let mut used = Vec::new();
        while let Some(at) = stop.deadline() {
            for effect in stop.apply(Event::Tick, at) {
                match effect {
                    Effect::Kill(means) => used.push(means),
                    Effect::Answer => {}
                    Effect::Ask => panic!("asked once"),
                }
            }
        }
        assert_eq!(used[..4], [CgroupKill, FreezeKill, Walk, Walk]);
        assert!(used.len() > 500, "the walk is tried until patience ends: {}", used.len());
        assert_eq!(stop.phase(), Phase::Settled { means: Walk, is_clean: false });
        assert_eq!(stop.apply(Event::Asked { grace: GRACE }, start), [Effect::Kill(CgroupKill)]);
    }

    #[test]
    fn means_that_cannot_be_used_cost_no_time() {
        let (start, mut stop) = (now(), StopMachine::new(CgroupKill));
        stop.apply(Event::Asked { grace: Duration::ZERO }, start);
        assert_eq!(stop.apply(Event::Tick, start), [Effect::Kill(CgroupKill)]);
        stop.cannot(CgroupKill);
        assert_eq!(stop.apply(Event::Tick, start), [Effect::Kill(FreezeKill)]);
        stop.cannot(FreezeKill);
        assert_eq!(stop.apply(Event::Tick, start), [Effect::Kill(Walk)]);
        assert_eq!(stop.apply(Event::Tick, start), [], "a walk takes its time");
    }

    proptest! {
        /// Whatever comes in whatever order: who asks is answered, in bounded time, and it is said
        /// that nothing is left only when nothing is.
        #[test]
        fn a_stop_that_was_asked_for_is_answered(
            order in proptest::collection::vec((0_u8..3, 0_u64..2_000), 0..40),
        ) {
            let mut at = now();
            let mut stop = StopMachine::new(FreezeKill);
            let mut gone = false;
            for (event, ms) in order {
                at += Duration::from_millis(ms);
                let event = match event {
                    0 => Event::Asked { grace: Duration::from_millis(ms) },
                    1 => Event::Gone,
                    _ => Event::Tick,
                };
                gone = matches!(event, Event::Gone);
                let was_active = stop.is_active();
                let effects = stop.apply(event, at);
                let is_answered = effects.contains(&Effect::Answer);
                prop_assert_eq!(is_answered, was_active && !stop.is_active());
                if is_answered {
                    prop_assert_eq!(matches!(stop.phase(), Phase::Settled { is_clean: true, .. }), gone);
                }
            }
            let mut looks = 0;
            while let Some(next) = stop.deadline() {
                at = at.max(next);
                stop.apply(Event::Tick, at);
                looks += 1;
                prop_assert!(looks < 2_000);
            }
            let _ = gone;
            prop_assert!(!stop.is_active());
        }
    }
}
