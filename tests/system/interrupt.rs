//! Stop means stopped: the command is gone, what was seen is kept once, the chat can go on.

use anyhow::{Context, Result};
use serde_json::json;
use tests::stream::{live_output, results, transcript};
use tests::world::{World, execute};

/// Whether a process still runs.
fn is_alive(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
}

#[tokio::test]
async fn a_stop_ends_the_command_and_answers_for_it() -> Result<()> {
    let world = World::new(json!([
        {"match": "work", "steps": [
            [{"say": "I begin."}, execute("echo pid $$; sleep 600 & echo child $!; wait")],
            [{"say": "never said"}],
        ]},
        {"match": "again", "steps": [[{"say": "Here I am."}]]},
    ]))
    .await?;
    let mut chat = world.chat("work").await?;
    let state = chat
        .stream
        .until("both pids are shown", |state| live_output(state).contains("child"))
        .await?;
    let pids: Vec<i32> =
        live_output(state).split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| is_alive(*pid)), "the control: they run");

    world.api().post(&format!("/chats/{}/interrupt", chat.id), &json!({})).await?;
    let state = chat
        .stream
        .until("the chat rests", |state| {
            state.status.is_some_and(|status| status.as_str() == "waiting")
        })
        .await?;

    assert!(pids.iter().all(|pid| !is_alive(*pid)), "the group is gone");
    let (_, result, _) = results(state).pop().context("the call is answered")?;
    assert_eq!(result["signal"], 15, "the answer tells how it ended: {result}");
    let told = transcript(state);
    assert_eq!(told.iter().filter(|line| line.contains("I begin.")).count(), 1, "{told:?}");
    assert!(!told.iter().any(|line| line.contains("never said")), "{told:?}");

    let (status, answer) = chat.send(world.api(), "again", "queue").await?;
    assert_eq!(status, 201, "{answer}");
    let state = chat.stream.until_rest().await?;
    assert_eq!(transcript(state).last().map(String::as_str), Some("assistant: Here I am."));
    Ok(())
}

/// Everything that a chat's command has started ends when the chat is stopped, also what has left
/// its group, ignores signals and has closed its output; and the answer says how.
#[tokio::test]
async fn a_stop_ends_what_wants_to_escape_and_says_how() -> Result<()> {
    let command = "trap '' TERM HUP INT; \
        setsid sh -c 'trap \"\" TERM HUP; echo away $$; nohup sleep 600 >/dev/null 2>&1 & echo $!; exec sleep 600' & \
        (setsid sh -c 'trap \"\" TERM; echo stopped $$; kill -STOP $$; sleep 600' &) ; \
        echo leader $$; sleep 600 & echo $!; wait; sleep 600";
    let world = World::new(json!([{"match": "escape", "steps": [[execute(command)]]}])).await?;
    let mut chat = world.chat("escape").await?;
    let pids = |output: String| -> Vec<i32> {
        output.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let state = chat
        .stream
        .until("all pids are shown", |state| pids(live_output(state)).len() == 5)
        .await?;
    let pids = pids(live_output(state));
    assert!(pids.iter().all(|pid| is_alive(*pid)), "the control: they run");

    world.api().post(&format!("/chats/{}/interrupt", chat.id), &json!({})).await?;
    let state = chat
        .stream
        .until("the chat rests", |state| {
            state.status.is_some_and(|status| status.as_str() == "waiting")
        })
        .await?;

    let left: Vec<&i32> = pids.iter().filter(|pid| is_alive(**pid)).collect();
    assert!(left.is_empty(), "left: {left:?} of {pids:?}");
    let (_, result, _) = results(state).pop().context("the call is answered")?;
    assert_eq!(result["signal"], 9, "{result}");
    assert_eq!(result["stopped"]["left"], 0, "{result}");
    let means = result["stopped"]["means"].as_str().unwrap_or_default();
    assert!(["cgroup_kill", "freeze_kill", "walk"].contains(&means), "{result}");
    Ok(())
}

#[tokio::test]
async fn a_stop_in_the_middle_of_an_answer_keeps_what_was_seen_once() -> Result<()> {
    let answer = "word ".repeat(400);
    let world = World::new(json!([
        {"match": "talk", "steps": [[{"say": answer}, {"wait_ms": 60_000}]]},
    ]))
    .await?;
    let mut chat = world.chat("talk").await?;
    chat.stream
        .until("some of it is seen", |state| {
            state.preview.values().any(|part| part.text.len() > 40)
        })
        .await?;
    world.api().post(&format!("/chats/{}/interrupt", chat.id), &json!({})).await?;
    let state = chat.stream.until_rest().await?;
    let answers: Vec<String> =
        transcript(state).into_iter().filter(|line| line.starts_with("assistant:")).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].starts_with("assistant: word word"), "{answers:?}");
    Ok(())
}
