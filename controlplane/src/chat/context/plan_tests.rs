//! When a history is made shorter, how, and that it comes to an end.

use proptest::prelude::*;
use serde_json::json;
use shared::ids::IdSource;
use shared::testing::CountingIds;

use super::*;
use crate::chat::content::{Role, Usage};
use crate::chat::context::summary;
use crate::chat::history::{Reader, messages};

const READER: Reader<'_> = Reader { kind: "anthropic", model: "m", context_limit: None };

/// A history that grows by whole steps.
#[derive(Default)]
struct Chat(Vec<MessageRow>);

impl Chat {
    fn push(&mut self, role: Role, parts: Vec<Part>, usage: Option<Usage>) {
        let ids: &dyn IdSource = &CountingIds::default();
        let seq = self.0.len() as i64 + 1;
        self.0.push(MessageRow {
            id: ids.id(),
            chat_id: ids.id(),
            seq,
            revision: seq,
            role,
            content: parts.into_iter().map(Into::into).collect(),
            raw_kind: None,
            model: None,
            usage,
            removed: false,
            parent_id: None,
            fork_id: None,
            variant: 1,
            variants: 1,
            label: None,
            created_at_ms: 0,
        });
    }

    fn say(&mut self, text: &str) {
        self.push(Role::User, vec![Part::Text { text: text.into() }], None);
    }

    /// One step with one output of so many bytes; counted by the provider or not.
    fn step(&mut self, bytes: usize, counted: bool) {
        let usage = counted.then(|| Usage {
            input: Sizes::of(&self.0, WINDOW).context_tokens(0),
            source: "provider".into(),
            ..Usage::default()
        });
        let id = format!("call_{}", self.0.len());
        let call = Part::ToolCall {
            tool_call_id: id.clone(),
            name: "execute".into(),
            args: json!({"command": "ls"}),
        };
        self.push(Role::Assistant, vec![call], usage);
        let result = Part::ToolResult {
            tool_call_id: id,
            name: "execute".into(),
            result: json!("x".repeat(bytes)),
            is_error: false,
            duration_ms: 0,
        };
        self.push(Role::Tool, vec![result], None);
    }

    fn mark(&mut self, mark: Compaction) {
        self.push(Role::Assistant, vec![Part::Compaction { mark }], None);
    }

    /// Does what is planned; false: the model is called.
    fn make_room(&mut self, need: Need, window: Window) -> bool {
        match plan(&self.0, need, window) {
            Plan::Go | Plan::Stuck => return false,
            Plan::Prune(mark) => self.mark(mark),
            Plan::Summarise(plan) => self.mark(summary::mark(&plan, &"s".repeat(4_000))),
        }
        true
    }

    fn prompt_bytes(&self) -> usize {
        let prompt = messages(&self.0, READER);
        prompt.iter().flat_map(|m| &m.parts).map(|part| size(part, false)).sum()
    }
}

const WINDOW: Window = Window { limit: Some(40_000), fixed: 1_000, kind: "anthropic", model: "m" };

#[test]
fn nothing_is_done_under_the_threshold_or_without_a_window() {
    let mut chat = Chat::default();
    chat.say("go");
    for _ in 0..10 {
        chat.step(4_000, true);
    }
    assert_eq!(plan(&chat.0, Need::Room, WINDOW), Plan::Go);
    for _ in 0..100 {
        chat.step(4_000, true);
    }
    assert_eq!(plan(&chat.0, Need::Room, Window { limit: None, ..WINDOW }), Plan::Go);
    assert_ne!(plan(&chat.0, Need::Room, WINDOW), Plan::Go);
}

#[test]
fn stubs_are_enough_where_outputs_are_what_fills_the_window() {
    let mut chat = Chat::default();
    chat.say("go");
    while plan(&chat.0, Need::Room, WINDOW) == Plan::Go {
        chat.step(8_000, false);
    }
    let Plan::Prune(mark) = plan(&chat.0, Need::Room, WINDOW) else { panic!("stubs free enough") };
    let before = chat.prompt_bytes();
    chat.mark(mark.clone());
    let after = chat.prompt_bytes();
    assert!(tokens(after) <= percent(40_000, PRUNED_ENOUGH_PERCENT), "{before} to {after}");
    let estimate = mark.tokens_after as f64 / tokens(after) as f64;
    assert!((0.8..1.3).contains(&estimate), "the estimate is {estimate} of what it became");
    // The newest steps keep their outputs.
    let newest = &chat.0[chat.0.len() - 2];
    assert!(newest.seq > mark.through_seq);
}

