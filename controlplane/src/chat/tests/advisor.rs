//! A second opinion: alone, without tools, counted.

use serde_json::{Value, json};

use super::doubles::Act;
use super::*;

fn ask(id: &str) -> Act {
    Act::call(id, "advisor", json!({"question": "left or right?"}))
}

#[tokio::test]
async fn the_advisor_answers_live_without_tools_and_is_counted() {
    let world = World::new().await;
    world.model.plays("go", [vec![ask("q")], vec![Act::Text("then left")]]);
    world.model.answers([vec![Act::Text("left, "), Act::Gate("more"), Act::Text("because")]]);
    let chat = world.begin("go").await;
    let client = world
        .watch(chat, |client| client.preview.iter().any(|part| part.1.text.contains("left, ")))
        .await;
    assert!(client.ready);
    world.model.open("more");
    world.until_rest(chat).await;
    let prompts = world.model.prompts();
    let advice = prompts.iter().find(|prompt| prompt.system.contains("You advise")).unwrap();
    assert!(advice.tools.is_empty() && advice.messages.len() == 1);
    let told = serde_json::to_string(&advice.messages[0].parts[0].part).unwrap();
    assert!(told.contains("left or right?") && told.contains("[user]"), "{told}");
    let history = world.history(chat).await;
    let Part::ToolResult { result, is_error: false, .. } = &history[2].content[0].part else {
        panic!("{:?}", history[2])
    };
    assert_eq!((&result["type"], &result["advice"]), (&json!("advice"), &json!("left, because")));
    assert_eq!(result["remaining_uses"], 9);
    assert_eq!(world.row(chat).await.total_tokens, 3, "two steps and the advice");
}

#[tokio::test]
async fn an_advisor_among_other_calls_is_refused_with_all_of_them() {
    let world = World::new().await;
    world.model.answers([vec![ask("q"), Act::call("a", "act", json!({"what": "a"}))]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], "tool: q! a!");
    assert!(world.tools.ledger().is_empty(), "nothing ran");
    assert_eq!(world.model.calls(), 2, "no advisor was asked");
}

#[tokio::test]
async fn a_stop_in_the_middle_of_advice_stops_it() {
    let mut world = World::new().await;
    world.model.plays("go", [vec![ask("q")]]);
    world.model.answers([vec![Act::Text("well"), Act::Gate("never")]]);
    let chat = world.begin("go").await;
    world.model.asked(2).await;
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2], "tool: q!");
    // And after a crash the question is asked again.
    world.model.plays("again", [vec![ask("q")]]);
    world.model.answers([vec![Act::Gate("never")], vec![Act::Text("right")]]);
    let other = world.begin("again").await;
    world.model.asked(4).await;
    world.crash().await;
    world.restart();
    world.until_rest(other).await;
    let line = &world.story(other).await[2];
    assert!(line.contains("right"), "{line}");
}

#[tokio::test]
async fn an_advisor_that_fails_is_an_answer_and_its_uses_are_limited() {
    let world = World::new().await;
    world.model.plays("go", [vec![ask("q")], vec![Act::Text("alone then")]]);
    world.model.answers([vec![Act::Fail(crate::llm::ProviderErrorKind::Auth)]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    assert_eq!(world.story(chat).await[2..], ["tool: q!", "assistant: alone then"]);
    // Different questions, so that no other limit is met first.
    let question =
        |at: usize| vec![Act::call("q", "advisor", json!({ "question": format!("number {at}?") }))];
    world.model.plays("many", (0..11).map(question));
    world.model.improvise(|_| vec![Act::Text("hm")]);
    let many = world.begin("many").await;
    world.until_rest(many).await;
    let history = world.history(many).await;
    let results: Vec<&Value> = history
        .iter()
        .flat_map(|row| &row.content)
        .filter_map(|stored| match &stored.part {
            Part::ToolResult { result, .. } => Some(result),
            _ => None,
        })
        .collect();
    assert_eq!(results.len(), 11);
    assert_eq!(results[9]["remaining_uses"], 0);
    assert_eq!(results[10]["error"]["code"], "limit_reached");
}
