//! One model call: attempt, stream, commit; or retry, error, stop.
//!
//! The token path is: provider ► one match ► the episode (memory) ► viewers. It waits for nothing
//! and touches no disk. What was said is checkpointed beside it, at most once a second, so that an
//! interrupt after a crash still has it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rand::RngExt;
use tokio::time::Instant;

use super::checkpoint::Checkpoints;
use super::interrupt::notice;
use super::{Flow, Runner, decide, effort, failure, system};
use crate::chat::content::{ClientTool, StoredPart, Usage};
use crate::chat::context::{Need, Plan};
use crate::chat::event::{ChatStatus, PreviewKind};
use crate::chat::history::{self, Reader};
use crate::chat::hub::{EpisodeWriter, Piece};
use crate::chat::machine::{AssistantMessage, RetryState};
use crate::chat::ports::ModelChoice;
use crate::chat::price::cost_micros;
use crate::llm::{
    Event, EventStream, Files, FinishReason, Prompt, ProviderError, ProviderErrorKind, ToolSpec,
    is_another_model,
};
use crate::store::SpanKind;
use shared::backoff::Backoff;

/// Silence after which a model call counts as dead. The providers watch the bytes of their
/// connections more closely (120 s); this holds whatever they do.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Time that a running answer has to end by itself when the program stops.
pub(super) const PARK: Duration = Duration::from_secs(3);
/// Most text of one answer; a model that says more has lost its way.
const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;
/// First and longest pause before another attempt.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How a stream ended well.
pub(super) struct Answer {
    pub(super) model: Option<String>,
    pub(super) reason: FinishReason,
    pub(super) usage: Usage,
    /// The provider's id of the request.
    pub(super) request_id: Option<String>,
    /// From the request to the first piece of the answer, in milliseconds.
    pub(super) first_chunk_ms: Option<f64>,
}

impl Runner {
    /// Asks the model for the next step.
    pub(super) async fn generate(&mut self) -> Flow {
        if !self.attempt_begun {
            return self.record_attempt().await;
        }
        self.attempt_begun = false;
        self.has_asked = true;
        let writer = Arc::new(self.shared.hub.open(self.id, self.episode(), self.epoch()));
        (self.partial, self.preview) = (None, Some(Arc::clone(&writer)));
        let choice = match self.shared.models.choose(self.asked_model()).await {
            Ok(choice) => choice,
            Err(error) => {
                drop(writer);
                let chosen = "The chosen model";
                if self.fell_back_for(chosen, &error).await? {
                    return Ok(());
                }
                return self.finish_error(error).await;
            }
        };
        let prompt = self.prompt(&choice);
        let Some(prompt) = self.with_files(prompt).await? else {
            self.preview = None;
            return Ok(());
        };
        let plan = self.plan(&choice, &prompt);
        if plan != Plan::Go {
            return self.make_room(&choice, prompt, plan, writer).await;
        }
        self.trace_call(&choice, &prompt, (SpanKind::Step, None));
        shared::fault::pass("w0 model call").await;
        let checkpoints = Checkpoints::of(self);
        let seen = self.seen();
        let ended = {
            let mut answering = pin!(answer(&choice, prompt, &writer, &checkpoints, |event| {
                publish(&writer, event);
            }));
            tokio::select! {
                biased;
                stop = self.watch.stopped(PARK, seen) => Err(stop),
                ended = &mut answering => Ok(ended),
            }
        };
        let said = writer.partial();
        // From here on `self.preview` alone holds it open, until what it shows is a message.
        drop(writer);
        match ended {
            Ok(Ok(answer)) => self.commit(&choice, answer, said).await,
            Ok(Err(error)) => self.failed(&choice, error).await,
            Err(stop) => {
                self.partial = Some(AssistantMessage {
                    content: said,
                    raw_kind: Some(choice.provider.kind().to_owned()),
                    model: Some(choice.model),
                    usage: None,
                    worked_ms: 0,
                });
                self.stopped(stop).await
            }
        }
    }

    fn prompt(&self, choice: &ModelChoice) -> Prompt {
        let reader = Reader {
            kind: choice.provider.kind(),
            model: &choice.model,
            context_limit: choice.context_limit,
        };
        let has_workspace = self.chat.workspace_id.is_some();
        Prompt {
            model: choice.model.clone(),
            system: system::prompt(has_workspace, &self.chat.mode, self.chat.agent_type),
            messages: history::messages(&self.history, reader),
            ask: None,
            tools: self.offered(has_workspace),
            max_output_tokens: choice.max_output_tokens,
            options: effort::options(choice, self.chat.effort),
            cache_key: self.id.to_string(),
            files: Files::default(),
        }
    }

