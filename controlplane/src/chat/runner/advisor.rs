//! The advisor: a model call inside a tool call, without tools, alone in its step.
//!
//! ```text
//! advisor{question} ─► the end of the conversation as one text ─► model ─► advice, live to viewers
//!                                                                    └► one commit: answer + usage
//! ```
//!
//! A crash in the middle asks again: nothing but tokens is spent twice. A stop ends it like any model
//! call. It fails once: what went wrong is the answer, and the model decides.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::checkpoint::Checkpoints;
use super::generate::{PARK, answer};
use super::{Leave, Runner, effort};
use crate::chat::content::{Part, Role, StoredPart, Usage};
use crate::chat::context::files::note;
use crate::chat::context::marks::is_said;
use crate::chat::event::PreviewKind;
use crate::chat::history::{self, Reader};
use crate::chat::hub::{EpisodeWriter, Piece};
use crate::chat::machine::ToolAnswer;
use crate::chat::ports::ModelChoice;
use crate::llm::{Event, Files, Prompt, PromptMessage};
use crate::store::chats::OperationRow;
use crate::tools::ToolOutcome;
use crate::tools::advisor::ADVISOR;

/// Questions in one turn.
pub(super) const USES_MAX: usize = 10;
/// Messages that the advisor sees.
const MESSAGES_MAX: usize = 20;
/// Most of them, in bytes.
const CONVERSATION_MAX_BYTES: usize = 12_000;
/// Longest answer.
const OUTPUT_TOKENS: u64 = 16_384;

const SYSTEM: &str = "You advise another model that works for a software developer. You see the end of its \
    conversation and its question. You have no tools and cannot ask back. Say what you would do and why, what speaks \
    against it, and what it seems to have overlooked. Be brief and exact; say where you are not sure.";

/// How the call ended, for the model.
struct Advice {
    text: String,
    model: String,
    usage: Option<Usage>,
    error: Option<String>,
}

impl Runner {
    /// Whether this chat may ask an advisor.
    pub(super) fn may_ask_advisor(&self) -> bool {
        self.chat.parent_id.is_none() && self.chat.mode != "plan"
    }

    /// Carries out one question. False: the chat moved on, or was stopped in the middle.
    pub(super) async fn run_advisor(
        &mut self,
        row: &OperationRow,
        writer: &EpisodeWriter,
    ) -> Result<bool, Leave> {
        let begun = Instant::now();
        let used = self.advised();
        let refused = if !self.may_ask_advisor() {
            Some(ToolOutcome::error("unknown_tool", "This chat has no advisor."))
        } else if used >= USES_MAX {
            let text =
                format!("The advisor was asked {USES_MAX} times in this turn, which is the limit.");
            Some(ToolOutcome::error("limit_reached", text))
        } else {
            self.shared.advisor.problem(&row.args)
        };
        if let Some(outcome) = refused {
            return self.store_answer(row, outcome, Duration::ZERO, writer).await;
        }
        let choice = match self.advisor_choice(row).await {
            Ok(choice) => choice,
            Err(outcome) => return self.store_answer(row, outcome, Duration::ZERO, writer).await,
        };
        self.trace_advice(row, &choice);
        let prompt = self.advisor_prompt(&choice, row);
        let checkpoints = Checkpoints::of(self);
        let seen = self.seen();
        let index = super::tools::index_of(row);
        let mut text = String::new();
        let ended = {
            let mut answering = pin!(answer(&choice, prompt, writer, &checkpoints, |event| {
                if let Event::Text { delta, .. } = event {
                    let kind = PreviewKind::ToolResult;
                    writer.publish(Piece::Delta { index, kind, text: &delta });
                    text.push_str(&delta);
                }
            }));
            tokio::select! {
                biased;
                stop = self.watch.stopped(PARK, seen) => Err(stop),
                ended = &mut answering => Ok(ended),
            }
        };
        let advice = match ended {
            Err(stop) => {
                self.stopped(stop).await?;
                return Ok(false);
            }
            Ok(Ok(answer)) => Advice {
                text,
                model: answer.model.unwrap_or_else(|| choice.model.clone()),
                usage: Some(answer.usage),
                error: None,
            },
            Ok(Err(error)) => Advice {
                text: String::new(),
                model: choice.model.clone(),
                usage: None,
                error: Some(error.message),
            },
        };
        self.keep_advice(row, advice, used, begun.elapsed(), writer).await
    }

