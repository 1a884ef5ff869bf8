//! A model that says anything, breaks off anywhere and is away at times.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use controlplane::chat::content::{Part, Role, StoredPart, Usage};
use controlplane::chat::event::ChatErrorView;
use controlplane::chat::ports::{ModelChoice, Models};
use controlplane::llm::{
    Event, EventStream, FinishReason, Prompt, Provider, ProviderError, ProviderErrorKind,
};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use shared::ids::ModelId;
use ulid::Ulid;

use crate::director::Director;
use crate::profile::Profile;

struct State {
    rng: StdRng,
    faulty: bool,
    /// Whether there is still something to do: then tools are asked for.
    busy: bool,
    calls: u64,
    /// Answers with names that are not told to their end.
    naming: usize,
    broken: Option<String>,
}

/// The model of a world. All clones are one.
#[derive(Clone)]
pub struct Model {
    director: Director,
    window: Option<u64>,
    /// Whether it names chats and turns.
    names: bool,
    /// Who stands in for it, in name: the answers are its own.
    fallback: Option<ModelId>,
    state: Arc<Mutex<State>>,
}

impl Model {
    /// For one seed.
    pub fn new(seed: u64, director: Director, profile: &Profile) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0x40_DE1);
        let faulty = profile.model_faults;
        let state = State { rng, faulty, busy: true, calls: 0, naming: 0, broken: None };
        let fallback = profile.fallback.then(|| ModelId::from_ulid(Ulid::from_parts(1, 1)));
        let (window, names) = (profile.window, profile.names);
        Self { director, window, names, fallback, state: Arc::new(Mutex::new(state)) }
    }

    /// From here on every answer ends well, and soon no more tools are wanted.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.faulty, state.busy) = (false, false);
    }

    /// A request that no provider would take, if there was one.
    pub fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    /// Whether somebody waits for names.
    pub fn is_naming(&self) -> bool {
        self.lock().naming > 0
    }

    fn choice(&self) -> ModelChoice {
        ModelChoice {
            provider: Arc::new(self.clone()),
            model: "simulated-1".into(),
            max_output_tokens: 200,
            context_limit: self.window,
            options: serde_json::Map::new(),
            price: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Models for Model {
    async fn choose(&self, _: Option<ModelId>) -> Result<ModelChoice, ChatErrorView> {
        Ok(self.choice())
    }

    async fn fallback(&self, _: Option<ModelId>) -> Option<ModelId> {
        self.fallback
    }

    async fn namer(&self, _: Option<ModelId>) -> Option<Result<ModelChoice, ChatErrorView>> {
        self.names.then(|| Ok(self.choice()))
    }
}

#[async_trait]
impl Provider for Model {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    async fn stream(&self, prompt: Prompt) -> Result<EventStream, ProviderError> {
        let names = prompt.cache_key.ends_with("-names");
        let naming = names.then(|| Naming::begin(self));
        let (acts, refusal) = {
            let mut state = self.lock();
            if let Some(problem) = problem(&prompt) {
                state.broken.get_or_insert(problem);
            }
            state.calls += 1;
            let acts = if names { state.names() } else { state.answer(prompt.ask.is_some()) };
            (acts, state.refusal())
        };
        self.director.note(|| format!("model asked with {} messages", prompt.messages.len()));
        if let Some(kind) = refusal {
            self.director.fired("model refuses");
            tokio::time::sleep(Duration::from_millis(30)).await;
            return Err(failure(kind));
        }
        Ok(unfold(Play { acts, model: self.clone(), _naming: naming }, Play::next).boxed())
    }

    async fn models(&self) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }
}

/// One thing of an answer, after a pause.
struct Act {
    pause: Duration,
    event: Option<Result<Event, ProviderError>>,
}

impl State {
    fn refusal(&mut self) -> Option<ProviderErrorKind> {
        // Overloaded is what another model stands in for at once.
        const KINDS: [ProviderErrorKind; 7] = [
            ProviderErrorKind::Overloaded,
            ProviderErrorKind::Overloaded,
            ProviderErrorKind::Overloaded,
            ProviderErrorKind::RateLimited,
            ProviderErrorKind::Unreachable,
            ProviderErrorKind::Server,
            ProviderErrorKind::ContextExceeded,
        ];
        (self.faulty && self.rng.random_bool(0.12))
            .then(|| KINDS[self.rng.random_range(0..KINDS.len())])
    }

    /// What is said, with the place where it breaks off.
    fn answer(&mut self, summary: bool) -> VecDeque<Act> {
        let mut events = VecDeque::new();
        events.push_back(Event::Started { model: None, request_id: None });
        let mut index = 0;
        for nth in 0..self.rng.random_range(1..4_u32) {
            let delta = format!("word{}-{nth} ", self.calls);
            events.push_back(Event::Text { index, delta });
        }
        let asks = self.busy && !summary && self.rng.random_bool(0.6);
        let calls = if asks { self.rng.random_range(1..4_u32) } else { 0 };
        for nth in 0..calls {
            index += 1;
            self.call(&mut events, index, nth);
        }
        let reason = if calls > 0 { FinishReason::ToolUse } else { FinishReason::EndTurn };
        self.told(events, reason)
    }

    /// A title and a label, or something that is neither.
    fn names(&mut self) -> VecDeque<Act> {
        let delta = match self.rng.random_range(0..4_u32) {
            0 => "I cannot say.\nNothing here is a name.".to_owned(),
            _ => format!("title: Title number {0}\nlabel: label number {0}\n", self.calls),
        };
        let events = VecDeque::from([
            Event::Started { model: None, request_id: None },
            Event::Text { index: 0, delta },
        ]);
        self.told(events, FinishReason::EndTurn)
    }

    /// The answer with its end, or cut off anywhere.
    fn told(&mut self, mut events: VecDeque<Event>, reason: FinishReason) -> VecDeque<Act> {
        let usage = Usage { input: 50, output: 10, ..Usage::default() };
        events.push_back(Event::Finished { reason, usage });
        let cut = (self.faulty && self.rng.random_bool(0.15))
            .then(|| self.rng.random_range(0..events.len()));
        let mut acts: VecDeque<Act> = events
            .into_iter()
            .take(cut.unwrap_or(usize::MAX))
            .map(|event| Act { pause: self.pause(), event: Some(Ok(event)) })
            .collect();
        if cut.is_some() {
            acts.push_back(self.end());
        }
        acts
    }

    fn call(&mut self, events: &mut VecDeque<Event>, index: u32, nth: u32) {
        const TOOLS: [&str; 9] = [
            "act",
            "act",
            "act",
            "edit_files",
            "edit_files",
            "edit_files",
            "look",
            "ask_user",
            "no_such_tool",
        ];
        let name = TOOLS[self.rng.random_range(0..TOOLS.len())].to_owned();
        let tool_call_id = format!("call_{}_{nth}", self.calls);
        let args = json!({ "what": tool_call_id });
        events.push_back(Event::ToolCallStarted {
            index,
            tool_call_id: tool_call_id.clone(),
            name: name.clone(),
        });
        let text = args.to_string();
        let (head, tail) = text.split_at(text.len() / 2);
        for delta in [head, tail] {
            events.push_back(Event::ToolCallDelta { index, delta: delta.to_owned() });
        }
        let part = Part::ToolCall { tool_call_id, name, args };
        events.push_back(Event::PartDone { index, part: Box::new(StoredPart::from(part)) });
    }

    fn pause(&mut self) -> Duration {
        let ms = if self.rng.random_bool(0.1) { 900 } else { 40 };
        // Never no time at all: a timer that is due at once races with the database's threads.
        Duration::from_millis(self.rng.random_range(1..ms))
    }

    /// How an answer that is cut ends: silence, an error, or nothing more.
    fn end(&mut self) -> Act {
        let pause = self.pause();
        match self.rng.random_range(0..3_u32) {
            // The clients of real providers give a silent one up after 120 s; so long is too long.
            0 => Act {
                pause: Duration::from_secs(20),
                event: Some(Err(failure(ProviderErrorKind::StreamSilent))),
            },
            1 => Act { pause, event: Some(Err(failure(ProviderErrorKind::Timeout))) },
            _ => Act { pause, event: None },
        }
    }
}

struct Play {
    acts: VecDeque<Act>,
    model: Model,
    _naming: Option<Naming>,
}

/// Somebody waits for names for as long as it lives.
struct Naming(Model);

impl Naming {
    fn begin(model: &Model) -> Self {
        model.lock().naming += 1;
        Self(model.clone())
    }
}

impl Drop for Naming {
    fn drop(&mut self) {
        self.0.lock().naming -= 1;
    }
}

impl Play {
    async fn next(mut self) -> Option<(Result<Event, ProviderError>, Self)> {
        let act = self.acts.pop_front()?;
        tokio::time::sleep(act.pause).await;
        let Some(event) = act.event else {
            self.model.director.fired("model breaks off");
            return None;
        };
        if event.is_err() {
            self.model.director.fired("model fails");
        }
        Some((event, self))
    }
}

/// Each call has its result right behind it, and no result stands alone.
fn problem(prompt: &Prompt) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    for message in &prompt.messages {
        let ids: Vec<String> = message
            .parts
            .iter()
            .filter_map(|stored| stored.part.tool_call_id().map(str::to_owned))
            .collect();
        if message.role == Role::Tool {
            if ids != std::mem::take(&mut open) {
                return Some(format!("results {ids:?} do not fit their calls"));
            }
        } else {
            if !open.is_empty() {
                return Some(format!("calls {open:?} without results"));
            }
            open = ids;
        }
    }
    (!open.is_empty()).then(|| format!("calls {open:?} without results at the end"))
}

fn failure(kind: ProviderErrorKind) -> ProviderError {
    let retry_after = (kind == ProviderErrorKind::RateLimited).then_some(Duration::from_secs(7));
    ProviderError { kind, message: "simulated".into(), status: None, retry_after, request_id: None }
}
