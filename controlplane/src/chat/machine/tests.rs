//! The table, compared with the file beside this one, and the machine against a plain model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use proptest::prelude::*;
use shared::ids::{IdSource, MessageId, OpId, QueueId};
use shared::testing::CountingIds;

use super::super::content::Part;
use super::super::event::{ChatErrorView, ChatStatus};
use super::*;

fn message() -> UserMessage {
    let content = vec![Part::Text { text: "go on".into() }.into()];
    UserMessage { content, model_id: None, effort: None }
}

fn error() -> ChatErrorView {
    ChatErrorView {
        code: "provider_auth".into(),
        message: "the key is not accepted".into(),
        retryable: false,
        provider: None,
        status_code: None,
        request_id: None,
    }
}

fn id() -> QueueId {
    QueueId::from_ulid(CountingIds::default().ulid())
}

/// A step that asks for `calls` tools, with its intents.
fn step(calls: u32) -> Event {
    gated_step(calls, 0)
}

/// A step of which the first `waits` calls wait for a person.
fn gated_step(calls: u32, waits: u32) -> Event {
    let ids: &dyn IdSource = &CountingIds::default();
    let names: Vec<String> = (0..calls).map(|number| format!("call_{number}")).collect();
    let content = names
        .iter()
        .map(|name| {
            let part = Part::ToolCall {
                tool_call_id: name.clone(),
                name: "execute".into(),
                args: serde_json::json!({}),
            };
            part.into()
        })
        .collect();
    let intents = names
        .into_iter()
        .zip(0..)
        .map(|(tool_call_id, at)| Intent {
            op_id: ids.id(),
            tool_call_id,
            tool: "execute".into(),
            args: serde_json::json!({}),
            args_hash: String::new(),
            workspace_id: None,
            process_id: None,
            class: Class::Free,
            gate: if at < waits { Gate::Approval } else { Gate::Open },
        })
        .collect();
    let message = AssistantMessage { content, ..AssistantMessage::default() };
    Event::CommitStep { message, intents }
}

fn op() -> OpId {
    OpId::from_ulid(CountingIds::default().ulid())
}

fn answer() -> ToolAnswer {
    let result = serde_json::json!("ok");
    ToolAnswer { op_id: op(), result, is_error: false, duration_ms: 1, plan: None }
}

fn result(found: Asked) -> Event {
    Event::StoreResult { answer: answer(), found }
}

fn edit() -> Event {
    let id = MessageId::from_ulid(CountingIds::default().ulid());
    Event::EditMessage { id, found: Target::User, message: message() }
}

fn retry() -> Event {
    Event::Retry(RetryState { attempt: 1, delay_ms: 1_000, retry_at_ms: 1_000, error: error() })
}

fn fallback() -> Event {
    let model_id = shared::ids::ModelId::from_ulid(CountingIds::default().ulid());
    let (selected_model, answered_by) = ("large-1".into(), "small-1".into());
    Event::FallBack(FallbackState { model_id, selected_model, answered_by, error: error() })
}

/// One event of each kind, in the form that fits best.
fn every_event() -> Vec<Event> {
    let found = Some(Queued { steer: false });
    let partial = match step(1) {
        Event::CommitStep { message, .. } => Some(message),
        _ => None,
    };
    let awaited = Awaited::Waiting;
    vec![
        Event::Create(message()),
        Event::Copy,
        Event::Send { message: message(), busy: Busy::Queue },
        Event::Send { message: message(), busy: Busy::Steer },
        Event::Send { message: message(), busy: Busy::Interrupt },
        Event::DeleteQueued { id: id(), found },
        Event::Promote { id: id(), found },
        Event::EditQueued { id: id(), found, message: message() },
        Event::MoveQueued { id: id(), found, to: 0 },
        edit(),
        Event::SwitchBranch {
            id: MessageId::from_ulid(CountingIds::default().ulid()),
            found: Target::User,
        },
        Event::Continue,
        Event::Approve { op_id: op(), found: awaited },
        Event::Answer { answer: answer(), found: awaited },
        Event::Expire { answer: answer(), found: awaited },
        Event::Wait { op_id: op(), found: Asked::Open },
        Event::Report(message()),
        Event::Interrupt,
        Event::SetArchived(true),
        Event::SetArchived(false),
        Event::Acquire,
        Event::Abandon,
        Event::Attempt,
        retry(),
        fallback(),
        step(2),
        gated_step(2, 1),
        gated_step(2, 2),
        result(Asked::Open),
        Event::FinishTurn,
        Event::FinishInterruption { partial },
        Event::FinishError(error()),
        Event::Reconcile(error()),
    ]
}

