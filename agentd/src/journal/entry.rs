//! The life of one journal entry. Pure.
//!
//! ```text
//!            asked              recorded             ended              acknowledged
//!  absent ──────────► claimed ──────────► begun ───────────────► ended ──────────────► settled
//!    ▲ │                 │                  │ restarted            ▲
//!    │ │   not recorded  │                  ▼                      │ ended
//!    │ │ ◄───────────────┘             interrupted ────────────────┘
//!    │ │                                    │
//!    │ └─ cancel ─► cancelling ─recorded─► cancelled
//!    └──────────────────────────────────────┘ never ran
//! ```
//!
//! | state | asked | cancel |
//! |---|---|---|
//! | absent | record the begin | record the cancellation |
//! | claimed, begun | attach | say running |
//! | interrupted | refuse: unknown | say running |
//! | ended | answer | say ended |
//! | settled | refuse: settled | say ended |
//! | cancelling | wait for the record, then refuse: cancelled | wait for the record |
//! | cancelled | refuse: cancelled | say cancelled |
//!
//! Asked with another hash is refused in every state but absent. An event that does not fit is
//! the effect [`Effect::Stale`]: links repeat and reorder.

/// What an operation asks for, in short: 16 bytes of the BLAKE3 of the fence's hash text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// Of the fence's hash.
    #[must_use]
    pub fn of(hash: &str) -> Self {
        let full = blake3::hash(hash.as_bytes());
        Self(full.as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is known of it; provably nothing was done.
    Absent,
    /// The begin is on its way to the disk.
    Claimed,
    /// The begin is durable; it may have had its effect.
    Begun,
    /// It had begun when the daemon ended.
    Interrupted,
    /// Its outcome is durable.
    Ended,
    /// Its outcome was acknowledged and dropped.
    Settled,
    /// The cancellation is on its way to the disk.
    Cancelling,
    /// It never begins.
    Cancelled,
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks for the operation.
    Asked(Digest),
    /// The record that was asked for last is durable.
    Recorded,
    /// The record that was asked for last could not be made durable; nothing was done.
    NotRecorded,
    /// The outcome is durable.
    Ended,
    /// Somebody wants it never to begin.
    Cancel,
    /// The outcome is committed elsewhere.
    Acknowledged,
    /// The daemon has started anew.
    Restarted,
    /// Its service has proof that it had no effect.
    NeverRan,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the begin durable, then report [`Event::Recorded`] or [`Event::NotRecorded`].
    RecordBegin,
    /// Make the cancellation durable, then report.
    RecordCancel,
    /// Run it: exactly one asker is told this.
    Run,
    /// Wait for the one that runs it.
    Attach,
    /// Give the recorded outcome.
    Answer,
    /// Do not run it, and say why.
    Refuse(Refusal),
    /// Tell the canceller that it runs, or may have run.
    SayRunning,
    /// Tell the canceller that it has ended.
    SayEnded,
    /// Tell the canceller that it never begins, once that is durable.
    SayCancelled,
    /// Wake whoever is attached: there is an outcome, or a refusal.
    Wake,
    /// Nothing: late or repeated.
    Stale,
}

/// Why an operation is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The id was used for something else.
    Conflict,
    /// It was cancelled before it began.
    Cancelled,
    /// It ended, and its outcome was acknowledged.
    Settled,
    /// It had begun when the daemon ended, and how far it got is not known.
    Unknown,
}

/// One entry: where it stands and what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    phase: Phase,
    digest: Option<Digest>,
}

impl Entry {
    /// Nothing is known.
    #[must_use]
    pub const fn absent() -> Self {
        Self { phase: Phase::Absent, digest: None }
    }

    /// As a replayed record says.
    #[must_use]
    pub const fn replayed(phase: Phase, digest: Option<Digest>) -> Self {
        Self { phase, digest }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What was asked; none when it was cancelled before it was asked.
    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Moves on by one event. Effects are to be run in order.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        use Phase::{Absent, Begun, Cancelled, Cancelling, Claimed, Ended, Interrupted, Settled};
        match (self.phase, event) {
            (Absent, Event::Asked(digest)) => {
                self.digest = Some(digest);
                self.go(Claimed, vec![Effect::RecordBegin])
            }
            (_, Event::Asked(digest)) if self.digest.is_some_and(|asked| asked != digest) => {
                vec![Effect::Refuse(Refusal::Conflict)]
            }
            (Claimed | Begun, Event::Asked(_)) => vec![Effect::Attach],
            (Interrupted, Event::Asked(_)) => vec![Effect::Refuse(Refusal::Unknown)],
            (Ended, Event::Asked(_)) => vec![Effect::Answer],
            (Settled, Event::Asked(_)) => vec![Effect::Refuse(Refusal::Settled)],
            (Cancelling | Cancelled, Event::Asked(_)) => vec![Effect::Refuse(Refusal::Cancelled)],

            (Claimed, Event::Recorded) => self.go(Begun, vec![Effect::Run]),
            (Claimed, Event::NotRecorded) => self.forget(vec![Effect::Wake]),
            (Cancelling, Event::Recorded) => self.go(Cancelled, vec![Effect::SayCancelled]),
            (Cancelling, Event::NotRecorded) => self.forget(vec![]),

            (Begun | Interrupted, Event::Ended) => self.go(Ended, vec![Effect::Wake]),
            (Interrupted, Event::NeverRan) => self.forget(vec![]),
            (Claimed | Begun, Event::Restarted) => self.go(Interrupted, vec![]),
            (Ended, Event::Acknowledged) => self.go(Settled, vec![]),

            (Absent, Event::Cancel) => self.go(Cancelling, vec![Effect::RecordCancel]),
            (Claimed | Begun | Interrupted, Event::Cancel) => vec![Effect::SayRunning],
            (Ended | Settled, Event::Cancel) => vec![Effect::SayEnded],
            (Cancelling | Cancelled, Event::Cancel) => vec![Effect::SayCancelled],

            _ => vec![Effect::Stale],
        }
    }