#[test]
fn a_summary_keeps_the_newest_steps_and_every_word_of_the_user() {
    let mut chat = Chat::default();
    chat.say("the task, word for word");
    // Outputs that are too short to be stubs.
    while plan(&chat.0, Need::Room, WINDOW) == Plan::Go {
        chat.step(1_500, true);
    }
    let Plan::Summarise(plan) = plan(&chat.0, Need::Room, WINDOW) else { panic!("no stubs help") };
    assert_eq!(plan.cut_to, None, "the prompt still fits, and is cached as it is");
    chat.mark(summary::mark(&plan, "what was done"));
    let prompt = messages(&chat.0, READER);
    let opening: Vec<String> = prompt[0]
        .parts
        .iter()
        .filter_map(|stored| match &stored.part {
            Part::Text { text } => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert!(opening[0].contains("what was done"), "{opening:?}");
    assert_eq!(opening.last().map(String::as_str), Some("the task, word for word"));
    assert!(prompt.len() > 3, "steps are kept word for word");
    assert!(tokens(chat.prompt_bytes()) < percent(40_000, 30));
}

#[test]
fn after_a_refusal_there_is_one_compaction_and_then_a_clear_end() {
    let mut chat = Chat::default();
    chat.say("go");
    for _ in 0..5 {
        chat.step(30_000, false);
    }
    let unknown = Window { limit: None, fixed: 0, ..WINDOW };
    assert!(chat.make_room(Need::Exceeded, unknown), "there is something to leave out");
    assert_eq!(plan(&chat.0, Need::Exceeded, unknown), Plan::Stuck);
    let mut chat = Chat::default();
    chat.say(&"word ".repeat(100_000));
    assert_eq!(plan(&chat.0, Need::Exceeded, WINDOW), Plan::Stuck);
}

#[test]
fn counts_that_cannot_be_trusted_are_replaced_by_an_estimate() {
    let mut chat = Chat::default();
    chat.say(&"word ".repeat(30_000));
    let usage = Usage { input: 7, source: "unknown".into(), ..Usage::default() };
    chat.push(Role::Assistant, vec![Part::Text { text: "x".into() }], Some(usage));
    assert!(Sizes::of(&chat.0, WINDOW).context_tokens(0) > 30_000);
    let usage =
        Usage { input: u64::MAX, output: u64::MAX, source: "provider".into(), ..Usage::default() };
    assert_eq!(usage.total(), u64::MAX, "an overflow does not wrap");
}

#[test]
fn a_wish_is_fulfilled_once() {
    let mut chat = Chat::default();
    chat.say("go");
    assert!(!is_compactable(&chat.0));
    chat.step(100, true);
    assert!(is_compactable(&chat.0));
    assert!(chat.make_room(Need::Asked, WINDOW));
    assert!(!is_compactable(&chat.0));
    assert!(!chat.make_room(Need::Asked, WINDOW));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the steps are like: the prompt stays within the window, and between two
    /// compactions the model is called.
    #[test]
    fn a_long_turn_stays_within_its_window_without_a_loop(
        outputs in prop::collection::vec(0usize..9_000, 1..150), counted in any::<bool>(),
    ) {
        let mut chat = Chat::default();
        chat.say("go");
        for bytes in outputs {
            let mut rounds = 0;
            while chat.make_room(Need::Room, WINDOW) {
                rounds += 1;
                prop_assert!(rounds <= 1, "a compaction after a compaction");
            }
            let tokens = WINDOW.fixed + tokens(chat.prompt_bytes());
            prop_assert!(tokens < 40_000, "{} tokens", tokens);
            chat.step(bytes, counted);
        }
    }
}
