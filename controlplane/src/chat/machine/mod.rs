//! The chat state machine: what may happen to a chat, and what has to be written for it.
//!
//! It owns the rules and nothing else: no clock, no ids, no SQL. The store loads the facts under
//! the lock of the chat's row, applies one event, runs the effects in order in the same
//! transaction and writes the new facts. Every time in an event was chosen by its sender, so
//! `apply` needs no `now`.
//!
//! ```text
//!            create                       finish_error
//!       N ───────────► R0,R1 ◄─────────────────────────► E0,E1 ◄──archive──► XE0,XE1
//!                      ▲ │ ▲  send, promote                ▲
//!                 send │ │ │                               │ reconcile
//!                      │ │ └── finish_interruption (queue) │ (from any contradiction)
//!      XW ◄─archive─► W  │            │
//!                     ▲▲ │ interrupt, │
//!         finish_turn ││ │ send_interrupt, promote
//!         (no queue)  ││ ▼            │
//!                     │└ I0,I1 ───────┘          A0,A1: waits for a person, a client or agents;
//!                     └── finish_interruption    interrupt answers the calls and ends the turn
//! ```
//!
//! Ownership is orthogonal: `acquire` takes a chat from nobody or from a worker whose lease ended,
//! and raises its epoch; coming to rest or `abandon` frees it. That the sender of a worker's event
//! *is* the owner is not checked here but by the fence in SQL.
//!
//! Invariants: a user message is never inserted while a call is open (the calls get error results
//! first); results stand in the order of their calls, in one message per step; a chat at rest or in
//! error has no open call and no owner; at most [`QUEUE_MAX`] messages wait; leaving the error state
//! clears the error.
//!
//! `transitions.txt` beside this file is the table *state × event → effects, state*; a test walks
//! the machine and compares.

mod effect;
mod event;
mod gate;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use effect::{Effect, QUEUE_MAX, Refusal, Unanswered};
pub use event::{
    Asked, AssistantMessage, Awaited, Busy, Event, FallbackState, Intent, Queued, RetryState,
    Target, ToolAnswer, UserMessage,
};
pub use gate::{Class, Gate, Mode, Pattern, Rule, gate};
pub use state::{ExecutionState, Facts};

use super::event::ChatStatus;
use ExecutionState as S;
use rules::{at_rest, commit, interrupting, refuse, unfit};

/// One chat. Loaded, asked once or more within a transaction, and dropped.
#[derive(Clone, Debug)]
pub struct ChatMachine {
    /// None: the chat does not exist yet.
    facts: Option<Facts>,
}

impl ChatMachine {
    /// A chat that does not exist yet.
    #[must_use]
    pub const fn absent() -> Self {
        Self { facts: None }
    }

    /// The chat as it is stored.
    #[must_use]
    pub const fn load(facts: Facts) -> Self {
        Self { facts: Some(facts) }
    }

    /// What is to be stored; none: the chat does not exist yet.
    #[must_use]
    pub const fn facts(&self) -> Option<Facts> {
        self.facts
    }

    /// Where the chat stands.
    #[must_use]
    pub const fn state(&self) -> ExecutionState {
        match &self.facts {
            Some(facts) => ExecutionState::of(facts),
            None => S::N,
        }
    }

