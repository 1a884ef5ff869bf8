//! The daemon is killed: what it did stays done, what it started goes on, and it comes back.

use anyhow::{Context, Result};
use serde_json::json;
use tests::stream::{live_output, results, transcript};
use tests::world::{World, execute, ledger_command};

#[tokio::test]
async fn a_killed_daemon_comes_back_and_repeats_nothing() -> Result<()> {
    let mut world = World::new(json!([
        {"match": "first", "steps": [
            [execute(&ledger_command("one", 0)?)],
            [{"say": "first done"}],
        ]},
        {"match": "second", "steps": [
            [execute(&ledger_command("two", 0)?)],
            [{"say": "second done"}],
        ]},
    ]))
    .await?;
    let mut chat = world.chat("first").await?;
    chat.stream.until_rest().await?;
    world.programs.kill_daemon()?;
    chat.send(world.api(), "second", "queue").await?;
    chat.stream
        .until("the call waits for the workspace", |state| {
            transcript(state).iter().filter(|line| *line == "call execute").count() == 2
        })
        .await?;
    assert_eq!(world.ledger(), ["one"]);
    world.programs.start_daemon_unwatched()?;
    let state = chat.stream.until_rest().await?;
    assert_eq!(transcript(state).last().map(String::as_str), Some("assistant: second done"));
    assert_eq!(world.ledger(), ["one", "two"]);
    Ok(())
}

#[tokio::test]
async fn a_command_outlives_its_killed_daemon_and_its_result_is_told() -> Result<()> {
    let command = format!("{}; sleep 1.5; echo and after; exit 3", ledger_command("once", 0)?);
    let mut world = World::new(json!([{"steps": [
        [execute(&command)],
        [{"say": "it is over"}],
    ]}]))
    .await?;
    let mut chat = world.chat("go").await?;
    chat.stream.until("it runs", |state| live_output(state).contains("once")).await?;
    world.programs.kill_daemon()?;
    world.programs.start_daemon_unwatched()?;
    let state = chat.stream.until_rest().await?;
    assert_eq!(world.ledger(), ["once"]);
    let (_, result, _) = results(state).pop().context("the call is answered")?;
    let text = result.to_string();
    assert!(text.contains("and after") && !text.contains("lost"), "nothing is lost: {text}");
    assert_eq!(result["exit_code"], 3, "{text}");
    Ok(())
}

#[tokio::test]
async fn an_edit_that_was_made_before_the_kill_is_answered_and_not_made_again() -> Result<()> {
    // The second edit would apply twice: its new text contains the old one.
    let edit = json!({"call": {"tool": "edit_files", "args": {"files": [
        {"path": "file.txt", "edits": [{"old_text": "x", "new_text": "xx"}]}]}}});
    let mut world = World::new(json!([{"steps": [
        [edit, execute("while [ ! -e go-on ]; do sleep 0.02; done")],
        [{"say": "both done"}],
    ]}]))
    .await?;
    std::fs::write(world.programs.root().join("file.txt"), "x\n")?;
    let mut chat = world.chat("go").await?;
    chat.stream
        .until("the edit has answered", |state| {
            state.preview.values().any(|part| part.value.is_some() && part.name.is_some())
                && std::fs::read_to_string(world.programs.root().join("file.txt"))
                    .is_ok_and(|text| text == "xx\n")
        })
        .await?;
    world.programs.kill_daemon()?;
    std::fs::write(world.programs.root().join("go-on"), "")?;
    world.programs.start_daemon_unwatched()?;
    chat.stream.until_rest().await?;
    assert_eq!(std::fs::read_to_string(world.programs.root().join("file.txt"))?, "xx\n");
    Ok(())
}
