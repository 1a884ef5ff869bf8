//! Histories that are made shorter: at the threshold, on demand, after a refusal; over crashes and
//! stops; and how much of a long turn's prompts stays the same.

use serde_json::json;
use shared::testing::bad_input::BadInput;
use shared::testing::trials;

use super::doubles::Act;
use super::*;
use crate::chat::content::CompactionMethod;
use crate::chat::context::marks::mark;
use crate::chat::event::PreviewKind;
use crate::llm::{Prompt, ProviderErrorKind, wire_body};
use crate::store::StoreError;

/// A step that calls a tool with so many bytes of output.
fn step(number: usize, bytes: usize) -> Vec<Act> {
    steps(number, 1, bytes)
}

/// The same with several calls side by side.
fn steps(number: usize, calls: usize, bytes: usize) -> Vec<Act> {
    let mut acts = vec![Act::Text("I go on.")];
    for call in 0..calls {
        let args = json!({ "what": format!("step {number}"), "bytes": bytes });
        let id = if calls == 1 { format!("c{number}") } else { format!("c{number}_{call}") };
        acts.push(Act::call(&id, "act", args));
    }
    acts
}

fn summary_begun(client: &ClientState) -> bool {
    client.preview.get(&0).is_some_and(|part| part.kind == PreviewKind::Compaction)
}

impl World {
    /// A chat whose history is over the threshold after `steps` steps and then goes on.
    async fn full_chat(&self, steps: usize, end: Vec<Act>) -> ChatId {
        self.model.answers((0..steps).map(|number| step(number, 1_500)));
        self.model.answers([end]);
        self.begin("the task").await
    }

    async fn marks(&self, chat: ChatId) -> usize {
        self.history(chat).await.iter().filter(|row| mark(row).is_some()).count()
    }

    async fn compact(&self, chat: ChatId) -> bool {
        self.engine.chats.compact(self.user, chat, "keep it".into()).await.unwrap()
    }
}

#[tokio::test]
async fn at_the_threshold_the_history_is_summarised_and_the_turn_goes_on() {
    let world = World::new().await;
    world.model.window(6_000);
    let chat = world.full_chat(10, vec![Act::Text("the end")]).await;
    world.until_rest(chat).await;
    let story = world.story(chat).await;
    assert_eq!(story.iter().filter(|line| line.contains("[Summary by Threshold]")).count(), 1);
    assert_eq!(story.last().unwrap(), "assistant: the end");
}

#[tokio::test]
async fn the_summary_is_asked_with_the_same_tools_and_the_same_prompt() {
    let world = World::new().await;
    world.model.window(6_000);
    let chat = world.full_chat(10, vec![Act::Text("the end")]).await;
    world.until_rest(chat).await;
    let prompts = world.model.prompts();
    let at = prompts.iter().position(|prompt| prompt.ask.is_some()).expect("a summary was asked");
    let (before, asked, after) = (&prompts[at - 1], &prompts[at], &prompts[at + 1]);
    assert_eq!(names(before), names(asked));
    assert_eq!(names(before), names(after));
    assert_eq!(before.system, asked.system);
    let (before, asked) = (wire(before), wire(asked));
    assert!(asked.starts_with(before.trim_end_matches(['}', ']'])), "the cache is read again");
    assert!(wire(after).contains("the task"), "the user's words are kept");
    assert!(wire(after).contains("what was done so far"));
}

#[tokio::test]
async fn viewers_see_the_summary_while_it_is_written() {
    let world = World::new().await;
    world.model.window(6_000);
    world.model.summaries([vec![Act::Text("first half"), Act::Gate("on"), Act::Text(" second")]]);
    let chat = world.full_chat(10, vec![Act::Text("the end")]).await;
    let seen = |client: &ClientState| {
        client.preview.get(&0).is_some_and(|part| {
            part.kind == PreviewKind::Compaction && part.text.contains("first half")
        })
    };
    world.watch(chat, seen).await;
    world.model.open("on");
    world.until_rest(chat).await;
    assert_eq!(world.marks(chat).await, 1);
}

#[tokio::test]
async fn a_wish_at_rest_is_a_turn_of_its_own_and_a_second_one_has_nothing_to_do() {
    let world = World::new().await;
    let chat = world.full_chat(1, vec![Act::Text("the end")]).await;
    world.until_rest(chat).await;
    assert!(world.compact(chat).await);
    world.until(chat, "the mark", |row| row.status == ChatStatus::Waiting).await;
    let story = world.story(chat).await;
    assert_eq!(story[story.len() - 2..], ["user: [compact]", "assistant: [Summary by Asked]"]);
    let asked = world.model.last_prompt().ask.unwrap();
    assert!(asked.contains("keep it"), "{asked}");
    assert!(!world.compact(chat).await, "nothing was said since");
    let calls = world.model.calls();
    world.say(chat, "and now", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.model.calls(), calls + 1);
    assert!(wire(&world.model.last_prompt()).contains("what was done so far"));
}

