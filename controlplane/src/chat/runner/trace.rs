//! What a runner records of its turns: spans under OpenTelemetry's names, beside the work.
//!
//! Nothing here waits, fails or decides: a turn goes on as if it were not recorded.

use std::time::Duration;

use serde_json::{Value, json};

use super::Runner;
use super::generate::Answer;
use crate::chat::content::{CompactionMethod, Usage};
use crate::chat::context::marks::{is_report, is_said, request};
use crate::chat::event::ChatStatus;
use crate::chat::ports::ModelChoice;
use crate::chat::trace::{Head, Shape, merge, provider_name, usage};
use crate::llm::{FinishReason, Prompt, ProviderError};
use crate::store::chats::OperationRow;
use crate::store::{SpanKind, SpanRow, SpanStatus};
use crate::tools::ToolOutcome;

/// The spans that are open, and the prompt before the next one.
#[derive(Default)]
pub(super) struct Tracing {
    turn: Option<SpanRow>,
    step: Option<SpanRow>,
    attempt: Option<SpanRow>,
    shape: Option<Shape>,
}

impl Runner {
    /// A model call begins: for a step, or for a summary.
    pub(super) fn trace_call(
        &mut self,
        choice: &ModelChoice,
        prompt: &Prompt,
        (kind, cut_to): (SpanKind, Option<u64>),
    ) {
        let now = self.shared.clock.now_ms();
        let turn = self.trace_turn(now);
        // The message that it becomes has this `seq`: nothing else is inserted under the fence.
        let seq = self.chat.last_seq + 1;
        let letter = if kind == SpanKind::Compaction { 'c' } else { 's' };
        let key = format!("{letter}{seq}");
        if self.tracing.step.as_ref().is_none_or(|step| step.key != key) {
            let name = if kind == SpanKind::Compaction { "compaction" } else { "step" };
            let mut step = self.new_span(key.clone(), Some(turn), kind, name.to_owned(), now);
            step.attributes = json!({ "gen_ai.conversation.id": self.id.to_string() });
            self.shared.recorder.span(step.clone());
            self.tracing.step = Some(step);
        }
        let shape = Shape::of(prompt);
        let head = Head::of(choice.provider.kind(), prompt);
        let mut attempt = self.new_span(
            format!("a{seq}.{}", self.fence.attempt),
            Some(key),
            SpanKind::Attempt,
            format!("chat {}", choice.model),
            now,
        );
        attempt.attributes = json!({
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider_name(choice.provider.kind()),
            "gen_ai.request.model": choice.model,
            "gen_ai.request.max_tokens": prompt.max_output_tokens,
            "gen_ai.conversation.id": self.id.to_string(),
            "holdfast.attempt": self.fence.attempt,
            "holdfast.fallback_for": self.chat.fallback.as_ref().map(|it| &it.selected_model),
            "holdfast.cache": shape.after(self.tracing.shape.as_ref()),
            "holdfast.prompt": {
                "kind": choice.provider.kind(),
                "head": head.hash,
                "through_seq": self.chat.last_seq,
                "context_limit": choice.context_limit,
                "digest": shape.digest(),
                "cut_to": cut_to,
            },
        });
        self.shared.recorder.head(head, now);
        self.shared.recorder.span(attempt.clone());
        self.tracing.attempt = Some(attempt);
        self.tracing.shape = Some(shape);
    }

    /// The model has said everything.
    pub(super) fn trace_answer(&mut self, answer: &Answer) {
        let more = json!({
            "gen_ai.response.model": answer.model,
            "gen_ai.response.id": answer.request_id,
            "gen_ai.response.finish_reasons": [finish_reason(&answer.reason)],
            "holdfast.time_to_first_chunk_ms": answer.first_chunk_ms,
        });
        let usage = usage(&answer.usage);
        self.end_attempt(SpanStatus::Ok, [more, usage]);
    }

    /// The model call failed.
    pub(super) fn trace_failure(&mut self, error: &ProviderError) {
        let more = json!({
            "error.type": error.kind.code(),
            "http.response.status_code": error.status,
            "gen_ai.response.id": error.request_id,
            "holdfast.error": error.message,
        });
        self.end_attempt(SpanStatus::Error, [more]);
    }

    fn end_attempt<const N: usize>(&mut self, status: SpanStatus, more: [Value; N]) {
        if let Some(mut attempt) = self.tracing.attempt.take() {
            for more in more {
                merge(&mut attempt.attributes, more);
            }
            self.end(attempt, status);
        }
    }

