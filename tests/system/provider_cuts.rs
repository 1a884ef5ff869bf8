//! P07: a provider that breaks off at any byte is asked again, and nothing runs twice for it.
//!
//! Each chat asks for one command. The first attempt at each step breaks after a chosen byte of the body,
//! in one of three ways; the second is whole.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use controlplane::chat::event::ChatEvent;
use serde_json::json;
use shared::testing::trials;
use tests::fake_llm::{Answer, Ending, FakeLlm, Format};
use tests::programs::Setting;
use tests::stream::{results, transcript};
use tests::world::{Chat, Model, World, ledger_command};
use tokio::task::JoinSet;

/// Chats that are played at once: their pauses before a new attempt go by together.
const AT_ONCE: usize = 8;
/// Half of it is in pieces of two bytes and more, so that a cut may fall into a character.
const SAYING: &str = "Ich prüfe «das» – 検査 🦀. ";

/// How an attempt breaks.
fn broken(answer: &Answer, byte: usize, way: usize) -> Answer {
    match way % 4 {
        0 => answer.clone().ending(Ending::CutAfter(byte)),
        1 => answer.clone().ending(Ending::EndAfter(byte)),
        2 => Answer::status(429, "slow down").with_header("retry-after", "1"),
        _ => Answer::status(529, "overloaded"),
    }
}

/// One chat to its end; whether viewers saw that it was asked again.
async fn play(mut chat: Chat, what: String) -> Result<bool> {
    let state = chat.stream.until_rest().await.with_context(|| what.clone())?;
    let told = transcript(state);
    let results = results(state);
    let expected = [
        format!("assistant: {SAYING}"),
        "call execute".into(),
        "execute answered".into(),
        "assistant: Done.".into(),
    ];
    ensure!(told.get(1..).is_some_and(|rest| rest == expected), "{what}: {told:?}");
    ensure!(results.len() == 1, "{what}: {} results", results.len());
    Ok(chat.stream.seen.iter().any(|event| matches!(event, ChatEvent::Retry { .. })))
}

async fn cuts(format: Format, count: usize) -> Result<(usize, usize)> {
    let fake = FakeLlm::start().await?;
    // One model for each chat, as each breaks elsewhere.
    let mut names = Vec::new();
    for number in 0..count {
        let name = format!("cut{number}");
        let args = json!({"command": ledger_command(&name, 0)?});
        let call = Answer::text(SAYING).and_call("execute", &args);
        let end = Answer::text("Done.");
        // Spread over the whole body; at its last byte it is not broken any more.
        let at = |answer: &Answer| answer.len(format, &name) * number / count.max(1);
        let first = broken(&call, at(&call), number);
        let second = broken(&end, at(&end), number / 4);
        fake.play_attempts(&name, [vec![first, call.clone()], vec![second, end.clone()]]);
        names.push(name);
    }
    let (base, kind) = (fake.base_url(format), format.provider_kind());
    let world = World::with(Setting::default(), Model::Served(fake, format), false).await?;
    let provider = json!({"kind": kind, "name": "cuts", "base_url": base, "api_key": "none"});
    let provider = world.api().post("/providers", &provider).await?;
    let mut playing = JoinSet::new();
    let mut retried = 0;
    for name in &names {
        if playing.len() == AT_ONCE
            && let Some(done) = playing.join_next().await
        {
            retried += usize::from(done??);
        }
        let model = json!({"provider_id": provider["id"], "model": name, "display_name": name, "context_limit": 200_000});
        let model = world.api().post("/models", &model).await?;
        let chat = world.chat_with(name, &model["id"]).await?;
        playing.spawn(play(chat, format!("{kind}, {name}")));
    }
    while let Some(done) = playing.join_next().await {
        retried += usize::from(done??);
    }
    let ledger = world.ledger();
    for name in &names {
        let runs = ledger.iter().filter(|line| line.split(' ').any(|word| word == name)).count();
        ensure!(runs == 1, "{kind}: the command of {name} ran {runs} times");
    }
    let violations = world.fake.as_ref().map(FakeLlm::violations).unwrap_or_default();
    ensure!(violations.is_empty(), "{kind}: {violations:?}");
    Ok((names.len(), retried))
}

#[tokio::test]
async fn p07_a_provider_may_break_off_at_any_byte() -> Result<()> {
    let (mut chats, mut retried) = (0, 0);
    for format in Format::ALL {
        let (some, again) = cuts(format, trials(8, 250)).await?;
        chats += some;
        retried += again;
    }
    println!(
        "P07: {chats} chats with a cut, an early end, 429 or 529 in each step: 0 commands run twice, 0 lost; {retried} shown as asked again"
    );
    ensure!(retried * 2 > chats, "most cuts must be seen as such");
    Ok(())
}

/// A stream that falls silent is given up after its time, and asked again.
#[tokio::test]
async fn p07_a_provider_that_falls_silent_is_given_up_in_time() -> Result<()> {
    if trials(0, 1) == 0 {
        eprintln!("SKIPPED at small size: it waits for the two minutes of the promise");
        return Ok(());
    }
    let fake = FakeLlm::start().await?;
    let whole = Answer::text("Here I am.");
    let silent = whole.clone().ending(Ending::StallAfter(whole.len(Format::Chat, "test") / 2));
    fake.play_attempts("test", [vec![silent, whole]]);
    let model = Model::Served(fake, Format::Chat);
    let world = World::with(Setting::default(), model, false).await?;
    let start = tokio::time::Instant::now();
    let mut chat = world.chat("silence").await?;
    let wait = async {
        loop {
            if let ChatEvent::Retry { .. } = chat.stream.step().await? {
                return anyhow::Ok(start.elapsed());
            }
        }
    };
    let given_up = tokio::time::timeout(Duration::from_secs(300), wait).await??;
    chat.stream.until_rest().await?;
    println!("P07: a silent stream was given up after {:.1} s (120 ± 5 s)", given_up.as_secs_f64());
    ensure!((115.0..=125.0).contains(&given_up.as_secs_f64()));
    Ok(())
}