    async fn keep_advice(
        &mut self,
        row: &OperationRow,
        advice: Advice,
        used: usize,
        took: Duration,
        writer: &EpisodeWriter,
    ) -> Result<bool, Leave> {
        let remaining = USES_MAX.saturating_sub(used + 1);
        let result = match &advice.error {
            None => json!({ "type": "advice", "advice": advice.text,
                "advisor_model": advice.model, "remaining_uses": remaining }),
            Some(message) => json!({ "type": "error", "advisor_model": advice.model,
                "remaining_uses": remaining,
                "error": { "code": "advisor_failed", "message": message } }),
        };
        let answer = ToolAnswer {
            op_id: row.op_id,
            result,
            is_error: advice.error.is_some(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            plan: None,
        };
        self.trace_advice_over(row, advice.usage.as_ref(), advice.error.as_deref());
        let outcome = ToolOutcome {
            result: answer.result.clone(),
            is_error: answer.is_error,
            process_ids: Vec::new(),
        };
        self.trace_tool_over(row, &outcome, (Duration::ZERO, took));
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let used = advice.usage.as_ref().map(|usage| (advice.model.as_str(), usage));
        let stored = self.write(|| store.store_advice(id, &fence, &answer, used)).await?;
        let Some(stored) = stored else { return Ok(false) };
        self.took(row, stored, Some(answer), writer);
        Ok(true)
    }

    async fn advisor_choice(&self, row: &OperationRow) -> Result<ModelChoice, ToolOutcome> {
        let mut model = self.chat.model_id;
        if let Some(name) = row.args["model"].as_str() {
            model = Some(self.shared.models.find(name).await.map_err(|known| {
                let text = format!("There is no model `{name}`. There are: {}.", known.join(", "));
                ToolOutcome::error("model_not_found", text)
            })?);
        }
        let chosen = self.shared.models.choose(model).await;
        chosen.map_err(|error| ToolOutcome::error("advisor_failed", error.message))
    }

    fn advisor_prompt(&self, choice: &ModelChoice, row: &OperationRow) -> Prompt {
        let reader = Reader { kind: "advisor", model: "", context_limit: choice.context_limit };
        let conversation = flattened(&history::messages(&self.history, reader));
        let question = row.args["question"].as_str().unwrap_or_default();
        let text = format!(
            "The end of the conversation:\n\n{conversation}\n\nThe question:\n\n{question}"
        );
        Prompt {
            model: choice.model.clone(),
            system: SYSTEM.to_owned(),
            messages: vec![PromptMessage {
                role: Role::User,
                parts: vec![StoredPart::from(Part::Text { text })],
            }],
            ask: None,
            tools: Vec::new(),
            max_output_tokens: choice.max_output_tokens.min(OUTPUT_TOKENS),
            options: effort::options(choice, self.chat.effort),
            cache_key: format!("{}-advisor", self.id),
            files: Files::default(),
        }
    }

    /// Questions of this turn that were answered.
    fn advised(&self) -> usize {
        let turn = self.history.iter().rev().take_while(|row| !is_said(row));
        turn.flat_map(|row| &row.content)
            .filter(|stored| {
                matches!(&stored.part, Part::ToolResult { name, is_error: false, .. } if name == ADVISOR)
            })
            .count()
    }
}

/// The newest messages as one text, within the limits, whatever provider reads it.
fn flattened(messages: &[PromptMessage]) -> String {
    let mut pieces = Vec::new();
    let mut room = CONVERSATION_MAX_BYTES;
    for message in messages.iter().rev().take(MESSAGES_MAX) {
        let who = match message.role {
            Role::User => "user",
            Role::Assistant => "model",
            Role::Tool => "tools",
        };
        let said: Vec<String> = message.parts.iter().filter_map(plain).collect();
        let piece = format!("[{who}]\n{}", said.join("\n"));
        if piece.len() > room {
            let tail = &piece[piece.ceil_char_boundary(piece.len() - room)..];
            pieces.push(format!("[cut]{tail}"));
            break;
        }
        room -= piece.len();
        pieces.push(piece);
    }
    pieces.reverse();
    pieces.join("\n\n")
}

fn plain(stored: &StoredPart) -> Option<String> {
    match &stored.part {
        Part::Text { text } => Some(text.clone()),
        Part::File { file } => Some(note(file)),
        Part::ToolCall { name, args, .. } => Some(format!("calls {name} {args}")),
        Part::ToolResult { name, result, .. } => Some(format!("{name} answers {result}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advisor_sees_the_end_of_a_long_conversation_within_its_limit() {
        let message = |text: String| PromptMessage {
            role: Role::User,
            parts: vec![Part::Text { text }.into()],
        };
        let long: Vec<PromptMessage> =
            (0..50).map(|at| message(format!("{at} {}", "é".repeat(400)))).collect();
        let text = flattened(&long);
        assert!(text.len() <= CONVERSATION_MAX_BYTES + 200, "{}", text.len());
        assert!(text.contains("49 é") && !text.contains("[user]\n20 é"));
        let giant = flattened(&[message("x".repeat(100_000))]);
        assert!(giant.starts_with("[cut]") && giant.len() <= CONVERSATION_MAX_BYTES + 5);
    }
}
