//! Tools of one step run at the same time; each result is shown when it is there.

use anyhow::Result;
use controlplane::chat::content::Part;
use controlplane::chat::event::{ChatEvent, PreviewKind};
use serde_json::json;
use tests::stream::{results, transcript};
use tests::world::{World, execute};

#[tokio::test]
async fn tools_of_one_step_run_together_and_answer_one_by_one() -> Result<()> {
    // Each waits for a file that the test makes, in another order than the calls.
    let wait_for =
        |name: &str| execute(&format!("while [ ! -e {name} ]; do sleep 0.02; done; echo {name}"));
    let world = World::new(json!([{"steps": [
        [wait_for("a"), wait_for("b"), wait_for("c")],
        [{"say": "all done"}],
    ]}]))
    .await?;
    let mut chat = world.chat("go").await?;
    chat.stream
        .until("three commands run", |state| {
            let running = state.preview.values();
            running.filter(|part| part.kind == PreviewKind::ToolResult).count() == 3
        })
        .await?;
    for (answered, name) in ["c", "a", "b"].iter().enumerate() {
        std::fs::write(world.programs.root().join(name), "")?;
        let is_last = answered == 2;
        chat.stream
            .until("the next result is shown", |state| {
                let done = state.preview.values().filter(|part| part.value.is_some());
                let shown = done.filter(|part| part.kind == PreviewKind::ToolResult).count();
                shown > answered || (is_last && !results(state).is_empty())
            })
            .await?;
    }
    let order: Vec<String> = chat
        .stream
        .seen
        .iter()
        .filter_map(|event| match event {
            ChatEvent::Part { part } => match &part.value {
                Some(Part::ToolResult { result, .. }) => {
                    Some(result["output"].as_str().unwrap_or_default().trim().to_owned())
                }
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(order[..2], ["c", "a"], "shown in the order in which they ended");

    let state = chat.stream.until_rest().await?;
    let outputs: Vec<String> = results(state)
        .iter()
        .map(|(_, result, _)| result["output"].as_str().unwrap_or_default().trim().to_owned())
        .collect();
    assert_eq!(outputs, ["a", "b", "c"], "stored in the order of the calls");
    assert_eq!(transcript(state).last().map(String::as_str), Some("assistant: all done"));
    Ok(())
}

#[tokio::test]
async fn the_files_of_the_workspace_are_read_written_and_edited() -> Result<()> {
    let call = |tool: &str, args: serde_json::Value| json!({"call": {"tool": tool, "args": args}});
    let world = World::new(json!([{"steps": [
        [call("write_file", json!({"path": "src/a.txt", "content": "one\ntwo\n"}))],
        [call("edit_files", json!({"files": [{"path": "src/a.txt", "edits": [
            {"old_text": "two", "new_text": "2"}]}]}))],
        [
            call("read_file", json!({"path": "src/a.txt"})),
            call("search", json!({"pattern": "^2$"})),
            call("glob", json!({"pattern": "**/*.txt"})),
            call("list_dir", json!({"path": "src"})),
            call("read_file", json!({"path": "../outside"})),
        ],
        [{"say": "done"}],
    ]}]))
    .await?;
    let mut chat = world.chat("go").await?;
    let state = chat.stream.until_rest().await?;
    assert_eq!(std::fs::read_to_string(world.programs.root().join("src/a.txt"))?, "one\n2\n");
    let results = results(state);
    let failed: Vec<bool> = results.iter().map(|(_, _, is_error)| *is_error).collect();
    assert_eq!(failed, [false, false, false, false, false, false, true], "{results:#?}");
    assert!(results[6].1.to_string().contains("path_escape"), "{}", results[6].1);
    Ok(())
}
