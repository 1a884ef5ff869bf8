//! The link is cut for 30 seconds: nothing is lost, people are told, it recovers by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::stream::{live_output, results, transcript};
use tests::world::{World, execute, ledger_command};

/// Longer than the silence after which a workspace counts as unreachable.
const CUT: Duration = Duration::from_secs(30);

/// Reads the list stream until the workspace has a status.
async fn until_status(world: &World, status: &str) -> Result<Value> {
    let mut events = world.api().socket("/events").await?;
    let event = events.until(|event| event["workspace"]["status"] == status).await?;
    Ok(event["workspace"].clone())
}

async fn workspace(world: &World) -> Result<Value> {
    world.api().get(&format!("/workspaces/{}", world.programs.workspace_id)).await
}

#[tokio::test]
async fn a_command_runs_on_through_a_cut_and_its_output_is_whole() -> Result<()> {
    let command = format!(
        "{}; n=0; while [ $n -lt 350 ]; do n=$((n+1)); echo line $n; sleep 0.1; done",
        ledger_command("ran", 0)?
    );
    let world = World::with_relay(json!([{"steps": [
        [execute(&command)],
        [{"say": "it ended"}],
    ]}]))
    .await?;
    let relay = world.relay.as_ref().context("the story has a relay")?;
    let mut chat = world.chat("go").await?;
    chat.stream.until("it runs", |state| live_output(state).contains("line 3\n")).await?;

    relay.cut();
    let healed = tokio::time::Instant::now() + CUT;
    let told = until_status(&world, "unreachable").await?;
    assert!(told["unreachable_since"].is_string(), "{told}");
    tokio::time::sleep_until(healed).await; // the length of the cut is the subject
    assert_eq!(workspace(&world).await?["status"], "unreachable");
    relay.heal();
    until_status(&world, "connected").await?;

    let state = chat.stream.until_rest().await?;
    let (_, result, is_error) = &results(state)[0];
    assert!(!is_error, "{result}");
    let output = result["output"].as_str().context("the result has output")?;
    assert!(output.contains("line 1\n") && output.contains("line 350"), "{output}");
    assert_eq!(world.ledger(), ["ran"], "it ran once");
    assert_eq!(transcript(state).last().map(String::as_str), Some("assistant: it ended"));
    let (_, dropped) = relay.counts();
    assert!(dropped > 0, "the control: the cut dropped nothing");
    Ok(())
}

#[tokio::test]
async fn an_edit_that_is_asked_for_during_a_cut_is_made_once_afterwards() -> Result<()> {
    let edit = json!({"call": {"tool": "edit_files", "args": {"files": [
        {"path": "file.txt", "edits": [{"old_text": "x", "new_text": "xx"}]}]}}});
    let world = World::with_relay(json!([{"steps": [
        [{"say": "I wait a little."}, {"wait_ms": 1_500}, edit],
        [{"say": "it is made"}],
    ]}]))
    .await?;
    std::fs::write(world.programs.root().join("file.txt"), "x\n")?;
    let relay = world.relay.as_ref().context("the story has a relay")?;
    let mut chat = world.chat("go").await?;
    chat.stream.until("the model speaks", |state| !state.preview.is_empty()).await?;
    relay.cut();
    let healed = tokio::time::Instant::now() + CUT;
    until_status(&world, "unreachable").await?;
    tokio::time::sleep_until(healed).await; // the length of the cut is the subject
    assert_eq!(std::fs::read_to_string(world.programs.root().join("file.txt"))?, "x\n");
    relay.heal();

    let state = chat.stream.until_rest().await?;
    assert_eq!(std::fs::read_to_string(world.programs.root().join("file.txt"))?, "xx\n");
    let (_, result, is_error) = &results(state)[0];
    assert!(!is_error, "{result}");
    assert_eq!(workspace(&world).await?["status"], "connected");
    Ok(())
}