    /// Moves the chat on by one event. An event that does not fit leaves it as it is and yields
    /// [`Effect::Refuse`] alone; no effect at all means that it is so already.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.effects(event);
        for effect in &effects {
            self.follow(effect);
        }
        effects
    }

    /// The table. Changes nothing.
    fn effects(&self, event: Event) -> Vec<Effect> {
        let (state, name) = (self.state(), event.name());
        let Some(facts) = self.facts else {
            return match event {
                Event::Create(message) => {
                    vec![Effect::InsertUser(message), Effect::SetStatus(ChatStatus::Running)]
                }
                Event::Copy => vec![Effect::CopyHistory, Effect::SetStatus(ChatStatus::Waiting)],
                _ => refuse(Refusal::NotAllowed { event: name, state }),
            };
        };
        match (state, event) {
            (S::Invalid, Event::Reconcile(error)) => facts.reconcile(error),
            (S::Invalid, _) => refuse(Refusal::Invalid),

            (_, Event::SetArchived(archived)) => facts.set_archived(state, archived, name),
            (
                S::XW | S::XE0 | S::XE1,
                Event::Send { .. }
                | Event::DeleteQueued { .. }
                | Event::Promote { .. }
                | Event::EditQueued { .. }
                | Event::MoveQueued { .. }
                | Event::EditMessage { .. }
                | Event::SwitchBranch { .. }
                | Event::Continue
                | Event::Report(_)
                | Event::Interrupt,
            ) => refuse(Refusal::Archived),

            (S::W | S::E0, Event::Send { message, .. }) => {
                facts.begin_turn(vec![Effect::InsertUser(message)])
            }
            (_, Event::Send { .. }) if facts.queue >= QUEUE_MAX => {
                refuse(Refusal::QueueFull { max: QUEUE_MAX })
            }
            (S::E1, Event::Send { message, busy }) => facts.begin_turn(vec![
                Effect::Enqueue { message, steer: busy == Busy::Steer },
                Effect::PromoteHead,
            ]),
            (S::R0 | S::R1, Event::Send { message, busy: Busy::Interrupt }) => {
                let mut effects = vec![Effect::Enqueue { message, steer: false }];
                effects.extend(interrupting());
                effects
            }
            (S::A0 | S::A1, Event::Send { message, busy: Busy::Interrupt }) => {
                let mut effects = facts.answer_open_calls(Unanswered::NewMessage);
                effects.extend([
                    Effect::Enqueue { message, steer: false },
                    Effect::PromoteHead,
                    Effect::SetStatus(ChatStatus::Running),
                ]);
                effects
            }
            (_, Event::Send { message, busy }) => {
                vec![Effect::Enqueue { message, steer: busy == Busy::Steer }]
            }

            (
                _,
                Event::DeleteQueued { found: None, .. }
                | Event::Promote { found: None, .. }
                | Event::EditQueued { found: None, .. }
                | Event::MoveQueued { found: None, .. },
            ) => refuse(Refusal::QueuedNotFound),
            (S::E1 | S::R1 | S::I1 | S::A1, Event::DeleteQueued { id, found: Some(found) }) => {
                vec![Effect::Dequeue { id, steer: found.steer }]
            }
            (S::E1 | S::R1 | S::I1 | S::A1, Event::EditQueued { id, message, .. }) => {
                vec![Effect::Rewrite(id, message)]
            }
            (S::E1 | S::R1 | S::I1 | S::A1, Event::MoveQueued { id, to, .. }) => {
                vec![Effect::MoveInQueue { id, to }]
            }
            (S::E1 | S::R1 | S::I1 | S::A1, Event::Promote { id, found: Some(found) }) => {
                facts.promote(state, Effect::MoveToHead { id, steer: found.steer })
            }

            (S::W, Event::Report(message)) => facts.begin_turn(vec![Effect::InsertUser(message)]),
            // Not counted against the queue: agents are, and nothing that one tells is lost.
            (_, Event::Report(message)) => vec![Effect::Enqueue { message, steer: true }],
            (S::R0 | S::R1, Event::Wait { op_id, found }) => facts.wait(op_id, found),

            (S::R0 | S::R1, Event::Interrupt) => interrupting(),
            // A second press of Stop: it is so already.
            (S::I0 | S::I1, Event::Interrupt) => vec![],
            (S::A0 | S::A1, Event::Interrupt) => facts.stop_waiting(),

            (_, Event::EditMessage { id, found, message }) => {
                facts.edit_message(id, found, message)
            }
            (S::W | S::E0 | S::E1, Event::SwitchBranch { id, found }) => match found {
                Target::Missing => refuse(Refusal::MessageNotFound),
                Target::NotUser => refuse(Refusal::NotUserMessage),
                Target::User => vec![Effect::ShowBranch(id)],
            },
            (S::E0 | S::E1, Event::Continue) => {
                vec![Effect::ClearError, Effect::GrantSteps, Effect::SetStatus(ChatStatus::Running)]
            }

            (
                _,
                Event::Approve { found, .. }
                | Event::Answer { found, .. }
                | Event::Expire { found, .. },
            ) if unfit(found).is_some() => refuse(unfit(found).unwrap_or(Refusal::ActionNotFound)),
            (S::R0 | S::R1 | S::A0 | S::A1, Event::Approve { op_id, .. }) => facts.approve(op_id),
            (
                S::R0 | S::R1 | S::A0 | S::A1,
                Event::Answer { answer, .. } | Event::Expire { answer, .. },
            ) => facts.answer(answer),
            // The turn is being stopped: every call is about to get its error result.
            (_, Event::Approve { .. } | Event::Answer { .. } | Event::Expire { .. }) => {
                refuse(Refusal::ActionResolved)
            }

            (S::R0 | S::R1, Event::Acquire) if facts.unanswered == 0 && !facts.retrying => {
                vec![Effect::Own, Effect::BeginAttempt]
            }
            (S::R0 | S::R1 | S::I0 | S::I1, Event::Acquire) => vec![Effect::Own],
            (_, Event::Abandon) if facts.owned => vec![Effect::Disown],

            (
                S::R0 | S::R1,
                Event::Attempt
                | Event::Retry(_)
                | Event::FallBack(_)
                | Event::CommitStep { .. }
                | Event::FinishTurn,
            ) if facts.unanswered > 0 => {
                refuse(Refusal::CallsUnanswered { open: facts.unanswered })
            }
            (S::R0 | S::R1, Event::Attempt) => vec![Effect::ClearRetry, Effect::BeginAttempt],
            (S::R0 | S::R1, Event::Retry(retry)) => vec![Effect::NoteRetry(retry)],
            (S::R0 | S::R1, Event::FallBack(fallback)) => {
                vec![Effect::ClearRetry, Effect::NoteFallback(fallback), Effect::BeginAttempt]
            }
            (S::R0 | S::R1, Event::CommitStep { message, intents }) => commit(message, intents),
            (S::R0 | S::R1 | S::I0 | S::I1, Event::StoreResult { answer, found }) => {
                facts.store_result(answer, found)
            }
            (S::R0, Event::FinishTurn) => at_rest(ChatStatus::Waiting),
            (S::R1, Event::FinishTurn) => vec![Effect::PromoteHead, Effect::BeginAttempt],
            (S::I0 | S::I1, Event::FinishInterruption { partial }) => {
                facts.finish_interruption(partial)
            }
            (S::R0 | S::R1, Event::FinishError(error)) => {
                let mut effects = facts.answer_open_calls(Unanswered::Failed);
                effects.extend([Effect::ClearRetry, Effect::NoteError(error)]);
                effects.extend(at_rest(ChatStatus::Error));
                effects
            }
            _ => refuse(Refusal::NotAllowed { event: name, state }),
        }
    }

    /// Keeps the facts in step with an effect.
    fn follow(&mut self, effect: &Effect) {
        if self.facts.is_none() {
            if let Effect::SetStatus(status) = effect {
                self.facts = Some(Facts::born(*status));
            }
            return;
        }
        let Some(facts) = &mut self.facts else { return };
        match effect {
            Effect::AnswerOpenCalls(_) => (facts.unanswered, facts.awaited) = (0, 0),
            Effect::Intend(intents) => {
                let waits = intents.iter().filter(|intent| intent.gate != Gate::Open).count();
                facts.unanswered = u32::try_from(intents.len()).unwrap_or(u32::MAX);
                facts.awaited = u32::try_from(waits).unwrap_or(u32::MAX);
            }
            Effect::OpenGate(_) => facts.awaited = facts.awaited.saturating_sub(1),
            Effect::CloseGate(_) => facts.awaited += 1,
            Effect::RecordAnswer(_) => {
                facts.unanswered = facts.unanswered.saturating_sub(1);
                facts.awaited = facts.awaited.saturating_sub(1);
            }
            Effect::RecordResult(_) => facts.unanswered = facts.unanswered.saturating_sub(1),
            Effect::Enqueue { steer, .. } => {
                facts.queue += 1;
                facts.steered += u32::from(*steer);
            }
            Effect::Dequeue { steer, .. } => {
                facts.queue = facts.queue.saturating_sub(1);
                facts.steered = facts.steered.saturating_sub(u32::from(*steer));
            }
            Effect::MoveToHead { steer, .. } => facts.steered += u32::from(!*steer),
            // Steering messages stand first.
            Effect::PromoteHead => {
                facts.queue = facts.queue.saturating_sub(1);
                facts.steered = facts.steered.saturating_sub(1);
            }
            Effect::PromoteSteered => {
                facts.queue = facts.queue.saturating_sub(facts.steered);
                facts.steered = 0;
            }
            Effect::NoteRetry(_) => facts.retrying = true,
            Effect::ClearRetry | Effect::BeginAttempt => facts.retrying = false,
            Effect::Own => facts.owned = true,
            Effect::Disown => facts.owned = false,
            Effect::SetStatus(status) => facts.status = *status,
            Effect::SetArchived(archived) => facts.archived = *archived,
            Effect::Refuse(_)
            | Effect::InsertUser(_)
            | Effect::CopyHistory
            | Effect::Fork { .. }
            | Effect::ShowBranch(_)
            | Effect::MoveInQueue { .. }
            | Effect::GrantSteps
            | Effect::InsertAssistant(_)
            | Effect::InsertPartial(_)
            | Effect::SealBatch
            | Effect::Rewrite(..)
            | Effect::NoteFallback(_)
            | Effect::NoteError(_)
            | Effect::ClearError => {}
        }
    }
}
