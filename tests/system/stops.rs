//! P03: a stop at any moment of a turn means stopped, and keeps the partial answer once.
//!
//! ```text
//! text, word by word ── a command that ignores the polite signal ── text, word by word ── at rest
//!        ▲                     ▲                                        ▲                  ▲
//!        └──────────── the stop falls anywhere here, also just when the turn ends ─────────┘
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use controlplane::chat::client::ClientState;
use controlplane::chat::content::Role;
use controlplane::chat::event::PreviewKind;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use shared::testing::{Distribution, trials};
use tests::fake_llm::{Answer, FakeLlm, Format};
use tests::programs::Setting;
use tests::stream::prose;
use tests::world::{Model, World};
use tokio::time::Instant;

/// Longest time that P03 allows from the stop to the end of what runs, of 99 in 100.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);
/// Words of each text, and the pause between two of them.
const WORDS: usize = 40;
const PACE: Duration = Duration::from_millis(8);
/// A little longer than an undisturbed turn takes on an idle machine, so that some stops come too late.
const TURN: Duration = Duration::from_millis(1_500);

fn words(name: &str) -> String {
    (0..WORDS).map(|n| format!("{name}{n} ")).collect()
}

/// Processes that carry the chat's id in their environment: what its commands have started.
fn running(chat_id: &str) -> usize {
    let mark = format!("HOLDFAST_CHAT_ID={chat_id}");
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_marked = |entry: &std::fs::DirEntry| {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    all.filter(is_marked).count()
}

/// What the viewer has seen of the text that is being said.
fn preview(state: &ClientState) -> String {
    let texts = state.preview.values().filter(|part| part.kind == PreviewKind::Text);
    texts.map(|part| part.text.as_str()).collect()
}

/// What the model has said, message by message.
fn said(state: &ClientState) -> Vec<String> {
    let history = state.history();
    let answers = history.iter().filter(|message| message.role == Role::Assistant);
    answers.map(|message| prose(&message.content)).filter(|text| !text.is_empty()).collect()
}

/// Everything that was not kept as promised.
fn breaches(seen: &str, state: &ClientState) -> Vec<String> {
    let mut breaches = Vec::new();
    let said = said(state);
    for (name, whole) in [("a", words("a")), ("b", words("b"))] {
        let of: Vec<&String> =
            said.iter().filter(|text| text.starts_with(&format!("{name}0"))).collect();
        if of.len() > 1 {
            breaches.push(format!("text {name} is kept {} times", of.len()));
        }
        if let Some(text) = of.iter().find(|text| !whole.starts_with(text.trim_end())) {
            breaches.push(format!("text {name} is kept as {text:?}"));
        }
    }
    // What a person has read is there, wherever the stop fell.
    if !seen.is_empty() && !said.iter().any(|text| text.starts_with(seen.trim_end())) {
        breaches.push(format!("{seen:?} was shown, kept is {said:?}"));
    }
    breaches
}

/// One turn with a stop after `pause`: from the stop to rest; none: it had ended before.
async fn stop_after(world: &World, number: usize, pause: Duration) -> Result<Option<Duration>> {
    let mut chat = world.chat(&format!("stop {number}")).await?;
    let (id, what) = (chat.id.clone(), format!("stop {number}, after {pause:?}"));
    let deadline = Instant::now() + pause;
    let is_at_rest = |state: &ClientState| {
        state.ready && state.status.is_some_and(|status| status.as_str() == "waiting")
    };
    // Reads on until the moment has come.
    while let Ok(event) = tokio::time::timeout_at(deadline, chat.stream.step()).await {
        event.with_context(|| what.clone())?;
    }
    let seen = preview(&chat.stream.state);
    let had_ended = is_at_rest(&chat.stream.state) && !said(&chat.stream.state).is_empty();
    let stopped = Instant::now();
    world.api().post(&format!("/chats/{id}/interrupt"), &json!({})).await?;
    let state =
        chat.stream.until("the chat rests", is_at_rest).await.with_context(|| what.clone())?;
    let took = stopped.elapsed();
    let left = running(&id);
    ensure!(left == 0, "{what}: {left} processes run on");
    let breaches = breaches(&seen, state);
    ensure!(breaches.is_empty(), "{what}:\n  {}", breaches.join("\n  "));
    // And what is stored is what was shown.
    let stored = world.api().messages(&id).await?;
    ensure!(stored.len() == state.history().len(), "{what}: {} are stored", stored.len());
    Ok((!had_ended).then_some(took))
}

#[tokio::test]
async fn p03_a_stop_at_any_moment_ends_all_and_keeps_the_partial_answer_once() -> Result<()> {
    let fake = FakeLlm::start().await?;
    let command =
        "(trap '' TERM HUP INT; exec sleep 600) & trap '' TERM; sleep 0.4; kill -9 $!; echo done";
    let text = |name: &str| Answer::text(words(name)).in_pieces_of(4).paced(PACE);
    let first = text("a").and_call("execute", &json!({"command": command, "timeout_s": 60}));
    fake.play("test", [first, text("b")]);
    let model = Model::Served(fake, Format::Chat);
    let world = World::with(Setting::default(), model, false).await?;
    let count = trials(8, 200);
    let mut random = rand::rngs::StdRng::seed_from_u64(3);
    let (mut times, mut late) = (Vec::new(), 0);
    for number in 0..count {
        let pause = TURN.mul_f64(random.random_range(0.0..1.0));
        match stop_after(&world, number, pause).await? {
            Some(took) => times.push(took),
            None => late += 1,
        }
    }
    let times: Distribution = times.into_iter().collect();
    println!(
        "P03: {count} stops ({late} after the end): the partial answer kept once in {count}, 0 processes left, 0 running on; from the stop to rest {times}"
    );
    ensure!(late < count, "no stop came in time");
    let p99 = times.percentile(99);
    if p99 > STOPPED_WITHIN {
        println!("P03: MISSED: p99 {p99:?}, {STOPPED_WITHIN:?} are promised");
    }
    Ok(())
}