    /// The step and everything it asked for is done.
    pub(super) fn trace_step_over(&mut self, more: Value) {
        if let Some(mut step) = self.tracing.step.take() {
            merge(&mut step.attributes, more);
            self.end(step, SpanStatus::Ok);
        }
    }

    /// The history was made shorter: by a summary, or by stubs, which are no call.
    pub(super) fn trace_compaction(&mut self, method: CompactionMethod, before: u64, after: u64) {
        let now = self.shared.clock.now_ms();
        let turn = self.trace_turn(now);
        if self.tracing.step.is_none() {
            let key = format!("c{}", self.chat.last_seq + 1);
            let (kind, name) = (SpanKind::Compaction, "compaction".to_owned());
            self.tracing.step = Some(self.new_span(key, Some(turn), kind, name, now));
        }
        self.trace_step_over(json!({
            "holdfast.compaction.method": method,
            "holdfast.compaction.tokens_before": before,
            "holdfast.compaction.tokens_after": after,
        }));
    }

    /// The tools of a step begin, maybe of a step that a former runner asked for.
    pub(super) fn trace_tools(&mut self, rows: &[OperationRow]) {
        let now = self.shared.clock.now_ms();
        let turn = self.trace_turn(now);
        let Some((key, at_ms)) = rows.first().and_then(|row| self.step_of(row)) else { return };
        if self.tracing.step.as_ref().is_none_or(|step| step.key != key) {
            let mut step = self.new_span(key, Some(turn), SpanKind::Step, "step".to_owned(), at_ms);
            step.attributes = json!({ "gen_ai.conversation.id": self.id.to_string() });
            self.shared.recorder.span(step.clone());
            self.tracing.step = Some(step);
        }
    }

    /// A tool begins.
    pub(super) fn trace_tool(&self, row: &OperationRow) {
        let span = self.tool_span(row, self.shared.clock.now_ms());
        self.shared.recorder.span(span);
    }

    /// A tool has answered, and its answer is stored.
    pub(super) fn trace_tool_over(
        &self,
        row: &OperationRow,
        outcome: &ToolOutcome,
        (queued, ran): (Duration, Duration),
    ) {
        let now = self.shared.clock.now_ms();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let total = i64::try_from((queued + ran).as_millis()).unwrap_or(i64::MAX);
        let mut span = self.tool_span(row, now.saturating_sub(total));
        // The way there and back is half of the link's round trip each; the rest is the work.
        let way = row.workspace_id.and_then(|id| self.shared.tools.rtt(id)).unwrap_or_default() / 2;
        let way = way.min(ran / 2);
        merge(
            &mut span.attributes,
            json!({
                "holdfast.queue_ms": ms(queued),
                "holdfast.transfer_ms": ms(way),
                "holdfast.execute_ms": ms(ran - 2 * way),
                "holdfast.return_ms": ms(way),
                "holdfast.result_bytes": crate::chat::history::result_bytes(&outcome.result),
            }),
        );
        if outcome.is_error {
            let code = ["/error/code", "/error"]
                .iter()
                .find_map(|place| outcome.result.pointer(place)?.as_str())
                .unwrap_or("tool_error");
            merge(&mut span.attributes, json!({ "error.type": code }));
        }
        let status = if outcome.is_error { SpanStatus::Error } else { SpanStatus::Ok };
        self.end(span, status);
    }

    /// An advisor is asked, within a tool call.
    pub(super) fn trace_advice(&self, row: &OperationRow, choice: &ModelChoice) {
        let mut span = self.advice_span(row);
        span.name = format!("chat {}", choice.model);
        span.attributes = json!({
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider_name(choice.provider.kind()),
            "gen_ai.request.model": choice.model,
            "gen_ai.conversation.id": self.id.to_string(),
        });
        self.shared.recorder.span(span);
    }

    /// The advisor has answered, or failed.
    pub(super) fn trace_advice_over(
        &self,
        row: &OperationRow,
        used: Option<&Usage>,
        error: Option<&str>,
    ) {
        let key = self.advice_span(row).key;
        let open = self.shared.recorder.live(self.id);
        let Some(mut span) = open.into_iter().find(|span| span.key == key) else { return };
        if let Some(used) = used {
            merge(&mut span.attributes, usage(used));
        }
        if let Some(error) = error {
            merge(
                &mut span.attributes,
                json!({ "error.type": "advisor_failed", "holdfast.error": error }),
            );
        }
        let status = if error.is_some() { SpanStatus::Error } else { SpanStatus::Ok };
        self.end(span, status);
    }

