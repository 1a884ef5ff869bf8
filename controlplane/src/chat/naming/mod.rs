//! Titles of chats and labels of turns, written by a model beside the turns.
//!
//! ```text
//!  runner ─ end of a turn: what is due is a row, in the same commit ─┐
//!     └──── first step of a chat: its title, by a channel ───────────┤ wake
//!                                                                    ▼
//!                      Namer: take the row ► ask a model ► compare and write ► hints
//! ```
//!
//! It owns no state of a chat. A row is taken away before a model is asked, so that the same state is
//! never asked for twice; what comes back is compared with what it was made from, and a newer state
//! stays. A failure is a span and nothing else: the chat keeps the names that it has.
//!
//! Its files: `setting` says who writes, `words` (pure) makes the question and reads the answer.

mod setting;
mod words;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use shared::clock::Clock;
use shared::ids::ModelId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use setting::{NAMING_SETTING, Naming};

use super::content::Usage;
use super::hints::Hints;
use super::ports::{ModelChoice, Models};
use super::price::cost_micros;
use super::trace::{Recorder, merge, provider_name, usage as trace_usage};
use crate::llm::{Event, Prompt, ProviderError};
use crate::store::chats::{ChatRow, ChatStore, MessageRow, NameDue, PageOf, TitleSource};
use crate::store::{SpanKind, SpanRow, SpanStatus, StoreError};

/// Models that are asked at once.
const AT_ONCE: usize = 4;
/// Titles of chats that have just begun and whose row is not written yet; more come with the turn.
const TITLES: usize = 64;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Backstop for what another replica left, and for a database that was away.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// Time that those who were asked have when the program stops.
const PARK: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 4_096;
/// Messages of a turn among which is looked for what it did.
const MESSAGES: u32 = 100;

/// Tells the namer that something is due. Cheap to clone, never waits.
#[derive(Clone)]
pub(super) struct NamerHandle {
    titles: mpsc::Sender<(NameDue, Option<ModelId>)>,
    wake: watch::Sender<()>,
}

impl NamerHandle {
    /// A row is due.
    pub(super) fn wake(&self) {
        self.wake.send_replace(());
    }

    /// The chat's first step is there: its title need not wait for the end of the turn. With a full
    /// channel it waits all the same.
    pub(super) fn title_due(&self, chat: &ChatRow, made_from: i64) {
        let due = NameDue {
            chat_id: chat.id,
            made_from,
            history_version: chat.history_version,
            title: true,
            label: false,
        };
        let _ = self.titles.try_send((due, chat.model_id));
    }
}

/// What naming stands on.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) store: ChatStore,
    pub(super) models: Arc<dyn Models>,
    pub(super) hints: Hints,
    pub(super) recorder: Recorder,
    pub(super) clock: Arc<dyn Clock>,
}

/// Asks models for names. Run it once.
pub struct Namer {
    parts: Parts,
    titles: mpsc::Receiver<(NameDue, Option<ModelId>)>,
    woken: watch::Receiver<()>,
}

impl Namer {
    pub(super) fn new(parts: Parts) -> (NamerHandle, Self) {
        let (titles, due) = mpsc::channel(TITLES);
        let (wake, woken) = watch::channel(());
        (NamerHandle { titles, wake }, Self { parts, titles: due, woken })
    }

    /// Names until `soft`; who was asked then has a moment to answer.
    pub async fn run(mut self, soft: CancellationToken) {
        let mut asked = JoinSet::new();
        loop {
            self.woken.borrow_and_update();
            if let Err(error) = self.take(&mut asked).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "names wait");
            }
            tokio::select! {
                biased;
                () = soft.cancelled() => break,
                Some(_) = asked.join_next(), if !asked.is_empty() => {}
                Some((due, model)) = self.titles.recv() => self.note(due, model).await,
                woken = self.woken.changed() => if woken.is_err() { break },
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        let answered = async { while asked.join_next().await.is_some() {} };
        // What is given up here is not asked for again: a later turn has a label of its own.
        let _ = tokio::time::timeout(PARK, answered).await;
    }

    async fn note(&self, due: NameDue, model: Option<ModelId>) {
        if self.parts.models.namer(model).await.is_none() {
            return;
        }
        if let Err(error) = self.parts.store.title_due(&due).await {
            tracing::debug!(chat.id = %due.chat_id, error = &error as &dyn std::error::Error,
                "a title waits for the end of the turn");
        }
    }

    /// Takes what is due, as far as there is room.
    async fn take(&self, asked: &mut JoinSet<()>) -> Result<(), StoreError> {
        while asked.len() < AT_ONCE {
            let room = u32::try_from(AT_ONCE - asked.len()).unwrap_or(1);
            let due = self.parts.store.names_due(room).await?;
            if due.is_empty() {
                break;
            }
            for due in due {
                if self.parts.store.take_name_due(&due).await? {
                    shared::fault::pass("n1 name taken").await;
                    asked.spawn(self.parts.clone().name(due));
                }
            }
        }
        Ok(())
    }
}

/// How asking ended.
enum Told {
    Said { text: String, usage: Usage },
    Failed { code: String, message: String },
}

impl Parts {
    async fn name(self, due: NameDue) {
        if let Err(error) = self.try_name(&due).await {
            tracing::info!(chat.id = %due.chat_id, error = &error as &dyn std::error::Error,
                "a chat was not named");
        }
    }

