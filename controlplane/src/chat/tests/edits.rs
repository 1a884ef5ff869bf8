//! Edited messages and their branches, copies, Continue, the order of the queue.

use serde_json::json;

use super::doubles::Act;
use super::*;
use crate::chat::changing::{QueueChange, Rewording};
use crate::chat::family::Budget;
use crate::store::StoreError;

impl World {
    async fn edit(&self, chat: ChatId, at: usize, text: &str) -> MessageRow {
        let id = self.history(chat).await[at].id;
        let content = vec![Part::Text { text: text.into() }];
        let rewording = Rewording { content, model_id: None, effort: None };
        self.engine.chats.edit_message(self.user, chat, id, rewording).await.unwrap().1
    }
}

#[tokio::test]
async fn an_edit_begins_a_branch_and_the_former_one_can_be_shown_again() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("one")], vec![Act::Text("two")], vec![Act::Text("three")]]);
    let chat = world.begin("first").await;
    world.until_rest(chat).await;
    world.say(chat, "second", Busy::Queue).await;
    world.until_rest(chat).await;
    let before = world.story(chat).await;
    let mut viewer = world.engine.streams.subscribe(chat, None);

    let edited = world.edit(chat, 2, "second, better").await;
    assert_eq!((edited.variant, edited.variants), (2, 2));
    world.until_rest(chat).await;
    let after = ["user: first", "assistant: one", "user: second, better", "assistant: three"];
    assert_eq!(world.story(chat).await, after);
    // The model was told nothing of the branch that was left.
    assert_eq!(world.model.last_prompt().messages.len(), 3);

    let variants = world.engine.chats.variants(world.user, chat, edited.id).await.unwrap();
    let texts: Vec<String> = variants.iter().map(line).collect();
    assert_eq!(texts, ["user: second", "user: second, better"]);
    world.engine.chats.show_branch(world.user, chat, variants[0].id).await.unwrap();
    assert_eq!(world.story(chat).await, before, "nothing of it was lost");
    world.engine.chats.show_branch(world.user, chat, edited.id).await.unwrap();
    assert_eq!(world.story(chat).await, after);

    // A viewer that saw all of it has the same as one that comes now.
    let fresh = world.watch(chat, |client| client.ready).await;
    let mut client = ClientState::default();
    let caught_up = tokio::time::timeout(PATIENCE, async {
        while client.cursor.is_none_or(|cursor| cursor.snapshot < fresh.cursor.unwrap().snapshot) {
            for envelope in viewer.next().await.unwrap() {
                client.apply(&envelope);
            }
        }
    });
    caught_up.await.expect("the viewer is told");
    assert_eq!(client.history(), fresh.history());
    assert_eq!(fresh.history()[2].branch.unwrap().of, 2);
}

#[tokio::test]
async fn an_edit_while_the_model_answers_gives_that_answer_up() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("half"), Act::Gate("never")], vec![Act::Text("new")]]);
    let chat = world.begin("first").await;
    world.watch(chat, |client| !client.preview.is_empty()).await;
    world.edit(chat, 0, "instead").await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await, ["user: instead", "assistant: new"]);
}

#[tokio::test]
async fn an_edit_while_tools_run_stops_them_and_their_answers_are_not_taken() {
    let world = World::new().await;
    world.model.answers([
        vec![Act::call("a", "act", json!({"what": "a", "gate": "stop"}))],
        vec![Act::Text("new")],
    ]);
    let chat = world.begin("first").await;
    world.until(chat, "the call", |row| row.unanswered == 1).await;
    world.edit(chat, 0, "instead").await;
    let row = world.until_rest(chat).await;
    assert_eq!(row.unanswered, 0);
    assert_eq!(world.story(chat).await, ["user: instead", "assistant: new"]);
    assert_eq!(world.tools.stopped(), 1);
    let variants = {
        let id = world.history(chat).await[0].id;
        world.engine.chats.variants(world.user, chat, id).await.unwrap()
    };
    world.engine.chats.show_branch(world.user, chat, variants[0].id).await.unwrap();
    assert_eq!(world.story(chat).await, ["user: first", "assistant: +a", "tool: a!"]);
}

#[tokio::test]
async fn an_edit_while_a_person_is_asked_withdraws_the_question() {
    let world = World::new().await;
    let options = json!([{"label": "a"}, {"label": "b"}]);
    let questions = json!({"questions": [{"question": "?", "options": options}]});
    world.model.answers([vec![Act::call("q", "ask_user", questions)], vec![Act::Text("new")]]);
    let chat = world.begin("first").await;
    world.until(chat, "a question", |row| row.awaited == 1).await;
    world.edit(chat, 0, "instead").await;
    world.until_rest(chat).await;
    let client = world.watch(chat, |client| client.ready).await;
    assert!(client.actions.is_empty());
    assert_eq!(world.story(chat).await, ["user: instead", "assistant: new"]);
}

