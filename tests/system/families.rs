//! A chat begins three agents that run commands, and both programs are killed in the middle.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::stream::{ChatStream, live_output, results, transcript};
use tests::world::{World, execute, ledger_command};

/// A call that begins an agent for `task` and waits for it.
fn spawn(task: &str) -> Value {
    json!({"call": {"tool": "spawn_agent", "args": {"type": "general", "prompt": task, "title": task}}})
}

/// What an agent does: a command that writes its line and then waits to be let go on.
fn agent(task: &str) -> Result<Value> {
    let held = format!("{}; while [ ! -e go-on ]; do sleep 0.02; done", ledger_command(task, 0)?);
    Ok(json!({"match": format!("^{task}$"), "steps": [
        [execute(&held)],
        [execute(&ledger_command(&format!("{task}-again"), 0)?)],
        [{"say": format!("{task} is done")}],
    ]}))
}

/// The agents of a chat, oldest first.
async fn agents(world: &World, chat: &str) -> Result<Vec<Value>> {
    let page = world.api().get(&format!("/chats/{chat}/agents")).await?;
    let mut agents = page["items"].as_array().context("a page has items")?.clone();
    agents.reverse();
    Ok(agents)
}

#[tokio::test]
async fn three_agents_and_their_parent_end_once_after_both_programs_were_killed() -> Result<()> {
    let mut world = World::new(json!([
        {"match": "^go$", "steps": [
            [spawn("alpha"), spawn("beta"), spawn("gamma")],
            [{"say": "all three have reported"}],
        ]},
        agent("alpha")?, agent("beta")?, agent("gamma")?,
    ]))
    .await?;
    let chat = world.chat("go").await?;
    let mut stream = chat.stream;
    stream
        .until("the parent waits for its agents", |state| {
            state.head.as_ref().is_some_and(|head| head.family.waits_for_agents)
        })
        .await?;
    // Each agent's command runs before anybody is killed.
    for agent in agents(&world, &chat.id).await? {
        let id = agent["id"].as_str().context("an agent has an id")?;
        let mut watched = ChatStream::open(world.api(), id).await?;
        let title = agent["title"].as_str().context("an agent has a title")?.to_owned();
        watched.until("its command runs", |state| live_output(state).contains(&title)).await?;
    }

    world.programs.kill_server()?;
    world.programs.kill_daemon()?;
    std::fs::write(world.programs.root().join("go-on"), "")?;
    world.programs.start_server()?;
    world.programs.start_daemon_unwatched()?;

    let mut stream = stream.resume(world.api(), &chat.id).await?;
    let state = stream.until_rest().await?.clone();
    let mut ledger = world.ledger();
    ledger.sort();
    assert_eq!(
        ledger,
        ["alpha", "alpha-again", "beta", "beta-again", "gamma", "gamma-again"],
        "each command of each agent ran once"
    );
    let told: Vec<Value> = results(&state).into_iter().map(|(_, told, _)| told).collect();
    let reports: Vec<&str> = told.iter().filter_map(|told| told["report"].as_str()).collect();
    assert_eq!(reports, ["alpha is done", "beta is done", "gamma is done"]);
    let last = transcript(&state).pop();
    assert_eq!(last.as_deref(), Some("assistant: all three have reported"));
    let agents = agents(&world, &chat.id).await?;
    assert_eq!(agents.len(), 3, "no call began two");
    assert!(agents.iter().all(|agent| agent["outcome"] == "done"), "{agents:?}");
    Ok(())
}
