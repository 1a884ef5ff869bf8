//! A viewer of one chat: the product's own client state, fed from either transport.
//!
//! Waits are on events alone, with a deadline; what was seen last is in the message.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use controlplane::chat::client::ClientState;
use controlplane::chat::content::{Part, Role};
use controlplane::chat::event::{ChatEvent, ChatStatus, Envelope, PreviewKind};
use serde_json::Value;

use crate::api::{Api, Events, PATIENCE, Socket};

/// A subscription with everything that it told so far.
pub struct ChatStream {
    source: Source,
    waiting: VecDeque<Envelope>,
    /// What a client knows now.
    pub state: ClientState,
    /// Every event, in the order it came.
    pub seen: Vec<ChatEvent>,
}

/// A viewer without a connection.
pub struct Gone {
    is_socket: bool,
    last_id: Option<String>,
    /// What it knew when the connection broke.
    pub state: ClientState,
    seen: Vec<ChatEvent>,
}

impl Gone {
    /// Claims to have seen everything up to a revision, which it has not: for controls.
    pub fn skip_to(&mut self, snapshot: i64) {
        if let Some(cursor) = &mut self.state.cursor {
            cursor.snapshot = snapshot;
            self.last_id = self.last_id.as_ref().map(|_| cursor.to_string());
        }
    }

    /// Connects again, as a browser does: from the last event that was applied.
    pub async fn resume(self, api: &Api, chat_id: &str) -> Result<ChatStream> {
        let cursor = self.state.cursor.map(|cursor| cursor.to_string());
        let source = if self.is_socket {
            let path = match &cursor {
                Some(cursor) => format!("/chats/{chat_id}/stream?cursor={cursor}"),
                None => format!("/chats/{chat_id}/stream"),
            };
            Source::Socket(api.socket(&path).await?)
        } else {
            // The transport's own id is the cursor, so that a plain EventSource resumes.
            let last = self.last_id.or(cursor);
            let mut events =
                api.events(&format!("/chats/{chat_id}/events"), last.as_deref()).await?;
            events.last_id = last;
            Source::Events(events)
        };
        let mut resumed = ChatStream::new(source, self.state);
        resumed.state.ready = false;
        resumed.seen = self.seen;
        Ok(resumed)
    }
}

enum Source {
    Socket(Socket),
    Events(Events),
}

impl ChatStream {
    /// Over a WebSocket, from the beginning.
    pub async fn open(api: &Api, chat_id: &str) -> Result<Self> {
        let socket = api.socket(&format!("/chats/{chat_id}/stream")).await?;
        Ok(Self::new(Source::Socket(socket), ClientState::default()))
    }

    /// Over server-sent events, from the beginning.
    pub async fn open_events(api: &Api, chat_id: &str) -> Result<Self> {
        let events = api.events(&format!("/chats/{chat_id}/events"), None).await?;
        Ok(Self::new(Source::Events(events), ClientState::default()))
    }

    /// Breaks the connection off, with whatever is on its way, and goes on with what this viewer
    /// knows over a new one of the same kind.
    pub async fn resume(self, api: &Api, chat_id: &str) -> Result<Self> {
        self.cut().resume(api, chat_id).await
    }

    /// Breaks the connection off in the middle of whatever is on its way.
    pub fn cut(self) -> Gone {
        let (is_socket, last_id) = match self.source {
            Source::Socket(_) => (true, None),
            Source::Events(events) => (false, events.last_id),
        };
        Gone { is_socket, last_id, state: self.state, seen: self.seen }
    }

    fn new(source: Source, state: ClientState) -> Self {
        Self { source, waiting: VecDeque::new(), state, seen: Vec::new() }
    }

    /// Applies the next event.
    pub async fn step(&mut self) -> Result<ChatEvent> {
        while self.waiting.is_empty() {
            let value = match &mut self.source {
                Source::Socket(socket) => socket.event().await?,
                Source::Events(events) => events.event().await?,
            };
            let envelope = serde_json::from_value::<Envelope>(value.clone())
                .with_context(|| format!("not an event: {value}"))?;
            self.waiting.push_back(envelope);
        }
        let Some(envelope) = self.waiting.pop_front() else { bail!("no event") };
        self.state.apply(&envelope);
        self.seen.push(envelope.event.clone());
        Ok(envelope.event)
    }

    /// Applies events until the state fits; `what` is what a person would say is awaited.
    pub async fn until(
        &mut self,
        what: &str,
        fits: impl Fn(&ClientState) -> bool,
    ) -> Result<&ClientState> {
        let wait = async {
            while !fits(&self.state) {
                self.step().await?;
            }
            anyhow::Ok(())
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited
            .map_err(|_| anyhow::anyhow!("it took too long"))
            .and_then(|done| done)
            .with_context(|| format!("waited until {what}; the state is {:#?}", self.state))?;
        Ok(&self.state)
    }

    /// Applies events until the chat rests after having run.
    pub async fn until_rest(&mut self) -> Result<&ClientState> {
        self.until("the chat rests", |state| {
            state.ready
                && matches!(state.status, Some(ChatStatus::Waiting | ChatStatus::Error))
                && state.queue.is_empty()
                && state.history().last().is_some_and(|last| last.role == Role::Assistant)
        })
        .await
    }
}

/// The text of a message's prose.
pub fn prose(content: &[Part]) -> String {
    let texts = content.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// What was said, in order, by role; results of tools as `name: result`.
pub fn transcript(state: &ClientState) -> Vec<String> {
    let lines = state.history().into_iter().flat_map(|message| {
        message.content.iter().map(|part| match part {
            Part::Text { text } => format!("{}: {text}", message.role.as_str()),
            Part::ToolCall { name, .. } => format!("call {name}"),
            Part::ToolResult { name, is_error, .. } if *is_error => format!("{name} failed"),
            Part::ToolResult { name, .. } => format!("{name} answered"),
            Part::Notice { code, .. } => format!("notice {code}"),
            Part::File { file } => format!("file {}", file.name),
            Part::AgentReport { outcome, .. } => format!("report {}", outcome.as_str()),
            Part::Compaction { mark } => format!("compaction {:?}", mark.method),
            Part::Reasoning { .. } => "reasoning".to_owned(),
        })
    });
    lines.collect()
}

/// The live text that a running tool has shown so far.
pub fn live_output(state: &ClientState) -> String {
    let running = state.preview.values().filter(|part| part.kind == PreviewKind::ToolResult);
    running.map(|part| part.text.as_str()).collect()
}

/// Results of tools in the history: the call's id and the result.
pub fn results(state: &ClientState) -> Vec<(String, Value, bool)> {
    let parts = state.history().into_iter().flat_map(|message| message.content.iter());
    let results = parts.filter_map(|part| match part {
        Part::ToolResult { tool_call_id, result, is_error, .. } => {
            Some((tool_call_id.clone(), result.clone(), *is_error))
        }
        _ => None,
    });
    results.collect()
}