/// The facts of each valid state, and of a state with open calls where there may be any.
fn every_state() -> Vec<(String, ChatMachine)> {
    let mut all = vec![("N".to_owned(), ChatMachine::absent())];
    let statuses = [
        ChatStatus::Waiting,
        ChatStatus::Error,
        ChatStatus::Running,
        ChatStatus::Interrupting,
        ChatStatus::RequiresAction,
    ];
    for archived in [false, true] {
        for status in statuses {
            for queue in [0, 1] {
                for (unanswered, awaited) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
                    let working = !matches!(status, ChatStatus::Waiting | ChatStatus::Error);
                    let facts = Facts {
                        status,
                        archived,
                        queue,
                        steered: 0,
                        unanswered,
                        awaited,
                        owned: working && status != ChatStatus::RequiresAction,
                        retrying: false,
                    };
                    let state = ExecutionState::of(&facts);
                    if state == ExecutionState::Invalid {
                        continue;
                    }
                    let open = match (unanswered, awaited) {
                        (0, _) | (1, 1) => "",
                        (1, _) => " open",
                        _ => " mixed",
                    };
                    let waits = if (unanswered, awaited) == (1, 1) { " waits" } else { "" };
                    all.push((format!("{state}{open}{waits}"), ChatMachine::load(facts)));
                }
            }
        }
    }
    let contradiction = Facts { queue: 1, ..Facts::born(ChatStatus::Waiting) };
    all.push(("invalid".to_owned(), ChatMachine::load(contradiction)));
    all
}

#[test]
fn the_table_beside_the_code_is_what_the_machine_does() {
    let mut table = String::from("state    | event -> state: effects, or the refusal\n");
    for (name, machine) in every_state() {
        for event in every_event() {
            let mut machine = machine.clone();
            let event_name = event.name();
            let effects = machine.apply(event);
            let names: Vec<&str> = effects.iter().map(Effect::name).collect();
            let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            writeln!(table, "{name:<8} | {event_name} -> {}: {names}", machine.state()).unwrap();
        }
    }
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/src/chat/machine/transitions.txt");
    if std::env::var_os("UPDATE_TRANSITIONS").is_some() {
        std::fs::write(beside, &table).unwrap();
    }
    let stored = std::fs::read_to_string(beside).unwrap();
    assert!(stored == table, "the machine changed: read the diff, then set UPDATE_TRANSITIONS=1");
}

/// The drawing of the states for people: an arrow per pair of states, with its events.
fn drawing() -> String {
    let mut arrows: BTreeMap<(String, String), BTreeSet<&'static str>> = BTreeMap::new();
    for (_, machine) in every_state() {
        for event in every_event() {
            let mut after = machine.clone();
            let name = event.name();
            if let [Effect::Refuse(_)] = after.apply(event)[..] {
                continue;
            }
            let ends = (machine.state().to_string(), after.state().to_string());
            arrows.entry(ends).or_default().insert(name);
        }
    }
    let mut drawing = String::from(
        "# The states of a chat\n\nGenerated from `controlplane/src/chat/machine`; a test compares. \
         What each event writes is in `transitions.txt` there, and why in \
         [016-turns.md](016-turns.md).\n\n\
         W rests, E stopped by an error, R runs, I is being stopped, A waits for people, clients or agents, \
         X archived; 0: the queue is empty, 1: it is not.\n\n```mermaid\nstateDiagram-v2\n",
    );
    for ((from, to), events) in &arrows {
        let events: Vec<&str> = events.iter().copied().collect();
        if from != to {
            writeln!(drawing, "    {from} --> {to}: {}", events.join(", ")).unwrap();
        }
    }
    drawing.push_str("```\n\nEvents that change something and leave the state as it is:\n\n");
    for ((from, to), events) in &arrows {
        let events: Vec<&str> = events.iter().copied().collect();
        if from == to {
            writeln!(drawing, "- {from}: {}", events.join(", ")).unwrap();
        }
    }
    drawing
}

