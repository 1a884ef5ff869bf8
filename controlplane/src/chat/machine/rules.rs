//! The longer rows of the table: what several states share.

use super::super::content::Part;
use super::super::event::{ChatErrorView, ChatStatus};
use super::ExecutionState as S;
use super::effect::{Effect, Refusal, Unanswered};
use super::event::{Asked, AssistantMessage, Awaited, Intent, Target, ToolAnswer, UserMessage};
use super::gate::Gate;
use super::state::{ExecutionState, Facts};
use shared::ids::{MessageId, OpId};

pub(super) fn refuse(refusal: Refusal) -> Vec<Effect> {
    vec![Effect::Refuse(refusal)]
}

pub(super) fn interrupting() -> Vec<Effect> {
    vec![Effect::ClearRetry, Effect::SetStatus(ChatStatus::Interrupting)]
}

pub(super) fn at_rest(status: ChatStatus) -> Vec<Effect> {
    vec![Effect::SetStatus(status), Effect::Disown]
}

/// Each tool call of the message has one intent, in order; without calls there is none.
pub(super) fn commit(message: AssistantMessage, intents: Vec<Intent>) -> Vec<Effect> {
    let calls = message.content.iter().filter_map(|stored| match &stored.part {
        Part::ToolCall { tool_call_id, .. } => Some(tool_call_id),
        _ => None,
    });
    if !calls.eq(intents.iter().map(|intent| &intent.tool_call_id)) {
        return refuse(Refusal::IntentsMismatch);
    }
    let mut effects = vec![Effect::ClearRetry, Effect::InsertAssistant(message)];
    if !intents.is_empty() {
        let all_wait = intents.iter().all(|intent| intent.gate != Gate::Open);
        effects.push(Effect::Intend(intents));
        if all_wait {
            effects.extend(at_rest(ChatStatus::RequiresAction));
        }
    }
    effects
}

/// Why a call that waits cannot be decided; none: it can.
pub(super) fn unfit(found: Awaited) -> Option<Refusal> {
    match found {
        Awaited::Unknown => Some(Refusal::ActionNotFound),
        Awaited::Resolved => Some(Refusal::ActionResolved),
        Awaited::Waiting => None,
    }
}

impl Facts {
    /// A chat in the moment of its creation.
    pub(super) const fn born(status: ChatStatus) -> Self {
        Self {
            status,
            archived: false,
            queue: 0,
            steered: 0,
            unanswered: 0,
            awaited: 0,
            owned: false,
            retrying: false,
        }
    }

    pub(super) fn answer_open_calls(&self, why: Unanswered) -> Vec<Effect> {
        if self.unanswered == 0 { vec![] } else { vec![Effect::AnswerOpenCalls(why)] }
    }

    /// From rest or error: what is said begins a turn.
    pub(super) fn begin_turn(&self, said: Vec<Effect>) -> Vec<Effect> {
        let mut effects = self.answer_open_calls(Unanswered::NewMessage);
        if self.status == ChatStatus::Error {
            effects.push(Effect::ClearError);
        }
        effects.extend(said);
        effects.push(Effect::SetStatus(ChatStatus::Running));
        effects
    }

    /// A queued message is to be answered now: at once, or after the stop of what runs.
    pub(super) fn promote(&self, state: ExecutionState, to_head: Effect) -> Vec<Effect> {
        match state {
            S::R1 => {
                let mut effects = vec![to_head];
                effects.extend(interrupting());
                effects
            }
            S::I1 => vec![to_head],
            _ => self.begin_turn(vec![to_head, Effect::PromoteHead]),
        }
    }

    pub(super) fn set_archived(
        &self,
        state: ExecutionState,
        archived: bool,
        event: &'static str,
    ) -> Vec<Effect> {
        match state {
            S::W | S::E0 | S::E1 if archived => vec![Effect::SetArchived(true)],
            S::XW | S::XE0 | S::XE1 if !archived => vec![Effect::SetArchived(false)],
            S::XW | S::XE0 | S::XE1 => refuse(Refusal::AlreadyArchived),
            _ if !archived => refuse(Refusal::NotArchived),
            _ => refuse(Refusal::NotAllowed { event, state }),
        }
    }

