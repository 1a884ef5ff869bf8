//! What a turn has beside the model that was asked: names, another model, a check after edits. With
//! the real programs and a model server that checks each request.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::fake_llm::{Answer, Format};
use tests::stream::{results, transcript};
use tests::world::World;

const BOTH: [Format; 2] = [Format::Anthropic, Format::Chat];

/// A second model `name` of the same provider that plays `answers`; its id.
async fn second(world: &World, name: &str, answers: Vec<Answer>) -> Result<Value> {
    let fake = world.fake.as_ref().context("a model server plays")?;
    fake.play(name, answers);
    let models = world.api().get("/models").await?;
    let body = json!({"provider_id": models["items"][0]["provider_id"], "model": name});
    Ok(world.api().post("/models", &body).await?["id"].clone())
}

async fn patch(world: &World, path: &str, body: Value) -> Result<Value> {
    let (status, answer) = world.api().request("PATCH", path, Some(&body)).await?;
    anyhow::ensure!(status == 200, "PATCH {path} answered {status}: {answer}");
    Ok(answer)
}

fn sound(world: &World) {
    let violations = world.fake.as_ref().map(|fake| fake.violations()).unwrap_or_default();
    assert!(violations.is_empty(), "{violations:#?}");
}

/// What `model` was asked, as JSON text, one per request.
fn asked(world: &World, model: &str) -> Vec<String> {
    let requests = world.fake.as_ref().map(|fake| fake.requests()).unwrap_or_default();
    let of_model = requests.into_iter().filter(|request| request.model == model);
    of_model.map(|request| request.body.to_string()).collect()
}

#[tokio::test]
async fn a_small_model_names_the_chat_and_its_turn_while_the_large_one_answers() -> Result<()> {
    for format in BOTH {
        let world = World::served(format, vec![Answer::text("Hello, Ada.")]).await?;
        let named = Answer::text("title: Greeting Ada\nlabel: said hello politely");
        let small = second(&world, "small", vec![named]).await?;
        let by = json!({"naming": {"by": "model", "model_id": small}});
        patch(&world, "/settings", by).await?;
        let mut chat = world.chat("my name is Ada and I say hello").await?;
        let state = chat
            .stream
            .until("the names", |state| {
                state.head.as_ref().is_some_and(|head| head.label.is_some())
            })
            .await?;
        let head = state.head.as_ref().context("the head")?;
        assert_eq!(head.title, "Greeting Ada");
        assert_eq!(head.label.as_deref(), Some("said hello politely"));
        assert_eq!(state.history()[0].label.as_deref(), Some("said hello politely"));
        let usage = world.api().get("/usage").await?;
        let purposes: Vec<&str> = usage["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["purpose"].as_str())
            .collect();
        assert!(purposes.contains(&"label") && purposes.contains(&"step"), "{usage}");
        assert_eq!(asked(&world, "small").len(), 1);
        assert!(!asked(&world, "small")[0].contains("\"tools\""), "a name needs no tool");
        sound(&world);
    }
    Ok(())
}

/// At an address of one's own nobody is asked for names unless somebody says so.
#[tokio::test]
async fn by_itself_a_server_of_ones_own_is_not_asked_for_names() -> Result<()> {
    let world = World::served(Format::Chat, vec![Answer::text("Hello.")]).await?;
    let mut chat = world.chat("hello there").await?;
    chat.stream.until_rest().await?;
    let settings = world.api().get("/settings").await?;
    assert_eq!(settings["naming"]["by"], "auto");
    let view = world.api().get(&format!("/chats/{}", chat.id)).await?;
    assert_eq!((&view["title"], &view["label"]), (&json!("hello there"), &Value::Null));
    assert_eq!(asked(&world, "test").len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_overloaded_model_is_stood_in_for_by_the_one_that_its_settings_name() -> Result<()> {
    for format in BOTH {
        let world = World::served(format, vec![Answer::status(529, "overloaded")]).await?;
        let small = second(&world, "small", vec![Answer::text("I answer for it.")]).await?;
        let models = world.api().get("/models").await?;
        let large = models["items"][0]["id"].as_str().context("an id")?.to_owned();
        patch(&world, &format!("/models/{large}"), json!({"fallback_model_id": small})).await?;
        let mut chat = world.chat("go").await?;
        let state = chat.stream.until("the fallback", |state| state.fallback.is_some()).await?;
        let (asked_first, answers, why) = state.fallback.clone().context("a fallback")?;
        assert_eq!((asked_first.as_str(), answers.as_str()), ("test", "small"));
        assert_eq!(why, "provider_overloaded");
        let state = chat.stream.until_rest().await?;
        let told = transcript(state);
        assert_eq!(told, ["user: go", "assistant: I answer for it.", "notice fallback"]);
        assert_eq!((asked(&world, "test").len(), asked(&world, "small").len()), (1, 1));
        sound(&world);
    }
    Ok(())
}

#[tokio::test]
async fn a_failing_check_after_an_edit_reaches_the_model_and_runs_once_each_time() -> Result<()> {
    for format in BOTH {
        let write = |content: &str| {
            Answer::call("write_file", &json!({"path": "a.txt", "content": content}))
        };
        let answers = vec![write("bad"), write("good"), Answer::text("done")];
        let world = World::served(format, answers).await?;
        let id = &world.programs.workspace_id;
        let command = "echo run >> runs.txt; grep -q good a.txt || { echo it is bad; exit 3; }";
        let check = json!({"edit_check": {"command": command, "timeout_s": 20}});
        patch(&world, &format!("/workspaces/{id}"), check).await?;
        let mut chat = world.chat("go").await?;
        let state = chat.stream.until_rest().await?;
        let exits: Vec<Value> =
            results(state).iter().map(|(_, result, _)| result["exit_code"].clone()).collect();
        assert_eq!(exits, [Value::Null, json!(3), Value::Null, json!(0)]);
        let runs = std::fs::read_to_string(world.programs.root().join("runs.txt"))?;
        assert_eq!(runs.lines().count(), 2, "once after each edit");
        let requests = asked(&world, "test");
        assert_eq!(requests.len(), 3, "a check is no call of the model");
        assert!(requests[1].contains("it failed with exit code 3"), "{}", requests[1]);
        assert!(requests[1].contains("it is bad") && requests[2].contains("it passed"));
        assert!(!requests[2].contains("check_"), "to the model it is no call: {}", requests[2]);
        sound(&world);
    }
    Ok(())
}
