//! A newcomer with nothing but HTTP: from the set-up link to an answer about a command that ran.

use std::time::Duration;

use anyhow::{Context, Result};
use controlplane::chat::event::{ChatEvent, PreviewKind};
use serde_json::json;
use tests::fake_llm::{Answer, Format};
use tests::stream::{live_output, prose, results, transcript};
use tests::world::World;

#[tokio::test]
async fn a_newcomer_gets_an_answer_by_chat_completions() -> Result<()> {
    a_newcomer_gets_an_answer(Format::Chat).await
}

#[tokio::test]
async fn a_newcomer_gets_an_answer_by_anthropic_messages() -> Result<()> {
    a_newcomer_gets_an_answer(Format::Anthropic).await
}

async fn a_newcomer_gets_an_answer(format: Format) -> Result<()> {
    let command = "echo first; while [ ! -e go-on ]; do sleep 0.02; done; echo second; exit 3";
    let answers = vec![
        Answer::text("I look.").and_call("execute", &json!({"command": command, "timeout_s": 60})),
        Answer::text("It ended with 3 after a while, as asked.").paced(Duration::from_millis(30)),
    ];
    let world = World::served(format, answers).await?;

    let mut chat = world.chat("what does the command say?").await?;
    let live = |text: &'static str| move |state: &_| live_output(state).contains(text);
    chat.stream.until("the first line is shown while the command runs", live("first")).await?;
    assert!(!live_output(&chat.stream.state).contains("second"), "it still runs");
    assert!(results(&chat.stream.state).is_empty(), "it has not answered");
    std::fs::write(world.programs.root().join("go-on"), "")?;
    let state = chat.stream.until_rest().await?;

    assert_eq!(
        transcript(state),
        [
            "user: what does the command say?",
            "assistant: I look.",
            "call execute",
            "execute answered",
            "assistant: It ended with 3 after a while, as asked.",
        ]
    );
    let (_, result, _) = &results(state)[0];
    assert_eq!(result["exit_code"], 3, "{result}");
    assert!(result["output"].as_str().is_some_and(|output| output.contains("first\nsecond")));
    let pieces = chat.stream.seen.iter().filter(
        |event| matches!(event, ChatEvent::Part { part } if part.kind == PreviewKind::Text),
    );
    assert!(pieces.count() >= 4, "the answer came in pieces");

    // Whoever comes later, by whatever way, is told the same.
    let messages = world.api().messages(&chat.id).await?;
    let stored: Vec<String> = messages
        .iter()
        .map(|message| {
            prose(&serde_json::from_value::<Vec<_>>(message["content"].clone()).unwrap())
        })
        .collect();
    let shown: Vec<String> =
        chat.stream.state.history().iter().map(|message| prose(&message.content)).collect();
    assert_eq!(stored, shown);
    let mut late = tests::stream::ChatStream::open_events(world.api(), &chat.id).await?;
    late.until_rest().await?;
    assert_eq!(late.state.messages, chat.stream.state.messages);
    let fake = world.fake.as_ref().context("the story has a model server")?;
    assert_eq!(fake.violations(), Vec::<String>::new());
    Ok(())
}