#[test]
fn the_drawing_in_the_docs_is_what_the_machine_does() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/design/016-turns-states.md");
    let drawing = drawing();
    if std::env::var_os("UPDATE_TRANSITIONS").is_some() {
        std::fs::write(page, &drawing).unwrap();
    }
    let stored = std::fs::read_to_string(page).unwrap();
    assert!(stored == drawing, "the machine changed: read the diff, then set UPDATE_TRANSITIONS=1");
}

#[test]
fn every_valid_state_is_reached_from_nothing() {
    let mut seen = BTreeSet::from([ExecutionState::N]);
    let mut frontier = vec![ChatMachine::absent()];
    while let Some(machine) = frontier.pop() {
        for event in every_event() {
            let mut next = machine.clone();
            next.apply(event);
            if next.facts().is_some_and(|facts| facts.queue < 3) && seen.insert(next.state()) {
                frontier.push(next);
            }
        }
    }
    let unreached: Vec<_> =
        ExecutionState::ALL.into_iter().filter(|state| !seen.contains(state)).collect();
    assert_eq!(unreached, []);
    assert!(!seen.contains(&ExecutionState::Invalid));
}

#[test]
fn a_refused_event_changes_nothing() {
    for (_, machine) in every_state() {
        for event in every_event() {
            let mut after = machine.clone();
            if let [Effect::Refuse(_)] = after.apply(event)[..] {
                assert_eq!(after.facts(), machine.facts());
            }
        }
    }
}

#[test]
fn the_twenty_first_message_is_refused_and_says_the_limit() {
    let full = Facts { queue: QUEUE_MAX, ..Facts::born(ChatStatus::Running) };
    for busy in [Busy::Queue, Busy::Steer, Busy::Interrupt] {
        let effects = ChatMachine::load(full).apply(Event::Send { message: message(), busy });
        let [Effect::Refuse(refusal)] = effects[..] else { panic!("{effects:?}") };
        assert_eq!(refusal, Refusal::QueueFull { max: 20 });
    }
}

#[test]
fn intents_that_do_not_match_the_calls_are_refused() {
    let mut machine = ChatMachine::load(Facts::born(ChatStatus::Running));
    let Event::CommitStep { message, mut intents } = step(2) else { unreachable!() };
    intents.swap(0, 1);
    let effects = machine.apply(Event::CommitStep { message, intents });
    assert!(matches!(effects[..], [Effect::Refuse(Refusal::IntentsMismatch)]));
}

/// A chat as plain lists: what the store would hold after the effects.
#[derive(Clone, Debug, Default)]
struct Model {
    exists: bool,
    history: Vec<Said>,
    queue: Vec<bool>,
    open: usize,
    waits: usize,
    reports: usize,
    owned: bool,
    error: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Said {
    User,
    Model { calls: usize },
    Results { answers: usize },
}

impl Model {
    fn run(&mut self, effect: &Effect) {
        match effect {
            Effect::InsertUser(_) => self.user(),
            Effect::InsertAssistant(message) => {
                let calls = message.content.len();
                self.history.push(Said::Model { calls });
            }
            Effect::InsertPartial(message) => {
                let calls = message.content.len();
                self.history.push(Said::Model { calls });
                self.history.push(Said::Results { answers: calls });
            }
            Effect::Intend(intents) => {
                self.open = intents.len();
                self.waits = intents.iter().filter(|intent| intent.gate != Gate::Open).count();
            }
            Effect::RecordResult(_) => self.open -= 1,
            Effect::RecordAnswer(_) => {
                self.open -= 1;
                self.waits -= 1;
            }
            Effect::OpenGate(_) => self.waits -= 1,
            Effect::CloseGate(_) => self.waits += 1,
            // The first user's message is edited: what follows it goes with it.
            Effect::Fork { .. } => {
                self.history.clear();
                self.user();
            }
            Effect::SealBatch => self.seal(),
            Effect::AnswerOpenCalls(_) if self.open == 0 => {}
            Effect::AnswerOpenCalls(_) => {
                (self.open, self.waits) = (0, 0);
                self.seal();
            }
            Effect::Enqueue { steer, .. } => {
                let steering = self.queue.iter().filter(|steer| **steer).count();
                let at = if *steer { steering } else { self.queue.len() };
                self.queue.insert(at, *steer);
            }
            Effect::Dequeue { steer, .. } => {
                let at = self.queue.iter().position(|item| item == steer).unwrap();
                self.queue.remove(at);
            }
            Effect::MoveToHead { steer, .. } => {
                let at = self.queue.iter().position(|item| item == steer).unwrap();
                self.queue.remove(at);
                self.queue.insert(0, true);
            }
            Effect::PromoteHead => {
                self.queue.remove(0);
                self.user();
            }
            Effect::PromoteSteered => {
                let before = self.queue.len();
                self.queue.retain(|steer| !steer);
                (self.queue.len()..before).for_each(|_| self.user());
            }
            Effect::Own => self.owned = true,
            Effect::Disown => self.owned = false,
            Effect::NoteError(_) => self.error = true,
            Effect::ClearError => self.error = false,
            Effect::SetStatus(_) => self.exists = true,
            _ => {}
        }
    }