#[tokio::test]
async fn a_wish_in_a_turn_is_fulfilled_after_the_running_tools_and_the_turn_goes_on() {
    let world = World::new().await;
    let gated = json!({"what": "gated", "gate": "tool"});
    world.model.answers([vec![Act::call("g", "act", gated)], vec![Act::Text("the end")]]);
    let chat = world.begin("the task").await;
    world.until(chat, "the tool runs", |row| row.unanswered == 1).await;
    assert!(world.compact(chat).await);
    world.tools.open("tool");
    world.until_rest(chat).await;
    let story = world.story(chat).await;
    assert_eq!(
        story[3..],
        ["user: [compact]", "assistant: [Summary by Asked]", "assistant: the end"]
    );
}

#[tokio::test]
async fn b93_a_prompt_that_is_refused_as_too_long_is_made_shorter_once_and_then_ends_clearly() {
    let mut report = BadInput::new();
    let refused = || vec![Act::Fail(ProviderErrorKind::ContextExceeded)];
    // Refused once: one compaction, and the turn goes on.
    let world = World::new().await;
    world.model.answers([step(0, 3_000), step(1, 3_000), refused(), vec![Act::Text("the end")]]);
    let chat = world.begin("the task").await;
    world.until_rest(chat).await;
    let story = world.story(chat).await;
    let once = story.iter().filter(|line| line.contains("by Exceeded")).count() == 1;
    report.check("B93 refused once", once && story.last().unwrap() == "assistant: the end");
    // Refused for ever: one compaction, one more try, a clear error.
    let world = World::new().await;
    world.model.answers([step(0, 3_000), step(1, 3_000), refused(), refused(), refused()]);
    let chat = world.begin("the task").await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    let error = row.last_error.unwrap();
    let calls = world.model.prompts().iter().filter(|prompt| prompt.ask.is_none()).count();
    report.check("B93 refused for ever", world.marks(chat).await == 1 && calls == 4);
    report.check("B93 clear error", error.code == "context_exceeded" && !error.retryable);
    assert!(error.message.contains("larger window"), "{}", error.message);
    // The question for the summary is refused too: it is cut once, and then it ends.
    let world = World::new().await;
    world.model.answers([step(0, 900), step(1, 900), refused()]);
    world.model.summaries([refused(), refused()]);
    let chat = world.begin("the task").await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    report.check("B93 summary refused", row.last_error.unwrap().code == "context_exceeded");
    // Nothing but the user's own words: no compaction helps.
    let world = World::new().await;
    world.model.answers([refused()]);
    let chat = world.begin(&"word ".repeat(1_000)).await;
    let row = world.until(chat, "an error", |row| row.status == ChatStatus::Error).await;
    let clear = row.last_error.unwrap().code == "context_exceeded";
    report.check("B93 nothing to leave out", clear && world.model.calls() == 1);
    report.report("B93");
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_summary_leaves_no_half_of_it() {
    let world = World::new().await;
    world.model.window(6_000);
    world.model.summaries([vec![Act::Text("half"), Act::Gate("never")]]);
    let chat = world.full_chat(10, vec![Act::Text("the end")]).await;
    world.watch(chat, summary_begun).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.marks(chat).await, 0);
    // The next turn makes room first.
    world.say(chat, "go on", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.marks(chat).await, 1);
}

#[tokio::test]
async fn after_a_crash_in_a_summary_it_is_asked_again_and_kept_once() {
    let mut world = World::new().await;
    world.model.window(6_000);
    world.model.summaries([vec![Act::Text("lost"), Act::Gate("never")]]);
    let chat = world.full_chat(10, vec![Act::Text("the end")]).await;
    world.watch(chat, summary_begun).await;
    world.crash().await;
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.marks(chat).await, 1);
}

#[tokio::test]
async fn a_compaction_of_a_worker_that_lost_its_chat_is_fenced_off() {
    let mut world = World::new().await;
    world.model.window(6_000);
    world.model.summaries([vec![Act::Text("old"), Act::Gate("old owner")]]);
    let chat = world.full_chat(10, vec![Act::Text("the end")]).await;
    world.watch(chat, summary_begun).await;
    let row = world.row(chat).await;
    let stale = row.fence().expect("a worker has it");
    world.crash().await;
    world.restart();
    world.until_rest(chat).await;
    let written = world.store.chats.commit_step(chat, &stale, &Default::default(), &[]).await;
    assert!(matches!(written, Err(StoreError::Fenced)));
    assert_eq!(world.marks(chat).await, 1);
}