    /// The built-in tools, then the client's; a built-in one wins a name.
    fn offered(&self, has_workspace: bool) -> Vec<ToolSpec> {
        let mut tools = self.shared.tools.specs(has_workspace, self.chat.tool_mode());
        if self.chat.parent_id.is_some() {
            // What an agent cannot decide, it reports.
            tools.retain(|tool| tool.name != "ask_user" && tool.name != "propose_plan");
        }
        tools.extend(self.agent_specs());
        if has_workspace && self.may_ask_advisor() {
            tools.push(self.shared.advisor.spec());
        }
        let own = |tool: &&ClientTool| self.shared.tools.kind(&tool.name).is_none();
        tools.extend(self.chat.client_tools.iter().filter(own).map(|tool| ToolSpec {
            name: tool.name.clone(),
            description: tool.description.clone(),
            schema: Arc::new(tool.input_schema.clone()),
        }));
        tools
    }

    /// Stores the step with the intents of its calls, in one transaction.
    async fn commit(
        &mut self,
        choice: &ModelChoice,
        answer: Answer,
        mut content: Vec<StoredPart>,
    ) -> Flow {
        self.trace_answer(&answer);
        content.extend(remark(&answer.reason));
        content.extend(self.relabelled(&choice.model, answer.model.as_deref()));
        content.extend(self.answered_for());
        let intents = self.intents(&content);
        let message = AssistantMessage {
            content,
            raw_kind: Some(choice.provider.kind().to_owned()),
            model: Some(answer.model.unwrap_or_else(|| choice.model.clone())),
            usage: Some(answer.usage),
            worked_ms: self.worked_ms(),
        };
        shared::fault::pass("w0 step").await;
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let committed = self.write(|| store.commit_step(id, &fence, &message, &intents)).await?;
        let Some(step) = committed else {
            // The chat moved on; if a person stopped it, this is what the model had said.
            self.partial = Some(message);
            return Ok(());
        };
        if !intents.is_empty() {
            shared::fault::pass("w1 intents committed").await;
        }
        self.chat = step.chat;
        self.fence = step.fence;
        self.history.push(step.message);
        self.operations = Some(step.operations);
        self.preview = None;
        if intents.is_empty() {
            self.trace_step_over(serde_json::Value::Null);
        } else {
            self.title_may_be_due();
        }
        self.tell();
        if self.chat.status != ChatStatus::Running {
            self.tell_lists(); // it waits for a person now
        }
        if answer.reason == FinishReason::Pause && self.chat.unanswered == 0 {
            // The model wants its words back as they are and goes on.
            return self.record_attempt().await;
        }
        Ok(())
    }

    /// A remark where another model begins to answer than the one that was asked.
    fn relabelled(&self, asked: &str, answered: Option<&str>) -> Option<StoredPart> {
        let answered = answered?;
        let before = self.history.iter().rev().find(|row| row.model.is_some());
        let is_known = before.is_some_and(|row| row.model.as_deref() == Some(answered));
        (is_another_model(asked, answered) && !is_known)
            .then(|| notice("fallback", &format!("{asked} was asked, and {answered} answered.")))
    }

    /// Notes the retry, or stops the chat. Whatever was streamed is dropped: calls of a stream that
    /// did not end are never run.
    pub(super) async fn failed(&mut self, choice: &ModelChoice, error: ProviderError) -> Flow {
        self.trace_failure(&error);
        let view = failure::of_provider(&error, choice.provider.kind());
        let attempt = self.fence.attempt;
        tracing::info!(chat.id = %self.id, attempt, code = %view.code, "a model call failed");
        if error.kind == ProviderErrorKind::ContextExceeded && self.need != Need::Exceeded {
            // Once: the next refusal finds no step since the compaction.
            self.need = Need::Exceeded;
            self.preview = None;
            return Ok(());
        }
        if self.refuses_files(&error) {
            self.preview = None;
            return self.leave_files_out().await;
        }
        if self.fell_back(&choice.model, error.kind, &view).await? {
            return Ok(());
        }
        if !error.kind.is_retryable() || attempt >= decide::ATTEMPTS_MAX {
            return self.finish_error(view).await;
        }
        let pause = self.retry_pause(attempt, error.retry_after);
        let delay_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let retry_at_ms = self.shared.clock.now_ms().saturating_add_unsigned(delay_ms);
        let retry = RetryState { attempt, delay_ms, retry_at_ms, error: view };
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        if let Some(chat) = self.write(|| store.record_retry(id, &fence, &retry)).await? {
            self.chat = chat;
        }
        self.preview = None;
        self.tell();
        Ok(())
    }

