//! The control plane is killed in the middle of a turn: the turn ends by itself, nothing twice.

use anyhow::Result;
use serde_json::json;
use shared::limits::LINK_IDLE_TIMEOUT;
use tests::stream::{ChatStream, live_output, transcript};
use tests::world::{World, execute, ledger_command};

#[tokio::test]
async fn a_turn_goes_on_after_the_control_plane_was_killed() -> Result<()> {
    let mut world = World::new(json!([{"steps": [
        [execute(&ledger_command("one", 0)?)],
        [execute(&format!("{}; while [ ! -e go-on ]; do sleep 0.02; done; echo late", ledger_command("two", 0)?))],
        [execute(&ledger_command("three", 0)?)],
        [{"say": "three lines are written"}],
    ]}]))
    .await?;
    let mut chat = world.chat("write").await?;
    chat.stream.until("the second runs", |state| live_output(state).contains("two")).await?;

    world.programs.kill_server()?;
    std::fs::write(world.programs.root().join("go-on"), "")?;
    world.programs.start_server()?;

    let restarted = tokio::time::Instant::now();
    let mut stream = chat.stream.resume(world.api(), &chat.id).await?;
    let state = stream.until_rest().await?.clone();
    let rested = restarted.elapsed();
    println!("from the restart to rest: {} ms", rested.as_millis());
    // The silence after which a daemon gives its link up is 20 s; it is told before.
    assert!(rested < LINK_IDLE_TIMEOUT, "the daemon waited for silence: {rested:?}");
    assert_eq!(world.ledger(), ["one", "two", "three"]);
    let told = transcript(&state);
    assert_eq!(told.last().map(String::as_str), Some("assistant: three lines are written"));
    assert_eq!(told.iter().filter(|line| *line == "execute answered").count(), 3, "{told:?}");

    let mut fresh = ChatStream::open(world.api(), &chat.id).await?;
    fresh.until_rest().await?;
    assert_eq!(fresh.state.messages, state.messages, "the resumed viewer equals a fresh one");
    Ok(())
}

#[tokio::test]
async fn everything_is_there_after_an_orderly_restart() -> Result<()> {
    let mut world = World::new(json!([{"steps": [[{"say": "hello"}]]}])).await?;
    let mut chat = world.chat("hi").await?;
    let before = chat.stream.until_rest().await?.messages.clone();
    world.programs.stop_server()?;
    world.programs.start_server()?;
    let mut fresh = ChatStream::open(world.api(), &chat.id).await?;
    assert_eq!(fresh.until_rest().await?.messages, before);
    Ok(())
}