/// "Done when" 7: of each step's prompt at least 95 % is that of the step before.
#[tokio::test]
async fn a_turn_of_200_steps_keeps_95_percent_of_each_prompt_over_a_compaction_too() {
    let runs = [
        ("outputs too short for stubs", 1_900, CompactionMethod::Summary),
        ("long outputs", 3_600, CompactionMethod::Prune),
    ];
    for (what, bytes, method) in runs.into_iter().take(trials(1, 2)) {
        let world = World::new().await;
        world.model.window(200_000);
        // About a thousand words, as it is asked for.
        let words: &'static str = "summary ".repeat(800).leak();
        world.model.summaries((0..9).map(|_| vec![Act::Text(words)]));
        let mut number = 0;
        world.model.improvise(move |_| {
            number += 1;
            let calls = if bytes < 2_000 { 2 } else { 1 };
            if number < 200 {
                steps(number, calls, bytes + number % 97)
            } else {
                vec![Act::Text("done")]
            }
        });
        let chat = world.begin("the task").await;
        let waited = tokio::time::timeout(6 * PATIENCE, async {
            while world.row(chat).await.status != ChatStatus::Waiting {
                let mut wakes = world.engine.hints.chat(chat);
                wakes.changed().await.unwrap();
            }
        });
        waited.await.expect("the turn ends");
        let prompts = world.model.prompts();
        let steps = prompts.iter().filter(|prompt| prompt.ask.is_none()).count();
        assert_eq!(steps, 200, "{what}");
        let marks: Vec<_> =
            world.history(chat).await.iter().filter_map(mark).map(|mark| mark.method).collect();
        assert!(marks.contains(&method), "{what}: {marks:?}");
        let figures = Figures::of(&prompts, marks.len());
        println!("200 steps, {what}, {marks:?}: {figures}");
        assert!(figures.step_min >= 0.95, "{what}: {figures}");
        assert!(figures.whole_turn >= 0.95, "{what}: {figures}");
        if method == CompactionMethod::Summary {
            assert!(figures.question_min >= 0.95, "{what}: {figures}");
            assert!(figures.after_min >= 0.95, "{what}: {figures}");
        }
    }
}

/// Shares of bytes, from 0 to 1.
#[derive(Debug)]
struct Figures {
    /// Of the step before, the part that begins this step: the least of all steps.
    step_min: f64,
    /// The same for the questions for summaries.
    question_min: f64,
    /// Of the first step after a compaction, the blocks that stood in the call before it.
    after_min: f64,
    /// Of all bytes of all steps, those that the step before had begun with.
    whole_turn: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "each step keeps >= {:.2} % of the step before, the question for a summary >= {:.2} %, \
             the first step after a compaction has {:.2} % of its bytes from the call before; \
             {:.2} % of all bytes were the beginning of the call before",
            self.step_min * 100.0,
            self.question_min * 100.0,
            self.after_min * 100.0,
            self.whole_turn * 100.0
        )
    }
}

impl Figures {
    fn of(prompts: &[Prompt], compactions: usize) -> Self {
        let mut figures =
            Self { step_min: 1.0, question_min: 1.0, after_min: 1.0, whole_turn: 0.0 };
        let (mut shared, mut all, mut breaks) = (0, 0, 0);
        let tools = crate::tools::Catalogue::new().specs(true, "auto");
        let wires: Vec<String> = prompts.iter().map(|prompt| wire_with(&tools, prompt)).collect();
        let mut asked_since = false;
        for ((old, new), prompt) in wires.iter().zip(&wires[1..]).zip(&prompts[1..]) {
            let same = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
            // The closing brackets stand behind what is appended.
            let kept = (same + 3).min(old.len()) as f64 / old.len() as f64;
            shared += same;
            all += new.len();
            if prompt.ask.is_some() {
                figures.question_min = figures.question_min.min(kept);
                asked_since = true;
            } else if asked_since || kept < 0.5 {
                breaks += 1;
                let known = blocks(old);
                let of = blocks(new);
                let bytes = |blocks: &[String]| blocks.iter().map(String::len).sum::<usize>();
                let known: Vec<String> =
                    of.iter().filter(|block| known.contains(block)).cloned().collect();
                figures.after_min = figures.after_min.min(bytes(&known) as f64 / bytes(&of) as f64);
                asked_since = false;
            } else {
                figures.step_min = figures.step_min.min(kept);
            }
        }
        assert_eq!(breaks, compactions, "the cache breaks at compactions alone");
        figures.whole_turn = shared as f64 / all as f64;
        figures
    }
}

/// Tools, system text and every block of every message.
fn blocks(wire: &str) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_str(&format!("{{{wire}")).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let blocks = messages.iter().flat_map(|message| message["content"].as_array().unwrap());
    [&body["tools"], &body["system"]].into_iter().chain(blocks).map(ToString::to_string).collect()
}

fn names(prompt: &Prompt) -> Vec<&str> {
    prompt.tools.iter().map(|tool| tool.name.as_str()).collect()
}

/// Tools, system text and messages as they are sent with the product's own tools, without the marks
/// that tell the provider where to look in its cache.
fn wire(prompt: &Prompt) -> String {
    wire_with(&crate::tools::Catalogue::new().specs(true, "auto"), prompt)
}

fn wire_with(tools: &[crate::llm::ToolSpec], prompt: &Prompt) -> String {
    let prompt = Prompt { tools: tools.to_vec(), ..prompt.clone() };
    let body = String::from_utf8(wire_body("anthropic", &prompt)).unwrap();
    let body = body
        .replace(r#","cache_control":{"type":"ephemeral"}"#, "")
        .replace(r#""cache_control":{"type":"ephemeral"},"#, "");
    let from = body.find(r#""tools":"#).unwrap();
    body[from..].to_owned()
}