    fn advice_span(&self, row: &OperationRow) -> SpanRow {
        let (key, parent) = (format!("v{}", row.op_id), format!("o{}", row.op_id));
        let now = self.shared.clock.now_ms();
        self.new_span(key, Some(parent), SpanKind::Advisor, String::new(), now)
    }

    /// The turn is over, before the history goes on with the next one. `was`: the status until now.
    pub(super) fn trace_turn_over(&mut self, was: ChatStatus, error: Option<&str>) {
        let (status, rest) = match (error, was) {
            (Some(_), _) => (SpanStatus::Error, SpanStatus::Error),
            (None, ChatStatus::Interrupting) => (SpanStatus::Interrupted, SpanStatus::Interrupted),
            (None, _) => (SpanStatus::Ok, SpanStatus::Interrupted),
        };
        self.end_attempt::<0>(rest, []);
        self.tracing.step = None;
        let now = self.shared.clock.now_ms();
        let turn = self.tracing.turn.take();
        // What is open still was stopped with the turn.
        for mut span in self.shared.recorder.live(self.id) {
            if span.ended_at_ms.is_none() && span.kind != SpanKind::Turn {
                let done = span.kind == SpanKind::Step && status == SpanStatus::Ok;
                (span.status, span.ended_at_ms) =
                    (if done { SpanStatus::Ok } else { rest }, Some(now));
                self.shared.recorder.span(span);
            }
        }
        if let Some(mut turn) = turn {
            if let Some(code) = error {
                merge(&mut turn.attributes, json!({ "error.type": code }));
            }
            merge(&mut turn.attributes, json!({ "holdfast.steps": self.chat.steps_in_turn }));
            self.end(turn, status);
        }
        self.shared.recorder.turn_over(self.id);
    }

    /// The span of the turn, and its key.
    fn trace_turn(&mut self, now: i64) -> String {
        let said = self
            .history
            .iter()
            .rev()
            .find(|row| is_said(row) || is_report(row) || request(row).is_some());
        let (key, at_ms) = said.map_or_else(
            || ("t0".to_owned(), now),
            |row| (format!("t{}", row.seq), row.created_at_ms),
        );
        if self.tracing.turn.as_ref().is_none_or(|turn| turn.key != key) {
            // A message that steered is no turn of its own, but it is where this one is found again.
            let mut turn =
                self.new_span(key.clone(), None, SpanKind::Turn, "invoke_agent".to_owned(), at_ms);
            turn.attributes = json!({
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "holdfast",
                "gen_ai.conversation.id": self.id.to_string(),
                "holdfast.mode": self.chat.mode,
            });
            if let Some(former) = self.tracing.turn.replace(turn.clone()) {
                self.end(former, SpanStatus::Ok);
            }
            self.shared.recorder.span(turn);
        }
        key
    }

    /// The key and the begin of the step that asked for an operation.
    fn step_of(&self, row: &OperationRow) -> Option<(String, i64)> {
        let message = self.history.iter().rev().find(|message| message.id == row.message_id)?;
        Some((format!("s{}", message.seq), message.created_at_ms))
    }

    fn tool_span(&self, row: &OperationRow, started_at_ms: i64) -> SpanRow {
        let step = self.step_of(row).map(|(key, _)| key);
        let (key, name) = (format!("o{}", row.op_id), format!("execute_tool {}", row.tool));
        let mut span = self.new_span(key, step, SpanKind::Tool, name, started_at_ms);
        span.attributes = json!({
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": row.tool,
            "gen_ai.tool.call.id": row.tool_call_id,
            "gen_ai.tool.type": "function",
            "gen_ai.conversation.id": self.id.to_string(),
            "holdfast.operation.id": row.op_id.to_string(),
        });
        span
    }

    fn new_span(
        &self,
        key: String,
        parent: Option<String>,
        kind: SpanKind,
        name: String,
        started_at_ms: i64,
    ) -> SpanRow {
        SpanRow {
            chat_id: self.id,
            key,
            parent,
            kind,
            name,
            status: SpanStatus::Running,
            started_at_ms,
            ended_at_ms: None,
            attributes: Value::Null,
        }
    }

    fn end(&self, mut span: SpanRow, status: SpanStatus) {
        span.status = status;
        span.ended_at_ms = Some(self.shared.clock.now_ms());
        self.shared.recorder.span(span);
    }
}

fn finish_reason(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::EndTurn => "stop",
        FinishReason::ToolUse => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::Pause => "pause",
        FinishReason::Refusal(_) => "refusal",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(text) => text,
    }
}