    /// The last answer seals the batch; steering messages follow it, and the model is next.
    pub(super) fn store_result(&self, answer: ToolAnswer, found: Asked) -> Vec<Effect> {
        match found {
            Asked::Unknown => return refuse(Refusal::ResultUnexpected),
            Asked::Answered => return refuse(Refusal::ResultDuplicate),
            Asked::Open => {}
        }
        let mut effects = vec![Effect::RecordResult(answer)];
        if self.unanswered <= 1 {
            effects.push(Effect::SealBatch);
            if self.status == ChatStatus::Running {
                if self.steered > 0 {
                    effects.push(Effect::PromoteSteered);
                }
                effects.push(Effect::BeginAttempt);
            }
        } else if self.status == ChatStatus::Running && self.unanswered - 1 == self.awaited {
            // Only people and clients are left: nothing to drive.
            effects.extend(at_rest(ChatStatus::RequiresAction));
        }
        effects
    }

    /// A call waits for agents. If all that are open wait now, there is nothing to drive.
    pub(super) fn wait(&self, op_id: OpId, found: Asked) -> Vec<Effect> {
        match found {
            Asked::Unknown => return refuse(Refusal::ResultUnexpected),
            Asked::Answered => return refuse(Refusal::ResultDuplicate),
            Asked::Open => {}
        }
        if self.unanswered <= self.awaited {
            return refuse(Refusal::ResultUnexpected);
        }
        let mut effects = vec![Effect::CloseGate(op_id)];
        if self.unanswered == self.awaited + 1 {
            effects.extend(at_rest(ChatStatus::RequiresAction));
        }
        effects
    }

    /// A call may run. Where nobody drives the chat, somebody is needed again.
    pub(super) fn approve(&self, op_id: OpId) -> Vec<Effect> {
        let mut effects = vec![Effect::OpenGate(op_id)];
        if self.status == ChatStatus::RequiresAction {
            effects.push(Effect::SetStatus(ChatStatus::Running));
        }
        effects
    }

    /// A person's or a client's answer; the last one of the batch seals it, and the model is next.
    pub(super) fn answer(&self, answer: ToolAnswer) -> Vec<Effect> {
        let mut effects = vec![Effect::RecordAnswer(answer)];
        if self.unanswered <= 1 {
            effects.push(Effect::SealBatch);
            if self.steered > 0 {
                effects.push(Effect::PromoteSteered);
            }
            effects.push(Effect::SetStatus(ChatStatus::Running));
        }
        effects
    }

    /// Calls get error results in the branch that is left, and the new branch begins a turn.
    pub(super) fn edit_message(
        &self,
        id: MessageId,
        found: Target,
        message: UserMessage,
    ) -> Vec<Effect> {
        match found {
            Target::Missing => return refuse(Refusal::MessageNotFound),
            Target::NotUser => return refuse(Refusal::NotUserMessage),
            Target::User => {}
        }
        let mut effects = self.answer_open_calls(Unanswered::Edited);
        effects.push(Effect::ClearRetry);
        if self.status == ChatStatus::Error {
            effects.push(Effect::ClearError);
        }
        effects.extend([Effect::Fork { id, message }, Effect::SetStatus(ChatStatus::Running)]);
        effects
    }

    /// A stop while only people are waited for: nothing runs, so it is done at once.
    pub(super) fn stop_waiting(&self) -> Vec<Effect> {
        let mut effects = self.answer_open_calls(Unanswered::Interrupted);
        if self.queue == 0 {
            effects.extend(at_rest(ChatStatus::Waiting));
        } else {
            effects.extend([Effect::PromoteHead, Effect::SetStatus(ChatStatus::Running)]);
        }
        effects
    }

    pub(super) fn finish_interruption(&self, partial: Option<AssistantMessage>) -> Vec<Effect> {
        let mut effects = self.answer_open_calls(Unanswered::Interrupted);
        if let Some(partial) = partial.filter(|partial| !partial.content.is_empty()) {
            effects.push(Effect::InsertPartial(partial));
        }
        if self.queue == 0 {
            effects.extend(at_rest(ChatStatus::Waiting));
        } else {
            effects.extend([
                Effect::PromoteHead,
                Effect::SetStatus(ChatStatus::Running),
                Effect::BeginAttempt,
            ]);
        }
        effects
    }

    pub(super) fn reconcile(&self, error: ChatErrorView) -> Vec<Effect> {
        // Whatever the counts say.
        let mut effects = vec![Effect::AnswerOpenCalls(Unanswered::Reconciled)];
        effects.extend([
            Effect::ClearRetry,
            Effect::SetArchived(false),
            Effect::NoteError(error),
            Effect::SetStatus(ChatStatus::Error),
            Effect::Disown,
        ]);
        effects
    }
}
