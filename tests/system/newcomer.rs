//! A newcomer with nothing but HTTP: from the set-up link to an answer about a command that ran.

use std::time::Duration;

use anyhow::{Context, Result};
use controlplane::chat::event::{ChatEvent, PreviewKind};
use serde_json::json;
use tests::fake_llm::{Answer, Format};
use tests::programs::{Programs, Setting};
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

#[tokio::test]
async fn keys_in_the_environment_are_providers_at_the_first_start_alone() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "sk-of-a-file-7777\n")?;
    let file = file.path().to_str().context("a plain name")?.to_owned();
    let env = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let server_env = env(&[
        ("ANTHROPIC_API_KEY", "sk-ant-secret-1111"),
        ("OPENAI_API_KEY", "sk-secret-2222"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
        ("DEEPSEEK_API_KEY_FILE", &file),
        ("GEMINI_API_KEY", "  "),
    ]);
    let mut programs = Programs::start(Setting { server_env, ..Setting::default() }).await?;
    let offered = programs.api.get("/providers").await?;
    let mut found: Vec<_> = offered["items"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|provider| {
            let text = |field: &str| provider[field].as_str().unwrap_or("none").to_owned();
            (text("name"), text("kind"), text("base_url"))
        })
        .collect();
    found.sort();
    let expected = [
        ("Anthropic", "anthropic", "none"),
        ("DeepSeek", "openai_compatible", "https://api.deepseek.com/v1"),
        ("OpenAI", "openai_compatible", "http://127.0.0.1:9/v1"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(found, expected, "{offered}");
    let text = offered.to_string();
    assert!(!text.contains("secret") && !text.contains("of-a-file"), "{text}");

    programs.kill_server()?;
    programs.setting.server_env = env(&[("OPENROUTER_API_KEY", "sk-or-3333")]);
    programs.start_server()?;
    let api = programs.api.anew()?;
    assert_eq!(api.get("/providers").await?, offered, "a later start adds nothing");
    Ok(())
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