    fn go(&mut self, phase: Phase, effects: Vec<Effect>) -> Vec<Effect> {
        self.phase = phase;
        effects
    }

    fn forget(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        *self = Self::absent();
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Digest = Digest([1; 16]);
    const B: Digest = Digest([2; 16]);
    const EVENTS: [Event; 9] = [
        Event::Asked(A),
        Event::Asked(B),
        Event::Recorded,
        Event::NotRecorded,
        Event::Ended,
        Event::Cancel,
        Event::Acknowledged,
        Event::Restarted,
        Event::NeverRan,
    ];

    /// Walks the machine from `absent` with one hash and prints every move.
    fn transitions() -> Vec<String> {
        let mut seen = vec![Entry::absent()];
        let mut lines = Vec::new();
        let mut next = 0;
        while let Some(entry) = seen.get(next).cloned() {
            next += 1;
            for event in EVENTS.into_iter().filter(|event| *event != Event::Asked(B)) {
                let mut moved = entry.clone();
                let effects = moved.apply(event);
                if effects == [Effect::Stale] {
                    assert_eq!(moved, entry, "a stale event changes nothing");
                    continue;
                }
                let name =
                    if event == Event::Asked(A) { "Asked".into() } else { format!("{event:?}") };
                lines.push(format!("{:?} {name} {:?} {effects:?}", entry.phase, moved.phase));
                if !seen.contains(&moved) {
                    seen.push(moved);
                }
            }
        }
        lines.sort();
        lines.dedup();
        lines
    }

    #[test]
    fn the_drawing_is_the_machine() {
        let expected = "\
Absent Asked Claimed [RecordBegin]
Absent Cancel Cancelling [RecordCancel]
Begun Asked Begun [Attach]
Begun Cancel Begun [SayRunning]
Begun Ended Ended [Wake]
Begun Restarted Interrupted []
Cancelled Asked Cancelled [Refuse(Cancelled)]
Cancelled Cancel Cancelled [SayCancelled]
Cancelling Asked Cancelling [Refuse(Cancelled)]
Cancelling Cancel Cancelling [SayCancelled]
Cancelling NotRecorded Absent []
Cancelling Recorded Cancelled [SayCancelled]
Claimed Asked Claimed [Attach]
Claimed Cancel Claimed [SayRunning]
Claimed NotRecorded Absent [Wake]
Claimed Recorded Begun [Run]
Claimed Restarted Interrupted []
Ended Acknowledged Settled []
Ended Asked Ended [Answer]
Ended Cancel Ended [SayEnded]
Interrupted Asked Interrupted [Refuse(Unknown)]
Interrupted Cancel Interrupted [SayRunning]
Interrupted Ended Ended [Wake]
Interrupted NeverRan Absent []
Settled Asked Settled [Refuse(Settled)]
Settled Cancel Settled [SayEnded]";
        assert_eq!(transitions().join("\n"), expected);
    }

    proptest! {
        /// The promise itself: whatever comes in whatever order, the operation is run again only
        /// after its service has proved that it had not run, or its begin was never recorded.
        #[test]
        fn it_runs_at_most_once(events in proptest::collection::vec(0..EVENTS.len(), 0..60)) {
            let mut entry = Entry::absent();
            let mut ran = false;
            let mut hash = None;
            for event in events.into_iter().map(|n| EVENTS[n]) {
                let before = entry.phase();
                for effect in entry.apply(event) {
                    match effect {
                        Effect::Run => {
                            prop_assert!(!ran, "run twice");
                            ran = true;
                        }
                        Effect::RecordBegin => if let Event::Asked(digest) = event { hash = Some(digest) },
                        Effect::Attach | Effect::Answer => {
                            let asked = if let Event::Asked(digest) = event { Some(digest) } else { None };
                            prop_assert_eq!(asked, hash, "attached to another operation");
                        }
                        _ => {}
                    }
                }
                if before == Phase::Interrupted && entry.phase() == Phase::Absent {
                    ran = false; // proved by its service
                }
            }
        }

        #[test]
        fn a_cancelled_one_never_runs(events in proptest::collection::vec(0..EVENTS.len(), 0..60)) {
            let mut entry = Entry::absent();
            entry.apply(Event::Cancel);
            entry.apply(Event::Recorded);
            for event in events {
                prop_assert!(!entry.apply(EVENTS[event]).contains(&Effect::Run));
            }
        }
    }
}
