//! Agents: begun, waited for, told of, stopped; over crashes too.

use serde_json::{Value, json};

use super::doubles::Act;
use super::*;
use crate::chat::family::{DEPTH_MAX, Outcome, WORKING_MAX};

fn spawn(id: &str, prompt: &str) -> Act {
    Act::call(id, "spawn_agent", json!({"type": "general", "prompt": prompt, "title": prompt}))
}

fn in_background(id: &str, prompt: &str) -> Act {
    let args = json!({"type": "general", "prompt": prompt, "title": prompt, "background": true});
    Act::call(id, "spawn_agent", args)
}

fn act(what: &str) -> Act {
    Act::call(what, "act", json!({ "what": what }))
}

impl World {
    async fn agents(&self, chat: ChatId) -> Vec<ChatRow> {
        let mut agents = self.store.chats.agents(chat).await.unwrap();
        agents.sort_by_key(|agent| agent.id);
        agents
    }

    /// The chat's agent with that title, once it is there.
    async fn agent(&self, chat: ChatId, title: &str) -> ChatRow {
        let mut wakes = self.engine.hints.chat(chat);
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let agents = self.agents(chat).await;
                if let Some(agent) = agents.into_iter().find(|agent| agent.title == title) {
                    return agent;
                }
                wakes.changed().await.unwrap();
            }
        });
        waited.await.unwrap_or_else(|_| panic!("the agent {title} never began"))
    }

    /// Waits until nobody works on the chat and it waits for agents.
    async fn until_it_waits(&self, chat: ChatId) -> ChatRow {
        let waits = |row: &ChatRow| row.waits_for_agents() && row.worker_id.is_none();
        self.until(chat, "a wait for agents", waits).await
    }

    /// Results of the chat by call, from its history.
    async fn results(&self, chat: ChatId) -> Vec<(String, Value)> {
        let history = self.history(chat).await;
        let parts = history.iter().flat_map(|row| &row.content);
        parts
            .filter_map(|stored| match &stored.part {
                Part::ToolResult { tool_call_id, result, .. } => {
                    Some((tool_call_id.clone(), result.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

#[tokio::test]
async fn a_parent_waits_without_a_worker_and_goes_on_with_the_report() {
    let world = World::new().await;
    world.model.plays("go", [vec![spawn("a", "look")], vec![Act::Text("all done")]]);
    world.model.plays("look", [vec![Act::Gate("look"), Act::Text("it is in a.rs")]]);
    let chat = world.begin("go").await;
    let waiting = world.until_it_waits(chat).await;
    assert_eq!((waiting.unanswered, waiting.awaited, waiting.awaited_agents), (1, 1, 1));
    let agent = world.agent(chat, "look").await;
    assert_eq!((agent.parent_id, agent.depth, agent.root_id), (Some(chat), 1, Some(chat)));
    assert_eq!(agent.workspace_id, Some(world.workspace));
    assert!(
        world.watch(chat, |client| client.ready).await.actions.is_empty(),
        "no person is asked"
    );

    world.model.open("look");
    world.until_rest(chat).await;
    let agent = world.row(agent.id).await;
    assert_eq!((agent.status, agent.outcome), (ChatStatus::Waiting, Some(Outcome::Done)));
    let results = world.results(chat).await;
    assert_eq!(results[0].1["report"], "it is in a.rs");
    assert_eq!(results[0].1["status"], "done");
    assert_eq!(world.story(chat).await.last().unwrap(), "assistant: all done");
    assert_eq!(world.row(chat).await.awaited_agents, 0);
}

#[tokio::test]
async fn agents_and_tools_of_one_step_work_side_by_side() {
    let world = World::new().await;
    world.model.plays("go", [vec![spawn("one", "first"), act("own"), spawn("two", "second")]]);
    world.model.plays("first", [vec![act("f")], vec![Act::Gate("first"), Act::Text("1")]]);
    world.model.plays("second", [vec![Act::Gate("second"), Act::Text("2")]]);
    let chat = world.begin("go").await;
    world.until_it_waits(chat).await;
    assert_eq!(world.tools.ledger().iter().filter(|line| *line == "own").count(), 1);
    world.model.open("second");
    world.until(chat, "the second's report", |row| row.unanswered == 1).await;
    world.model.open("first");
    world.until_rest(chat).await;
    let reports: Vec<Value> =
        world.results(chat).await.into_iter().map(|(_, result)| result["report"].clone()).collect();
    assert_eq!(reports, [json!("1"), Value::Null, json!("2")], "in the order of the calls");
    assert_eq!(world.tools.ledger(), ["f", "own"]);
}

#[tokio::test]
async fn who_works_in_the_background_is_told_of_once_to_a_parent_that_rests() {
    let world = World::new().await;
    world.model.plays(
        "go",
        [vec![in_background("a", "bg")], vec![Act::Text("meanwhile")], vec![Act::Text("thanks")]],
    );
    world.model.plays("bg", [vec![Act::Gate("bg"), Act::Text("found it")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    world.model.open("bg");
    world.until(chat, "a second turn", |row| row.last_seq >= 6).await;
    world.until_rest(chat).await;
    let story = world.story(chat).await;
    assert_eq!(
        story[3..],
        ["assistant: meanwhile", "user: <bg done: found it>", "assistant: thanks",]
    );
    let agent = world.agent(chat, "bg").await;
    assert!(!agent.reports, "it was told");
    // The model reads who speaks.
    let prompts = world.model.prompts();
    let last = &prompts.last().unwrap().messages;
    let told = serde_json::to_string(&last[last.len() - 1].parts[0].part).unwrap();
    assert!(told.contains("has finished") && told.contains(&agent.id.to_string()), "{told}");
}

#[tokio::test]
async fn who_ends_while_its_parent_works_is_told_after_the_running_tools() {
    let world = World::new().await;
    world.model.plays(
        "go",
        [
            vec![in_background("a", "bg")],
            vec![Act::call("t", "act", json!({"what": "t", "gate": "t"}))],
            vec![Act::Text("end")],
        ],
    );
    world.model.plays("bg", [vec![Act::Text("early")]]);
    let chat = world.begin("go").await;
    let agent = world.agent(chat, "bg").await;
    world.until_rest(agent.id).await;
    world.until(chat, "the report in the queue", |row| row.steered_length == 1).await;
    world.tools.open("t");
    world.until_rest(chat).await;
    let story = world.story(chat).await;
    let told = story.iter().filter(|line| line.contains("<bg done")).count();
    assert_eq!(told, 1, "{story:?}");
    assert_eq!(story.last().unwrap(), "assistant: end");
    assert_eq!(world.model.calls(), 4, "one turn of the parent: nothing was asked twice");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_family_loses_no_agent_and_begins_none_twice() {
    let mut world = World::new().await;
    world.model.plays("go", [vec![spawn("a", "one"), spawn("b", "two"), in_background("c", "bg")]]);
    // Asked again after a crash, they say the same.
    for (name, gate) in [("one", "one"), ("two", "two"), ("bg", "bg")] {
        let what = act(name);
        let last = || vec![Act::Gate(gate), Act::Text("done")];
        world.model.plays(name, [vec![what], last(), last(), last(), last()]);
    }
    let chat = world.begin("go").await;
    world.until_it_waits(chat).await;
    for name in ["one", "two", "bg"] {
        let agent = world.agent(chat, name).await;
        world.until(agent.id, "its tool's result", |row| row.last_seq >= 3).await;
    }
    world.crash().await;
    world.restart();
    world.model.open("one");
    let one = world.agent(chat, "one").await;
    world.until_rest(one.id).await;
    world.crash().await;
    world.restart();
    assert!(world.row(chat).await.waits_for_agents(), "one of two has reported");
    world.model.open("two");
    world.until_rest(chat).await;
    world.crash().await;
    world.model.open("bg");
    world.restart();
    world.until(chat, "the background's report", |row| row.last_seq >= 6).await;
    world.until_rest(chat).await;
    assert_eq!(world.agents(chat).await.len(), 3);
    assert_eq!(world.tools.ledger(), ["bg", "one", "two"]);
    let told = world.story(chat).await.iter().filter(|line| line.contains("<bg done")).count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_stop_of_the_parent_stops_the_family_and_wakes_nobody() {
    let world = World::new().await;
    world.model.plays("go", [vec![spawn("a", "child"), in_background("b", "bg")]]);
    world.model.plays("child", [vec![spawn("c", "grandchild")]]);
    world.model.plays("grandchild", [vec![Act::Text("half"), Act::Gate("never")]]);
    world.model.plays("bg", [vec![Act::call("t", "act", json!({"what": "t", "gate": "stop"}))]]);
    let chat = world.begin("go").await;
    let child = world.agent(chat, "child").await;
    let grandchild = world.agent(child.id, "grandchild").await;
    world.watch(grandchild.id, |client| !client.preview.is_empty()).await;
    let bg = world.agent(chat, "bg").await;
    world.until(bg.id, "its tool", |row| row.unanswered == 1).await;
    world.until_it_waits(chat).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    for id in [chat, child.id, grandchild.id, bg.id] {
        world.until_rest(id).await;
    }
    assert_eq!(world.row(grandchild.id).await.outcome, Some(Outcome::Interrupted));
    assert!(world.story(grandchild.id).await[1].contains("half"), "what was said is kept");
    let story = world.story(chat).await;
    assert_eq!(story.len(), 3, "nobody spoke after the stop: {story:?}");
    assert_eq!(world.row(chat).await.queue_length, 0);
}

#[tokio::test]
async fn a_chat_speaks_to_its_own_agents_and_to_no_others() {
    let world = World::new().await;
    world.model.plays("go", [vec![in_background("a", "mine")], vec![Act::Text("ok")]]);
    world.model.plays("mine", [vec![Act::Text("first")], vec![Act::Text("second")]]);
    let chat = world.begin("go").await;
    let mine = world.agent(chat, "mine").await;
    world.until(chat, "told", |row| row.last_seq >= 5).await;
    world.until_rest(chat).await;
    // Another conversation knows the id and is not listened to.
    let message = json!({"agent_id": mine.id, "message": "do evil"});
    world.model.plays(
        "other",
        [vec![
            Act::call("m", "message_agent", message),
            Act::call("i", "interrupt_agent", json!({"agent_id": mine.id})),
            Act::call("w", "wait_agent", json!({"agent_ids": [mine.id]})),
            Act::call("l", "list_agents", json!({})),
        ]],
    );
    let other = world.begin("other").await;
    world.until_rest(other).await;
    let codes: Vec<Value> =
        world.results(other).await.iter().map(|(_, told)| told["error"]["code"].clone()).collect();
    let not_found = json!("agent_not_found");
    assert_eq!(codes, [not_found.clone(), not_found.clone(), not_found, Value::Null]);
    assert_eq!(world.story(mine.id).await.len(), 2, "nothing reached it");

    // Its own parent's message begins its next work, and its end is told again.
    world.model.plays(
        "go",
        [
            vec![Act::call("m", "message_agent", json!({"agent_id": mine.id, "message": "again"}))],
            vec![Act::call("w", "wait_agent", json!({"agent_ids": [mine.id]}))],
        ],
    );
    world.say(chat, "more", Busy::Queue).await;
    world.until(mine.id, "its second work", |row| row.last_seq >= 4).await;
    world.until_rest(mine.id).await;
    world.until_rest(chat).await;
    assert_eq!(world.story(mine.id).await[2..], ["user: again", "assistant: second"]);
    let told = world.results(chat).await;
    let waited = &told.iter().find(|(id, _)| id == "w").unwrap().1["agents"][0];
    assert_eq!(waited["report"], "second");
}

#[tokio::test]
async fn an_agent_that_was_stopped_by_its_parent_answers_the_wait() {
    let world = World::new().await;
    world
        .model
        .plays("go", [vec![in_background("a", "slow")], vec![Act::Gate("on"), Act::Text("x")]]);
    world.model.plays("slow", [vec![Act::Text("partly"), Act::Gate("never")]]);
    let chat = world.begin("go").await;
    let slow = world.agent(chat, "slow").await;
    world.watch(slow.id, |client| !client.preview.is_empty()).await;
    world.model.open("on");
    world.until_rest(chat).await;
    world.model.plays(
        "go",
        [
            vec![Act::call("i", "interrupt_agent", json!({"agent_id": slow.id}))],
            vec![Act::call("w", "wait_agent", json!({}))],
            vec![Act::Text("end")],
        ],
    );
    world.say(chat, "stop it", Busy::Queue).await;
    world.until_rest(slow.id).await;
    world
        .until(chat, "the end", |row| row.status == ChatStatus::Waiting && row.last_seq >= 9)
        .await;
    let row = world.row(slow.id).await;
    assert_eq!(row.outcome, Some(Outcome::Interrupted));
    let story = world.story(chat).await;
    assert!(!story.iter().any(|line| line.contains("<slow")), "its parent knows: {story:?}");
}

#[tokio::test]
async fn no_chat_has_more_agents_at_work_and_no_family_is_deeper_than_its_limits() {
    let world = World::new().await;
    let many = usize::try_from(WORKING_MAX).unwrap() + 1;
    let names: Vec<String> = (0..many).map(|number| format!("n{number}")).collect();
    world.model.plays(
        "go",
        [names.iter().map(|name| in_background(name, "busy")).collect(), vec![Act::Text("ok")]],
    );
    let stays = || vec![Act::Gate("busy"), Act::Text("b")];
    world.model.plays("busy", (0..many).map(|_| stays()));
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let results = world.results(chat).await;
    let refused: Vec<&str> = results
        .iter()
        .filter(|(_, told)| told["error"]["code"] == "agent_limit")
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(refused, [format!("n{WORKING_MAX}")]);
    assert_eq!(world.agents(chat).await.len(), many - 1);

    // Downwards: whoever stands at the bottom is not offered the tools, nor heard if it asks.
    world.model.plays("deep", [vec![spawn("d1", "level1")]]);
    world.model.plays("level1", [vec![spawn("d2", "level2")]]);
    world.model.plays("level2", [vec![spawn("d3", "level3")], vec![Act::Text("bottom")]]);
    let deep = world.begin("deep").await;
    world.until_rest(deep).await;
    let one = world.agent(deep, "level1").await;
    let two = world.agent(one.id, "level2").await;
    assert_eq!(two.depth, DEPTH_MAX);
    assert!(world.agents(two.id).await.is_empty());
    assert_eq!(world.results(two.id).await[0].1["error"]["code"], "unknown_tool");
    let offered = |begins: &str| -> Vec<String> {
        let prompts = world.model.prompts();
        let is_it = |prompt: &&crate::llm::Prompt| {
            let first = &prompt.messages[0].parts[0].part;
            matches!(first, Part::Text { text } if text == begins)
        };
        let prompt = prompts.iter().find(is_it).unwrap();
        prompt.tools.iter().map(|tool| tool.name.clone()).collect()
    };
    assert!(offered("level1").contains(&"spawn_agent".to_owned()));
    assert!(!offered("level2").contains(&"spawn_agent".to_owned()));
}

#[tokio::test]
async fn an_edit_stops_the_agents_of_the_branch_that_is_left() {
    let world = World::new().await;
    world.model.plays("go", [vec![in_background("a", "old")], vec![Act::Text("first")]]);
    world.model.plays("old", [vec![Act::Gate("never")]]);
    world.model.plays("anew", [vec![Act::Text("second")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let old = world.agent(chat, "old").await;
    let said = world.history(chat).await[0].id;
    let rewording = crate::chat::changing::Rewording {
        content: vec![Part::Text { text: "anew".into() }],
        model_id: None,
        effort: None,
    };
    world.engine.chats.edit_message(world.user, chat, said, rewording).await.unwrap();
    world.until_rest(old.id).await;
    world.until_rest(chat).await;
    assert_eq!(world.row(old.id).await.outcome, Some(Outcome::Interrupted));
    assert_eq!(world.story(chat).await, ["user: anew", "assistant: second"]);
}

#[tokio::test]
async fn an_agent_that_fails_says_why_and_its_parent_decides() {
    let world = World::new().await;
    world.model.plays("go", [vec![spawn("a", "bad")], vec![Act::Text("noted")]]);
    world.model.plays("bad", [vec![Act::Fail(crate::llm::ProviderErrorKind::Auth)]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let told = &world.results(chat).await[0].1;
    assert_eq!(told["status"], "failed");
    assert_eq!(told["error"]["code"], "provider_auth");
    assert_eq!(world.story(chat).await.last().unwrap(), "assistant: noted");
}