    /// Doubling, at least half of the bound and at most all of it; longer if the provider says so.
    fn retry_pause(&self, attempt: i64, asked: Option<Duration>) -> Duration {
        if shared::fault::rarely("retry: at once") {
            return Duration::ZERO;
        }
        let failed_before = u32::try_from(attempt - 1).unwrap_or(0);
        let bound = Backoff::new(RETRY_PAUSES.0, RETRY_PAUSES.1).bound(failed_before);
        let jittered = bound.mul_f64(0.5 + self.rng().random::<f64>() / 2.0);
        jittered.max(asked.unwrap_or_default())
    }
}

/// Streams one answer into the episode. May be dropped at any await.
pub(super) async fn answer(
    choice: &ModelChoice,
    prompt: Prompt,
    writer: &EpisodeWriter,
    checkpoints: &Checkpoints,
    mut say: impl FnMut(Event),
) -> Result<Answer, ProviderError> {
    let asked = Instant::now();
    let begun = tokio::time::timeout(SILENCE_MAX, choice.provider.stream(prompt)).await;
    let mut stream: EventStream = begun.unwrap_or_else(|_| Err(silent()))?;
    let (mut model, mut request_id, mut first_chunk_ms) = (None, None, None);
    let mut saved = pin!(checkpoints.keep(writer));
    let silence = tokio::time::sleep(SILENCE_MAX);
    let mut silence = pin!(silence);
    loop {
        let event = tokio::select! {
            biased;
            event = stream.next() => event,
            never = &mut saved => match never {},
            () = &mut silence => return Err(silent()),
        };
        silence.as_mut().reset(Instant::now() + SILENCE_MAX);
        match event {
            Some(Ok(Event::Started { model: named, request_id: id })) => {
                (model, request_id) = (named, id);
            }
            Some(Ok(Event::Finished { reason, mut usage })) => {
                usage.cost_micros = cost_micros(choice.price.as_ref(), &usage);
                return Ok(Answer { model, reason, usage, request_id, first_chunk_ms });
            }
            Some(Ok(event)) => {
                first_chunk_ms.get_or_insert_with(|| asked.elapsed().as_secs_f64() * 1_000.0);
                say(event);
            }
            Some(Err(error)) => return Err(error),
            None => {
                return Err(failure::cut(
                    ProviderErrorKind::Timeout,
                    "The model's answer broke off before its end.",
                ));
            }
        }
        if writer.model_bytes() > ANSWER_MAX_BYTES {
            return Err(failure::cut(
                ProviderErrorKind::Config,
                "The model's answer grew over 8 MiB and was stopped.",
            ));
        }
    }
}

fn silent() -> ProviderError {
    failure::cut(ProviderErrorKind::StreamSilent, "The model has said nothing for ten minutes.")
}

fn publish(writer: &EpisodeWriter, event: Event) {
    match event {
        Event::Text { index, delta } => {
            writer.publish(Piece::Delta { index, kind: PreviewKind::Text, text: &delta });
        }
        Event::Reasoning { index, delta } => {
            writer.publish(Piece::Delta { index, kind: PreviewKind::Reasoning, text: &delta });
        }
        Event::ToolCallStarted { index, tool_call_id, name } => writer.publish(Piece::Start {
            index,
            kind: PreviewKind::ToolCall,
            tool_call_id: &tool_call_id,
            name: &name,
        }),
        Event::ToolCallDelta { index, delta } => {
            writer.publish(Piece::Delta { index, kind: PreviewKind::ToolCall, text: &delta });
        }
        Event::PartDone { index, part } => writer.publish(Piece::Done { index, part: *part }),
        Event::Started { .. } | Event::Finished { .. } => {}
    }
}

/// What people should know of how the answer ended.
fn remark(reason: &FinishReason) -> Option<StoredPart> {
    let (code, text) = match reason {
        FinishReason::Length => {
            ("length", "The answer reached the limit of output tokens and is cut.".to_owned())
        }
        FinishReason::Refusal(text) => ("refusal", format!("The model refused: {text}")),
        FinishReason::ContentFilter => {
            ("content_filter", "The provider's filter cut the answer.".to_owned())
        }
        FinishReason::EndTurn
        | FinishReason::ToolUse
        | FinishReason::Pause
        | FinishReason::Other(_) => return None,
    };
    Some(notice(code, &text))
}