    fn user(&mut self) {
        assert_eq!(self.open, 0, "a user message while a call is open");
        self.history.push(Said::User);
    }

    fn seal(&mut self) {
        assert_eq!(self.open, 0, "a batch was sealed with an open call");
        let Some(Said::Model { calls }) = self.history.last() else {
            panic!("results without their calls: {:?}", self.history)
        };
        self.history.push(Said::Results { answers: *calls });
    }

    /// Each step with calls is followed at once by as many answers, but for the open batch.
    fn check(&self, facts: &Facts) {
        let steps = self.history.iter().zip(self.history.iter().skip(1).map(Some).chain([None]));
        for (said, next) in steps {
            if let Said::Model { calls } = said
                && *calls > 0
            {
                match next {
                    Some(next) => assert_eq!(next, &Said::Results { answers: *calls }),
                    None => assert!(self.open > 0, "calls without an open batch"),
                }
            }
        }
        let steered = self.queue.iter().filter(|steer| **steer).count();
        assert_eq!(facts.queue as usize, self.queue.len());
        assert_eq!(facts.steered as usize, steered);
        assert_eq!(facts.unanswered as usize, self.open);
        assert_eq!(facts.awaited as usize, self.waits);
        let waits_only = self.open > 0 && self.waits == self.open;
        let asks = facts.status == ChatStatus::RequiresAction;
        assert!(asks == waits_only || facts.status == ChatStatus::Interrupting, "{facts:?}");
        assert_eq!(facts.owned, self.owned);
        assert_eq!(facts.status == ChatStatus::Error, self.error);
        let rests = matches!(facts.status, ChatStatus::Waiting | ChatStatus::Error);
        assert!(!rests || (self.open == 0 && !self.owned), "{facts:?}");
        assert!(!asks || !self.owned, "nobody drives what waits for people: {facts:?}");
        assert!(
            facts.queue as usize <= QUEUE_MAX as usize + self.reports,
            "only agents go over it"
        );
    }
}

/// What a client or a worker may try; the model says which queued message there is.
#[derive(Clone, Copy, Debug)]
enum Try {
    Send(Busy),
    Delete,
    Promote,
    Edit,
    Interrupt,
    Archive(bool),
    Acquire,
    Abandon,
    Attempt,
    Retry,
    FallBack,
    Step(u32, u32),
    Result(Asked),
    Move,
    EditMessage,
    Switch,
    Continue,
    Approve(Awaited),
    Answer(Awaited),
    Expire,
    Turn,
    Interruption(Option<u32>),
    Error,
    Reconcile,
    Wait,
    Report,
}

fn tries() -> impl Strategy<Value = Try> {
    prop_oneof![
        6 => prop_oneof![Just(Busy::Queue), Just(Busy::Steer), Just(Busy::Interrupt)]
            .prop_map(Try::Send),
        1 => Just(Try::Delete),
        1 => Just(Try::Promote),
        1 => Just(Try::Edit),
        2 => Just(Try::Interrupt),
        1 => any::<bool>().prop_map(Try::Archive),
        2 => Just(Try::Acquire),
        1 => Just(Try::Abandon),
        1 => Just(Try::Attempt),
        1 => Just(Try::Retry),
        1 => Just(Try::FallBack),
        6 => (0_u32..4, 0_u32..4).prop_map(|(calls, waits)| Try::Step(calls, waits)),
        1 => Just(Try::Move),
        1 => Just(Try::EditMessage),
        1 => Just(Try::Switch),
        1 => Just(Try::Continue),
        3 => Just(Try::Approve(Awaited::Waiting)),
        3 => Just(Try::Answer(Awaited::Waiting)),
        1 => Just(Try::Answer(Awaited::Resolved)),
        1 => Just(Try::Expire),
        8 => Just(Try::Result(Asked::Open)),
        1 => Just(Try::Result(Asked::Answered)),
        3 => Just(Try::Turn),
        3 => proptest::option::of(0_u32..3).prop_map(Try::Interruption),
        1 => Just(Try::Error),
        1 => Just(Try::Reconcile),
        3 => Just(Try::Wait),
        1 => Just(Try::Report),
    ]
}

impl Try {
    fn event(self, model: &Model) -> Event {
        let found = model.queue.last().map(|steer| Queued { steer: *steer });
        let fits = |found| if model.waits == 0 { Awaited::Unknown } else { found };
        match self {
            Self::Send(busy) => Event::Send { message: message(), busy },
            Self::Delete => Event::DeleteQueued { id: id(), found },
            Self::Promote => Event::Promote { id: id(), found },
            Self::Edit => Event::EditQueued { id: id(), found, message: message() },
            Self::Interrupt => Event::Interrupt,
            Self::Archive(archived) => Event::SetArchived(archived),
            Self::Acquire => Event::Acquire,
            Self::Abandon => Event::Abandon,
            Self::Attempt => Event::Attempt,
            Self::Retry => retry(),
            Self::FallBack => fallback(),
            Self::Step(calls, waits) => gated_step(calls, waits.min(calls)),
            Self::Result(Asked::Open) if model.open == model.waits => result(Asked::Unknown),
            Self::Move => Event::MoveQueued { id: id(), found, to: 1 },
            Self::EditMessage => edit(),
            Self::Switch => Event::SwitchBranch {
                id: MessageId::from_ulid(CountingIds::default().ulid()),
                found: Target::User,
            },
            Self::Continue => Event::Continue,
            Self::Approve(found) => Event::Approve { op_id: op(), found: fits(found) },
            Self::Answer(found) => Event::Answer { answer: answer(), found: fits(found) },
            Self::Expire => Event::Expire { answer: answer(), found: fits(Awaited::Waiting) },
            Self::Result(found) => result(found),
            Self::Turn => Event::FinishTurn,
            Self::Interruption(calls) => Event::FinishInterruption {
                partial: calls.map(|calls| match step(calls) {
                    Event::CommitStep { message, .. } => message,
                    _ => AssistantMessage::default(),
                }),
            },
            Self::Error => Event::FinishError(error()),
            Self::Reconcile => Event::Reconcile(error()),
            Self::Wait => {
                let runs = model.open > model.waits;
                let found = if runs { Asked::Open } else { Asked::Unknown };
                Event::Wait { op_id: op(), found }
            }
            Self::Report => Event::Report(message()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_equals_plain_lists(tries in proptest::collection::vec(tries(), 1..120)) {
        let mut machine = ChatMachine::absent();
        let mut model = Model::default();
        for effect in machine.apply(Event::Create(message())) {
            model.run(&effect);
        }
        for attempt in tries {
            model.reports += usize::from(matches!(attempt, Try::Report));
            let effects = machine.apply(attempt.event(&model));
            for effect in &effects {
                model.run(effect);
            }
            let facts = machine.facts().expect("the chat exists");
            prop_assert_ne!(machine.state(), ExecutionState::Invalid);
            model.check(&facts);
        }
    }
}