#[tokio::test]
async fn only_what_a_user_said_in_the_shown_branch_can_be_edited() {
    let world = World::new().await;
    let chat = world.begin("first").await;
    world.until_rest(chat).await;
    let history = world.history(chat).await;
    let old = history[0].id;
    let edit = async |id| {
        let content = vec![Part::Text { text: "x".into() }];
        let rewording = Rewording { content, model_id: None, effort: None };
        let edited = world.engine.chats.edit_message(world.user, chat, id, rewording).await;
        edited.map(drop).map_err(|error: StoreError| error.code().to_owned())
    };
    assert_eq!(edit(history[1].id).await.unwrap_err(), "message_not_editable");
    edit(old).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(edit(old).await.unwrap_err(), "message_not_found");
}

#[tokio::test]
async fn a_copy_has_the_history_up_to_a_message_and_a_life_of_its_own() {
    let world = World::new().await;
    world.model.answers([
        vec![Act::call("a", "look", json!({"what": "x"}))],
        vec![Act::Text("done")],
        vec![Act::Text("in the copy")],
    ]);
    let chat = world.begin("first").await;
    world.until_rest(chat).await;
    let asked = world.history(chat).await[1].id;
    let copy = world.engine.chats.copy(world.user, chat, Some(asked), None).await.unwrap();
    assert_eq!((copy.status, copy.forked_from), (ChatStatus::Waiting, Some(chat)));
    let begun = ["user: first", "assistant: +a", r#"tool: a={"did":"x"}"#];
    assert_eq!(world.story(copy.id).await, begun, "the call's result came with it");
    world.say(copy.id, "on", Busy::Queue).await;
    world.until_rest(copy.id).await;
    assert_eq!(world.story(copy.id).await[4], "assistant: in the copy");
    assert_eq!(world.story(chat).await.len(), 4, "the original is as it was");
}

#[tokio::test]
async fn a_turn_that_was_stopped_goes_on_when_asked_to() {
    let world = World::new().await;
    let call = |at: i32| vec![Act::call("a", "look", json!({"what": at.to_string()}))];
    world.model.answers((0..21).map(call));
    let budget = Budget { steps: Some(20), ..Budget::default() };
    let chat = world.begin_with("go", budget).await;
    world.until(chat, "the cap", |row| row.status == ChatStatus::Error).await;
    assert_eq!(world.model.calls(), 20);
    let row = world.engine.chats.continue_turn(world.user, chat).await.unwrap();
    assert_eq!((row.status, row.steps_in_turn), (ChatStatus::Running, 0));
    let row = world.until_rest(chat).await;
    assert_eq!(row.steps_in_turn, 2);
    let again = world.engine.chats.continue_turn(world.user, chat).await;
    assert_eq!(again.unwrap_err().code(), "chat_state_conflict");
}

#[tokio::test]
async fn queued_messages_are_put_in_order_and_keep_their_model_and_effort() {
    let world = World::new().await;
    world.model.answers([vec![Act::Gate("go")]]);
    let chat = world.begin("first").await;
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        let Delivery::Queued(row) = world.say(chat, text, Busy::Queue).await else { panic!() };
        ids.push(row.id);
    }
    let change = QueueChange { position: Some(0), ..QueueChange::default() };
    world.engine.chats.change_queued(world.user, chat, ids[2], change).await.unwrap();
    let change = QueueChange {
        rewording: Some(Rewording {
            content: vec![Part::Text { text: "a, better".into() }],
            model_id: None,
            effort: Some(crate::chat::content::Effort::High),
        }),
        position: Some(9),
    };
    world.engine.chats.change_queued(world.user, chat, ids[0], change).await.unwrap();
    let client = world.watch(chat, |client| client.queue.len() == 3).await;
    let texts: Vec<_> = client.queue.iter().map(|item| &item.content[0]).collect();
    let text = |text: &str| Part::Text { text: text.into() };
    assert_eq!(texts, [&text("c"), &text("b"), &text("a, better")]);
    world.model.open("go");
    world
        .until(chat, "all of them", |row| row.status == ChatStatus::Waiting && row.last_seq >= 8)
        .await;
    let said: Vec<String> =
        world.story(chat).await.into_iter().filter(|line| line.starts_with("user")).collect();
    assert_eq!(said, ["user: first", "user: c", "user: b", "user: a, better"]);
    assert_eq!(world.row(chat).await.effort, Some(crate::chat::content::Effort::High));
}
