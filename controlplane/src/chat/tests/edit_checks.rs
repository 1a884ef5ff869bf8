//! The check after edits.

use serde_json::json;

use super::doubles::Act;
use super::*;
use crate::chat::edit_check::EditCheck;

fn edit(id: &str) -> Vec<Act> {
    vec![Act::call(id, "write_file", json!({"what": id}))]
}

fn failed(output: &str) -> serde_json::Value {
    json!({ "state": "exited", "exit_code": 101, "output": output })
}

impl World {
    async fn checks(&self, command: &str) {
        let check = EditCheck { command: command.into(), timeout_s: 5 };
        self.store.workspaces.set_edit_check(self.workspace, Some(&check)).await.unwrap();
    }

    /// The texts of a person's side in the newest prompt.
    fn told(&self) -> Vec<String> {
        let prompt = self.model.last_prompt();
        let said = prompt.messages.iter().filter(|message| message.role == Role::User);
        said.flat_map(|message| &message.parts)
            .filter_map(|stored| match &stored.part {
                Part::Text { text } => Some(text.clone()),
                _ => None,
            })
            .collect()
    }
}

#[tokio::test]
async fn a_failing_check_is_told_to_the_model_and_one_that_passes_ends_it() {
    let world = World::new().await;
    world.checks("cargo check").await;
    world.tools.exits([failed("error[E0308]: mismatched types")]);
    world.model.answers([edit("a"), edit("b"), vec![Act::Text("done")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "b", "cargo check", "cargo check"]);
    let told = world.told();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("`cargo check` was run: it failed with exit code 101"), "{told:?}");
    assert!(told[1].ends_with("error[E0308]: mismatched types"));
    assert!(told[2].ends_with("it passed.]"), "{told:?}");
    let story = world.story(chat).await;
    assert_eq!(story[3], "assistant: [edit_check] +check_4", "people see the step: {story:?}");
    assert_eq!(world.model.calls(), 3, "a check is no call of the model");
}

#[tokio::test]
async fn without_a_check_and_without_edits_nothing_is_run() {
    let world = World::new().await;
    world.model.answers([edit("a"), vec![Act::Text("done")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a"]);
    world.checks("cargo check").await;
    let look = Act::call("c", "act", json!({"what": "c"}));
    world.model.answers([vec![look], vec![Act::Text("done")]]);
    world.say(chat, "and now", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "c"], "what an earlier turn edited is not checked");
}

#[tokio::test]
async fn a_chat_may_have_a_check_of_its_own_or_none() {
    let world = World::new().await;
    world.checks("make").await;
    world.model.answers([
        vec![Act::Text("hello")],
        edit("a"),
        vec![Act::Text("done")],
        edit("b"),
        vec![Act::Text("done")],
    ]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let own = EditCheck { command: "cargo test".into(), timeout_s: 5 };
    world.store.chats.set_edit_check(chat, Some(&own)).await.unwrap();
    world.say(chat, "edit", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "cargo test"]);
    let none = EditCheck { command: String::new(), timeout_s: 5 };
    world.store.chats.set_edit_check(chat, Some(&none)).await.unwrap();
    world.say(chat, "edit", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "b", "cargo test"]);
}

/// The command was set by a person: it waits for nobody, whatever the mode.
#[tokio::test]
async fn in_edit_mode_a_check_needs_no_approval() {
    let world = World::new().await;
    world.checks("cargo check").await;
    world.model.answers([vec![Act::Text("hello")], edit("a"), vec![Act::Text("done")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let mode = Some("edit".to_owned());
    let patch = crate::store::chats::ChatPatch { mode, ..Default::default() };
    world.engine.chats.patch(world.user, chat, patch).await.unwrap();
    world.say(chat, "edit", Busy::Queue).await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "cargo check"]);
}

#[tokio::test]
async fn a_check_that_does_not_end_in_time_is_stopped() {
    let world = World::new().await;
    world.checks("sleep 1000").await;
    world.tools.exits([json!({ "state": "running", "output": "…" })]);
    world.model.answers([edit("a"), vec![Act::Text("done")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.tools.stopped(), 1);
    assert!(world.told()[1].contains("did not end in time and was stopped"), "{:?}", world.told());
}

#[tokio::test]
async fn a_check_runs_once_over_a_crash_and_is_stopped_with_its_turn() {
    let mut world = World::new().await;
    world.checks("cargo check").await;
    world.model.answers([edit("a"), vec![Act::Text("done")], edit("b")]);
    let chat = world.begin("go").await;
    // The link is lost after the effect, and the server dies: the next one asks with the same key.
    world.until(chat, "the check", |row| row.steps_in_turn >= 2).await;
    world.crash().await;
    world.restart();
    world.until_rest(chat).await;
    assert_eq!(world.tools.ledger(), ["a", "cargo check"]);

    world.checks("gated").await;
    world.tools.gate_commands("stop");
    world.say(chat, "again", Busy::Queue).await;
    world
        .until(chat, "the second check", |row| row.unanswered == 1 && row.steps_in_turn == 2)
        .await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.model.calls(), 3, "nobody is asked after a stop");
}
