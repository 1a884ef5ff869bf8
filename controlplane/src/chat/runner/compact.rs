//! Makes a chat's history shorter for its model, as a step of its own.
//!
//! ```text
//!  generate ─► plan ─┬ go ─────────► the model call
//!                    ├ prune ──────► commit the mark
//!                    ├ summarise ──► ask the model (same tools, same prompt, one question more)
//!                    │                    └─► commit the mark ─► decide anew
//!                    └ stuck ──────► the turn ends with a clear error
//! ```
//!
//! The mark is a message of the history, committed like any step: before it the prompt is the long
//! one, after it the short one, and a crash in between asks for the summary again.

use std::pin::pin;
use std::sync::Arc;

use super::checkpoint::Checkpoints;
use super::generate::answer;
use super::{Flow, Runner, failure};
use crate::chat::content::{Compaction, Part};
use crate::chat::context::marks::request;
use crate::chat::context::plan::BYTES_PER_TOKEN;
use crate::chat::context::{Need, Plan, Summarise, Window, plan, summary};
use crate::chat::event::PreviewKind;
use crate::chat::history::{self, Reader};
use crate::chat::hub::{EpisodeWriter, Piece};
use crate::chat::machine::AssistantMessage;
use crate::chat::ports::ModelChoice;
use crate::llm::{Event, Prompt, ProviderErrorKind};
use crate::store::SpanKind;

impl Runner {
    /// What to do before the model is called.
    pub(super) fn plan(&self, choice: &ModelChoice, prompt: &Prompt) -> Plan {
        let tools = prompt.tools.iter().map(|tool| {
            tool.name.len() + tool.description.len() + history::result_bytes(&tool.schema)
        });
        let fixed = (prompt.system.len() + tools.sum::<usize>()) as u64 / BYTES_PER_TOKEN;
        let window = Window {
            limit: choice.context_limit,
            fixed,
            kind: choice.provider.kind(),
            model: &choice.model,
        };
        plan(&self.history, self.need, window)
    }

    /// Makes room as planned. The chat is decided anew afterwards.
    pub(super) async fn make_room(
        &mut self,
        choice: &ModelChoice,
        prompt: Prompt,
        plan: Plan,
        writer: Arc<EpisodeWriter>,
    ) -> Flow {
        match plan {
            Plan::Go => Ok(()),
            Plan::Prune(mark) => {
                drop(writer);
                self.keep(mark, AssistantMessage::default()).await
            }
            Plan::Summarise(plan) => self.summarise(choice, prompt, plan, writer).await,
            Plan::Stuck => {
                drop(writer);
                self.finish_error(failure::does_not_fit(choice.context_limit)).await
            }
        }
    }

    async fn summarise(
        &mut self,
        choice: &ModelChoice,
        prompt: Prompt,
        plan: Summarise,
        writer: Arc<EpisodeWriter>,
    ) -> Flow {
        let prompt = self.question(choice, prompt, &plan);
        self.trace_call(choice, &prompt, (SpanKind::Compaction, plan.cut_to));
        shared::fault::pass("w0 summary call").await;
        let checkpoints = Checkpoints::of(self);
        let mut text = String::new();
        writer.publish(Piece::Delta { index: 0, kind: PreviewKind::Compaction, text: "" });
        let seen = self.seen();
        let ended = {
            let say = |event: Event| {
                // A tool that it calls all the same is not run.
                if let Event::Text { delta, .. } = event {
                    let (index, kind) = (0, PreviewKind::Compaction);
                    writer.publish(Piece::Delta { index, kind, text: &delta });
                    text.push_str(&delta);
                }
            };
            let mut answering = pin!(answer(choice, prompt, &writer, &checkpoints, say));
            tokio::select! {
                biased;
                stop = self.watch.stopped(super::generate::PARK, seen) => Err(stop),
                ended = &mut answering => Ok(ended),
            }
        };
        drop(writer);
        match ended {
            Ok(Ok(answer)) if text.trim().is_empty() => {
                let error = failure::cut(
                    ProviderErrorKind::BadResponse,
                    "The model was asked for a summary and wrote none.",
                );
                tracing::info!(chat.id = %self.id, reason = ?answer.reason, "no summary");
                self.failed(choice, error).await
            }
            Ok(Ok(answer)) => {
                self.trace_answer(&answer);
                let said = AssistantMessage {
                    content: Vec::new(),
                    raw_kind: None,
                    model: Some(answer.model.unwrap_or_else(|| choice.model.clone())),
                    usage: Some(answer.usage),
                    worked_ms: self.worked_ms(),
                };
                self.keep(summary::mark(&plan, &text), said).await
            }
            // The prompt as it is does not fit: a cut one may.
            Ok(Err(error)) if error.kind == ProviderErrorKind::ContextExceeded => {
                if plan.cut_to.is_some() {
                    return self.finish_error(failure::does_not_fit(choice.context_limit)).await;
                }
                self.need = Need::Exceeded;
                Ok(())
            }
            Ok(Err(error)) => self.failed(choice, error).await,
            // What there is of a summary is of no use.
            Err(stop) => self.stopped(stop).await,
        }
    }

    /// The prompt with the question behind it. As it is, so that the provider has all of it in its
    /// cache; cut where it would not fit.
    fn question(&self, choice: &ModelChoice, prompt: Prompt, plan: &Summarise) -> Prompt {
        let wish = self.history.iter().rev().find_map(request).filter(|_| self.need == Need::Asked);
        let messages = match plan.cut_to {
            None => prompt.messages,
            Some(tokens) => {
                let kind = choice.provider.kind();
                let reader =
                    Reader { kind, model: &choice.model, context_limit: choice.context_limit };
                summary::cut(history::messages_pruned(&self.history, reader), tokens)
            }
        };
        Prompt {
            messages,
            ask: Some(summary::ask(wish)),
            max_output_tokens: summary::max_output_tokens(prompt.max_output_tokens),
            ..prompt
        }
    }

    /// Commits the mark as a message of its own.
    pub(super) async fn keep(&mut self, mark: Compaction, said: AssistantMessage) -> Flow {
        let (method, before, after) = (mark.method, mark.tokens_before, mark.tokens_after);
        let message = AssistantMessage { content: vec![Part::Compaction { mark }.into()], ..said };
        shared::fault::pass("w0 compaction").await;
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let Some(step) = self.write(|| store.commit_step(id, &fence, &message, &[])).await? else {
            return Ok(());
        };
        shared::fault::pass("w0 compaction committed").await;
        tracing::info!(chat.id = %self.id, ?method, before, after, "the history was made shorter");
        self.need = Need::Room;
        self.trace_compaction(method, before, after);
        self.chat = step.chat;
        self.fence = step.fence;
        self.history.push(step.message);
        self.preview = None;
        self.tell();
        Ok(())
    }
}