    async fn try_name(&self, due: &NameDue) -> Result<(), StoreError> {
        let Some(chat) = self.store.head(due.chat_id).await? else { return Ok(()) };
        // Somebody has named it meanwhile.
        let title = due.title && chat.title_source == TitleSource::FirstWords;
        if !title && !due.label {
            return Ok(());
        }
        let due = NameDue { title, ..*due };
        let choice = match self.models.namer(chat.model_id).await {
            None => return Ok(()),
            Some(Ok(choice)) => choice,
            Some(Err(error)) => {
                let span = self.span(&due, None);
                self.failed(span, &error.code, &error.message);
                return Ok(());
            }
        };
        let turn = self.turn(&due).await?;
        let first = self.store.messages_page(due.chat_id, PageOf::After(0), 1).await?.items.pop();
        let prompt = words::prompt(&choice, &due, first.as_ref(), &turn);
        let span = self.span(&due, Some(&choice));
        self.recorder.span(span.clone());
        match self.ask(&choice, prompt).await {
            Told::Failed { code, message } => self.failed(span, &code, &message),
            Told::Said { text, usage } => {
                let names = words::read(&text, title, due.label);
                let kept = self.store.named(
                    &due,
                    &chat.title,
                    &names,
                    Some((choice.model.as_str(), &usage)),
                );
                let named = kept.await?;
                shared::fault::pass("n2 named").await;
                self.tell(&named);
                if names.title.is_none() && names.label.is_none() {
                    self.failed(span, "bad_answer", "The model's answer is no name.");
                } else {
                    self.named(span, &usage);
                }
            }
        }
        Ok(())
    }

    /// The messages of the turn, as many as are looked at.
    async fn turn(&self, due: &NameDue) -> Result<Vec<MessageRow>, StoreError> {
        let from = PageOf::After(due.made_from - 1);
        let page = self.store.messages_page(due.chat_id, from, MESSAGES).await?;
        let mut rows = page.items;
        if page.more {
            let newest = self.store.messages_page(due.chat_id, PageOf::Newest, MESSAGES).await?;
            let known = rows.last().map_or(0, |row| row.seq);
            rows.extend(newest.items.into_iter().filter(|row| row.seq > known));
        }
        // What came after the turn was over does not belong to it.
        rows.retain(|row| row.seq == due.made_from || row.revision <= due.history_version);
        Ok(rows)
    }

    async fn ask(&self, choice: &ModelChoice, prompt: Prompt) -> Told {
        match tokio::time::timeout(PATIENCE, answer(choice, prompt)).await {
            Ok(told) => told,
            Err(_) => Told::Failed {
                code: "deadline_exceeded".to_owned(),
                message: format!("The model did not answer within {} s.", PATIENCE.as_secs()),
            },
        }
    }

    fn tell(&self, chat: &ChatRow) {
        self.hints.chat_changed(chat.id);
        self.hints.list_changed(chat.owner_id, chat.id);
    }

    fn span(&self, due: &NameDue, choice: Option<&ModelChoice>) -> SpanRow {
        let model = choice.map_or("", |choice| choice.model.as_str());
        SpanRow {
            chat_id: due.chat_id,
            key: format!("n{}", due.history_version),
            parent: Some(format!("t{}", due.made_from)),
            kind: SpanKind::Naming,
            name: format!("chat {model}").trim_end().to_owned(),
            status: SpanStatus::Running,
            started_at_ms: self.clock.now_ms(),
            ended_at_ms: None,
            attributes: json!({
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": choice.map(|choice| provider_name(choice.provider.kind())),
                "gen_ai.request.model": model,
                "gen_ai.conversation.id": due.chat_id.to_string(),
                "holdfast.naming.title": due.title,
                "holdfast.naming.label": due.label,
            }),
        }
    }

    fn named(&self, mut span: SpanRow, usage: &Usage) {
        merge(&mut span.attributes, trace_usage(usage));
        self.end(span, SpanStatus::Ok);
    }

    fn failed(&self, mut span: SpanRow, code: &str, message: &str) {
        let why = json!({ "error.type": code, "holdfast.error": message });
        merge(&mut span.attributes, why);
        self.end(span, SpanStatus::Error);
    }

    fn end(&self, mut span: SpanRow, status: SpanStatus) {
        (span.status, span.ended_at_ms) = (status, Some(self.clock.now_ms()));
        self.recorder.span(span);
    }
}

/// The whole answer, within its limit.
async fn answer(choice: &ModelChoice, prompt: Prompt) -> Told {
    let failed = |error: ProviderError| Told::Failed {
        code: error.kind.code().to_owned(),
        message: error.message,
    };
    let mut stream = match choice.provider.stream(prompt).await {
        Ok(stream) => stream,
        Err(error) => return failed(error),
    };
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Text { delta, .. }) if text.len() < ANSWER_MAX_BYTES => text.push_str(&delta),
            Ok(Event::Finished { mut usage, .. }) => {
                usage.cost_micros = cost_micros(choice.price.as_ref(), &usage);
                return Told::Said { text, usage };
            }
            Ok(_) => {}
            Err(error) => return failed(error),
        }
    }
    Told::Failed {
        code: "provider_timeout".to_owned(),
        message: "The model's answer broke off before its end.".to_owned(),
    }
}
