//! A model that plays what a test has written, and tools whose effects are counted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use shared::ids::{ModelId, OpId, WorkspaceId};
use tokio::sync::watch;

use crate::chat::content::{Part, Role, StoredPart, Usage};
use crate::chat::event::ChatErrorView;
use crate::chat::machine::Class;
use crate::chat::ports::{ModelChoice, Models, Told, ToolRun, ToolRunner};
use crate::llm::{
    Event, EventStream, FinishReason, Prompt, Provider, ProviderError, ProviderErrorKind, ToolSpec,
};
use crate::store::chats::ChatStore;
use crate::tools::{OperationKey, ToolError, ToolKind, ToolOutcome};

/// Gates by name. An open one lets everybody through who waits or comes later.
#[derive(Clone, Default)]
struct Gates(Arc<Mutex<HashMap<String, watch::Sender<bool>>>>);

impl Gates {
    fn open(&self, name: &str) {
        self.sender(name).send_replace(true);
    }

    async fn wait(&self, name: &str) {
        let mut open = self.sender(name).subscribe();
        open.wait_for(|open| *open).await.unwrap();
    }

    fn sender(&self, name: &str) -> watch::Sender<bool> {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }
}

/// What a scripted answer does, one after the other.
#[derive(Clone)]
pub(super) enum Act {
    /// Text of a part of its own.
    Text(&'static str),
    /// A whole tool call.
    Call(String, &'static str, Value),
    /// Waits until the test opens the gate.
    Gate(&'static str),
    /// The stream ends without its end.
    Cut,
    /// The stream fails.
    Fail(ProviderErrorKind),
    /// The stream fails, and the provider says this.
    Refuse(ProviderErrorKind, &'static str),
    /// The runner's task panics.
    Panic,
}

impl Act {
    /// A whole tool call.
    pub(super) fn call(id: &str, tool: &'static str, args: Value) -> Self {
        Self::Call(id.to_owned(), tool, args)
    }
}

/// Plays answers in order; when there are no more it says "done".
#[derive(Clone, Default)]
pub(super) struct Model {
    answers: Arc<Mutex<VecDeque<Vec<Act>>>>,
    prompts: Arc<Mutex<Vec<Prompt>>>,
    asked: watch::Sender<usize>,
    /// What to say when the written answers are used up; none: "done".
    improvise: Arc<Mutex<Option<Improvise>>>,
    /// What to do when a summary is asked for; none left: it is written.
    summaries: Arc<Mutex<VecDeque<Vec<Act>>>>,
    /// The window in tokens.
    window: Arc<Mutex<Option<u64>>>,
    gates: Gates,
    /// What to say when names are asked for; none: nobody names.
    names: Arc<Mutex<Option<VecDeque<Vec<Act>>>>>,
    /// Questions for names.
    named: watch::Sender<Vec<String>>,
    /// Who is asked where the first model cannot answer, and whether that one can be asked at all.
    fallback: Arc<Mutex<Option<ModelId>>>,
    gone: Arc<Mutex<bool>>,
    /// Answers for the chats that begin with these words.
    parts: Arc<Mutex<HashMap<String, VecDeque<Vec<Act>>>>>,
}

/// Makes an answer up; gets how often the model was asked before.
type Improvise = Box<dyn FnMut(usize) -> Vec<Act> + Send>;

impl Model {
    pub(super) fn answers(&self, answers: impl IntoIterator<Item = Vec<Act>>) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// Answers of the chat whose first message is `begins`.
    pub(super) fn plays(&self, begins: &str, answers: impl IntoIterator<Item = Vec<Act>>) {
        let mut parts = self.parts.lock().unwrap();
        parts.entry(begins.to_owned()).or_default().extend(answers);
    }

    fn part(&self, prompt: &Prompt) -> Option<Vec<Act>> {
        let first = prompt.messages.first()?.parts.first()?;
        let Part::Text { text } = &first.part else { return None };
        self.parts.lock().unwrap().get_mut(text)?.pop_front()
    }

    pub(super) fn improvise(&self, act: impl FnMut(usize) -> Vec<Act> + Send + 'static) {
        *self.improvise.lock().unwrap() = Some(Box::new(act));
    }

    pub(super) fn summaries(&self, summaries: impl IntoIterator<Item = Vec<Act>>) {
        self.summaries.lock().unwrap().extend(summaries);
    }

    /// From now on chats are named, with these answers.
    pub(super) fn names(&self, answers: impl IntoIterator<Item = Vec<Act>>) {
        self.names.lock().unwrap().get_or_insert_default().extend(answers);
    }

    /// The questions for names, once there are so many.
    pub(super) async fn asked_names(&self, times: usize) -> Vec<String> {
        let mut named = self.named.subscribe();
        let waited = named.wait_for(|named| named.len() >= times);
        let waited = tokio::time::timeout(super::PATIENCE, waited).await;
        waited.expect("names are asked for").unwrap().clone()
    }

    /// From now on `id` stands in for every other model; its name is `fallback-1`.
    pub(super) fn falls_back_to(&self, id: ModelId) {
        *self.fallback.lock().unwrap() = Some(id);
    }

    /// Every model but the one that stands in is gone.
    pub(super) fn gone(&self) {
        *self.gone.lock().unwrap() = true;
    }

    pub(super) fn window(&self, tokens: u64) {
        *self.window.lock().unwrap() = Some(tokens);
    }

    pub(super) fn prompts(&self) -> Vec<Prompt> {
        self.prompts.lock().unwrap().clone()
    }

    pub(super) fn open(&self, gate: &str) {
        self.gates.open(gate);
    }

    pub(super) fn calls(&self) -> usize {
        self.prompts.lock().unwrap().len()
    }

    /// Waits until the model was asked so often.
    pub(super) async fn asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let waited = asked.wait_for(|asked| *asked >= times);
        tokio::time::timeout(super::PATIENCE, waited).await.expect("the model is asked").unwrap();
    }

    fn made_up(&self) -> Vec<Act> {
        let asked = self.calls();
        let mut improvise = self.improvise.lock().unwrap();
        improvise.as_mut().map_or_else(|| vec![Act::Text("done")], |improvise| improvise(asked))
    }

    pub(super) fn last_prompt(&self) -> Prompt {
        self.prompts.lock().unwrap().last().unwrap().clone()
    }
}

#[async_trait]
impl Models for Model {
    async fn choose(&self, model: Option<ModelId>) -> Result<ModelChoice, ChatErrorView> {
        let stands_in = model.is_some() && model == *self.fallback.lock().unwrap();
        if !stands_in && *self.gone.lock().unwrap() {
            return Err(ChatErrorView {
                code: "model_not_found".into(),
                message: "gone".into(),
                retryable: false,
                provider: None,
                status_code: None,
                request_id: None,
            });
        }
        Ok(ModelChoice {
            provider: Arc::new(self.clone()),
            model: if stands_in { "fallback-1" } else { "scripted-1" }.into(),
            max_output_tokens: 1_000,
            context_limit: *self.window.lock().unwrap(),
            options: serde_json::Map::new(),
            price: None,
        })
    }

    async fn fallback(&self, _: Option<ModelId>) -> Option<ModelId> {
        *self.fallback.lock().unwrap()
    }

    async fn namer(&self, model: Option<ModelId>) -> Option<Result<ModelChoice, ChatErrorView>> {
        let names = self.names.lock().unwrap().is_some();
        if names { Some(self.choose(model).await) } else { None }
    }
}

#[async_trait]
impl Provider for Model {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    async fn stream(&self, prompt: Prompt) -> Result<EventStream, ProviderError> {
        no_orphans(&prompt);
        if prompt.cache_key.ends_with("-names") {
            let Part::Text { text } = &prompt.messages[0].parts[0].part else { panic!("a text") };
            self.named.send_modify(|named| named.push(text.clone()));
            let next = self.names.lock().unwrap().as_mut().and_then(VecDeque::pop_front);
            return play(next.unwrap_or_else(|| vec![Act::Text("label: said hello")]), &self.gates);
        }
        let next = match &prompt.ask {
            Some(_) => {
                let written = self.summaries.lock().unwrap().pop_front();
                Some(written.unwrap_or_else(|| vec![Act::Text("what was done so far")]))
            }
            None => self.part(&prompt).or_else(|| self.answers.lock().unwrap().pop_front()),
        };
        self.prompts.lock().unwrap().push(prompt);
        self.asked.send_modify(|asked| *asked += 1);
        play(next.unwrap_or_else(|| self.made_up()), &self.gates)
    }

    async fn models(&self) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }
}

fn play(acts: Vec<Act>, gates: &Gates) -> Result<EventStream, ProviderError> {
    if let Some(Act::Fail(kind)) = acts.first() {
        return Err(failure(*kind));
    }
    if let Some(Act::Refuse(kind, message)) = acts.first() {
        return Err(ProviderError { message: (*message).into(), ..failure(*kind) });
    }
    let play = Play { acts: acts.into(), events: VecDeque::new(), index: 0, gates: gates.clone() };
    Ok(unfold(play, Play::next).boxed())
}

struct Play {
    acts: VecDeque<Act>,
    events: VecDeque<Event>,
    index: u32,
    gates: Gates,
}

impl Play {
    async fn next(mut self) -> Option<(Result<Event, ProviderError>, Self)> {
        while self.events.is_empty() {
            let Some(act) = self.acts.pop_front() else {
                // The finish was the last event.
                return None;
            };
            match act {
                Act::Text(text) => self.say(text),
                Act::Call(id, tool, args) => self.call(&id, tool, args),
                Act::Gate(name) => self.gates.clone().wait(name).await,
                Act::Cut => return None,
                Act::Fail(kind) => return Some((Err(failure(kind)), self)),
                Act::Refuse(kind, message) => {
                    let error = ProviderError { message: message.into(), ..failure(kind) };
                    return Some((Err(error), self));
                }
                Act::Panic => panic!("the script wants it"),
            }
            if self.acts.is_empty() {
                let usage = Usage { output: 1, ..Usage::default() };
                self.events.push_back(Event::Finished { reason: FinishReason::EndTurn, usage });
            }
        }
        self.events.pop_front().map(|event| (Ok(event), self))
    }

    fn say(&mut self, text: &str) {
        let index = self.index;
        self.index += 1;
        self.events.push_back(Event::Text { index, delta: text.into() });
    }

    fn call(&mut self, id: &str, tool: &str, args: Value) {
        let index = self.index;
        self.index += 1;
        let (tool_call_id, name) = (id.to_owned(), tool.to_owned());
        let part = Part::ToolCall { tool_call_id: id.into(), name: tool.into(), args };
        self.events.push_back(Event::ToolCallStarted { index, tool_call_id, name });
        self.events.push_back(Event::PartDone { index, part: Box::new(StoredPart::from(part)) });
    }
}

/// Every request of every test is checked: each call has its result right behind it, and no
/// result stands alone.
fn no_orphans(prompt: &Prompt) {
    let mut open: Vec<String> = Vec::new();
    for message in &prompt.messages {
        let ids: Vec<String> = message
            .parts
            .iter()
            .filter_map(|stored| stored.part.tool_call_id().map(str::to_owned))
            .collect();
        match message.role {
            Role::Tool => {
                assert_eq!(ids, std::mem::take(&mut open), "results do not fit the calls");
            }
            _ => {
                assert!(open.is_empty(), "calls without results: {open:?}");
                open = ids;
            }
        }
    }
    assert!(open.is_empty(), "calls without results: {open:?}");
}

fn failure(kind: ProviderErrorKind) -> ProviderError {
    ProviderError {
        kind,
        message: "scripted".into(),
        status: None,
        retry_after: None,
        request_id: None,
    }
}

/// What the daemon's journal would know of an operation.
#[derive(Clone, Debug)]
struct Entry {
    hash: String,
    epoch: u64,
    answer: Option<Value>,
}

/// Tools `act` (an operation) and `look` (a read), with a journal as the daemon has.
///
/// Arguments: `bytes` of output, `gate` waits for the test, `live` is shown, `panic`, `lose` loses the link so many
/// times after the effect.
#[derive(Default)]
pub(super) struct Tools {
    journal: Mutex<HashMap<OpId, Entry>>,
    /// One line per real effect.
    ledger: Mutex<Vec<String>>,
    stopped: Mutex<Vec<OpId>>,
    acknowledged: Mutex<Vec<OpId>>,
    lost: Mutex<HashMap<OpId, u64>>,
    /// What commands answer, one after the other; then they exit with 0.
    exits: Mutex<VecDeque<Value>>,
    /// What every command waits for.
    command_gate: Mutex<Option<&'static str>>,
    gates: Gates,
}

impl Tools {
    pub(super) fn open(&self, gate: &str) {
        self.gates.open(gate);
    }

    pub(super) fn gate_commands(&self, gate: &'static str) {
        *self.command_gate.lock().unwrap() = Some(gate);
    }

    pub(super) fn exits(&self, answers: impl IntoIterator<Item = Value>) {
        self.exits.lock().unwrap().extend(answers);
    }

    pub(super) fn ledger(&self) -> Vec<String> {
        let mut ledger = self.ledger.lock().unwrap().clone();
        ledger.sort();
        ledger
    }

    pub(super) fn stopped(&self) -> usize {
        self.stopped.lock().unwrap().len()
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Admits an operation as the daemon's journal does. Some: it is known.
    fn admit(&self, key: &OperationKey, what: &str) -> Result<Option<Entry>, ToolError> {
        let mut journal = self.journal.lock().unwrap();
        let Some(entry) = journal.get_mut(&key.op_id) else {
            let entry =
                Entry { hash: key.fence.hash.clone(), epoch: key.fence.epoch, answer: None };
            journal.insert(key.op_id, entry);
            self.ledger.lock().unwrap().push(what.to_owned());
            return Ok(None);
        };
        assert_eq!(entry.hash, key.fence.hash, "one operation, two meanings");
        if key.fence.epoch < entry.epoch {
            return Err(ToolError::Fenced);
        }
        entry.epoch = key.fence.epoch;
        Ok(Some(entry.clone()))
    }

    async fn perform(&self, run: &ToolRun) -> Result<ToolOutcome, ToolError> {
        let args = &run.args;
        let what = args["what"].as_str().or(args["command"].as_str()).unwrap_or("?").to_owned();
        if self.kind(&run.tool) == Some(ToolKind::Operation)
            && let Some(Entry { answer: Some(answer), .. }) = self.admit(&run.operation, &what)?
        {
            return Ok(ToolOutcome::ok(answer));
        }
        run.live.push(args["live"].as_str().unwrap_or_default());
        let gate = self.command_gate.lock().unwrap().filter(|_| run.tool == "execute");
        if let Some(gate) = gate.or(args["gate"].as_str()) {
            self.gates.wait(gate).await;
        }
        assert!(!args["panic"].as_bool().unwrap_or_default(), "the script wants it");
        let mut answer = json!({ "did": what });
        if run.tool == "execute" {
            answer =
                self.exits.lock().unwrap().pop_front().unwrap_or_else(
                    || json!({ "state": "exited", "exit_code": 0, "output": "fine" }),
                );
        }
        if let Some(bytes) = args["bytes"].as_u64() {
            answer["output"] = "x".repeat(bytes as usize).into();
        }
        if let Some(entry) = self.journal.lock().unwrap().get_mut(&run.operation.op_id) {
            entry.answer = Some(answer.clone());
        }
        let mut lost = self.lost.lock().unwrap();
        let lost = lost.entry(run.operation.op_id).or_default();
        if *lost < args["lose"].as_u64().unwrap_or_default() {
            *lost += 1;
            return Err(ToolError::Unknown { reason: "scripted".into() });
        }
        let mut outcome = ToolOutcome::ok(answer);
        if outcome.result["state"] == "running" {
            outcome.process_ids.push(run.operation.process_id);
        }
        Ok(outcome)
    }
}

#[async_trait]
impl ToolRunner for Tools {
    fn specs(&self, has_workspace: bool, _: &str) -> Vec<ToolSpec> {
        let spec = |name: &str| ToolSpec {
            name: name.into(),
            description: String::new(),
            schema: Arc::new(json!({})),
        };
        if has_workspace { vec![spec("act"), spec("look")] } else { Vec::new() }
    }

    fn kind(&self, tool: &str) -> Option<ToolKind> {
        match tool {
            "act" | "execute" | "hangs" | "write_file" => Some(ToolKind::Operation),
            "update_plan" => Some(ToolKind::Progress),
            "look" => Some(ToolKind::Read),
            _ => None,
        }
    }

    /// `act` is named by its `what`.
    fn class(&self, tool: &str, args: &Value) -> Option<Class> {
        match tool {
            "act" => Some(Class::Act { subject: args["what"].as_str().map(str::to_owned) }),
            "ask_user" => Some(Class::Question),
            "propose_plan" => Some(Class::Plan),
            "execute" => Some(Class::Act { subject: args["command"].as_str().map(str::to_owned) }),
            "look" | "update_plan" | "hangs" | "write_file" => Some(Class::Free),
            _ => None,
        }
    }

    /// What never ends by itself need not be waited for long.
    fn deadline(&self, tool: &str) -> Option<Duration> {
        (tool == "hangs").then_some(Duration::from_millis(20))
    }

    async fn run(&self, run: ToolRun) -> Result<ToolOutcome, ToolError> {
        if self.kind(&run.tool).is_none() {
            return Ok(ToolOutcome::error("unknown_tool", "There is no such tool."));
        }
        tokio::select! {
            () = run.cancel.cancelled() => Err(ToolError::Cancelled),
            ended = self.perform(&run) => ended,
        }
    }

    async fn reachable(&self, _: WorkspaceId) {}

    async fn stop(&self, _: WorkspaceId, operation: &OperationKey) -> Told {
        self.stopped.lock().unwrap().push(operation.op_id);
        // As a daemon does: what runs ends, and its answer says how.
        self.gates.open("stop");
        Told::Heard
    }

    fn acknowledge(&self, _: WorkspaceId, operations: Vec<OpId>) {
        self.acknowledged.lock().unwrap().extend(operations);
    }

    async fn acknowledge_forgotten(&self, _: &ChatStore) {}
}
