//! B08 and B21: what is said in chats, and when.

use serde_json::{Value, json};
use shared::ids::{IdSource, QueueId, SystemIds};

use super::rows::Rows;
use super::world::World;

/// A turn that does not end by itself.
const STALLED: &str =
    r#"{"title": "t", "turns": [{"steps": [[{"say": "one"}, {"wait_ms": 600000}]]}]}"#;

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

#[tokio::test]
async fn b08_empty_and_endless_messages_are_refused() {
    let world = World::new().await;
    let mut rows = Rows::default();
    rows.problem("no model yet", &world.post("/chats", &text("hello")).await, 409, "no_model");
    world.scripted_model(None).await;
    for (row, body) in [
        ("B08 no part", json!({"content": []})),
        ("B08 empty text", text("")),
        ("B08 white space", text(" \n\t\u{a0}")),
    ] {
        rows.problem(row, &world.post("/chats", &body).await, 400, "empty_message");
    }
    let long = world.post("/chats", &text(&"x".repeat(1024 * 1024 + 1))).await;
    rows.problem("B08 1 MiB + 1", &long, 413, "message_too_long");
    rows.fact("B08 says the limit", long.json()["details"]["limit"] == "1048576", "");
    let endless = world.post("/chats", &text(&"x".repeat(10 * 1024 * 1024))).await;
    // Over what is read of any body: nobody knows that it is a message.
    rows.problem("B08 10 MiB", &endless, 413, "body_too_large");
    rows.fact("B08 10 MiB says the limit", endless.json()["details"]["limit"] == "2097152", "");
    let chats = world.get("/chats").await.json();
    rows.fact("B08 nothing is stored", chats["items"] == json!([]), &chats.to_string());
    let image = json!({"content": [{"type": "image", "text": "x"}]});
    rows.problem("B08 other part", &world.post("/chats", &image).await, 400, "invalid_value");
    let gone = json!({"content": [{"type": "text", "text": "x"}],
        "workspace_id": "ws_01M7VX0CF3EX12NW0AX82QJEXQ"});
    rows.problem("B11 unknown workspace", &world.post("/chats", &gone).await, 400, "invalid_value");
    rows.report("B08");
    world.end().await;
}

#[tokio::test]
async fn b21_what_does_not_fit_a_running_chat_is_refused_or_idempotent() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(Some(STALLED)).await;
    let chat = world.post("/chats", &text("hello")).await.json();
    let id = chat["chat"]["id"].as_str().unwrap_or_default().to_owned();
    let act = async |tail: &str| world.post(&format!("/chats/{id}{tail}"), &json!({})).await;

    rows.problem("B21 archive while running", &act("/archive").await, 409, "chat_running");
    let say =
        async |n: usize| world.post(&format!("/chats/{id}/messages"), &text(&n.to_string())).await;
    let mut queued = Vec::new();
    for n in 0..20 {
        let answer = say(n).await;
        rows.fact("B21 queued", answer.status == 202, &answer.json().to_string());
        queued.push(answer.json()["id"].as_str().unwrap_or_default().to_owned());
    }
    rows.problem("B21 queue of 20", &say(20).await, 409, "queue_full");
    let item = |n: usize| format!("/api/v1/chats/{id}/queue/{}", queued[n]);
    let delete = async |path: String| world.send("DELETE", &path, &world.bearer(), b"").await;
    rows.fact("B21 delete", delete(item(0)).await.status == 204, "");
    rows.problem("B21 delete twice", &delete(item(0)).await, 404, "not_found");
    let ids: &dyn IdSource = &SystemIds::new();
    let unknown = format!("/queue/{}/promote", ids.id::<QueueId>());
    rows.problem("B21 promote nothing", &act(&unknown).await, 404, "not_found");

    for n in 1..20 {
        delete(item(n)).await;
    }
    let (first, second) = tokio::join!(act("/interrupt"), act("/interrupt"));
    let fine = |status: u16| status == 200 || status == 409;
    rows.fact("B21 stop", first.status == 200 || second.status == 200, &first.head);
    rows.fact("B21 stop twice", fine(first.status) && fine(second.status), &second.head);
    for _ in 0..200 {
        if world.get(&format!("/chats/{id}")).await.json()["status"] == "waiting" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rows.problem("B21 stop at rest", &act("/interrupt").await, 409, "chat_not_running");
    rows.fact("B21 archive", act("/archive").await.status == 200, "");
    rows.fact("B21 archive twice", act("/archive").await.status == 200, "");
    rows.problem("B21 say in an archived chat", &say(21).await, 409, "chat_archived");
    rows.fact("B21 unarchive", act("/unarchive").await.status == 200, "");
    rows.report("B21");
    world.end().await;
}

/// Calls that nobody can be asked about, then questions, then an end.
const ASKING: &str = r#"{"title": "t", "turns": [{"steps": [
    [{"call": {"tool": "ask_user", "args": {"questions": [{"question": "?", "options": [{"label": "one"}]}]}}},
     {"call": {"tool": "ask_user", "args": "not an object"}},
     {"call": {"tool": "../ask_user", "args": {}}}],
    [{"call": {"tool": "ask_user", "args": {"questions": [{"question": "?", "options": [{"label": "a"}, {"label": "b"}]}]}}},
     {"call": {"tool": "pick", "args": {}}}],
    [{"say": "done"}]]}]}"#;

#[tokio::test]
async fn b21_b89_decisions_that_do_not_fit_are_refused_with_their_code() {
    let world = World::new().await;
    let mut rows = Rows::default();
    world.scripted_model(Some(ASKING)).await;
    let tool = |name: &str, schema: Value| json!({"name": name, "description": "d", "input_schema": schema});
    let begin =
        |tools: Value| json!({"content": [{"type": "text", "text": "hello"}], "tools": tools});
    for (row, tools) in [
        ("B21 a tool without a name", json!([tool("", json!({}))])),
        ("B21 a tool with a path for a name", json!([tool("../x", json!({}))])),
        ("B21 a tool whose schema is none", json!([tool("x", json!({"type": 7}))])),
        ("B21 a tool of text", json!([tool("x", json!({"type": "string"}))])),
        ("B21 two tools of one name", json!([tool("x", json!({})), tool("x", json!({}))])),
    ] {
        rows.problem(row, &world.post("/chats", &begin(tools)).await, 400, "invalid_value");
    }
    let many: Vec<Value> = (0..251).map(|n| tool(&format!("t{n}"), json!({}))).collect();
    rows.problem(
        "B21 251 tools",
        &world.post("/chats", &begin(json!(many))).await,
        400,
        "too_many_items",
    );

    let made = world.post("/chats", &begin(json!([tool("pick", json!({"type": "object"}))]))).await;
    let id = made.json()["chat"]["id"].as_str().unwrap_or_default().to_owned();
    let actions = world.until_asked(&id).await;
    let kinds = [actions[0]["kind"].as_str(), actions[1]["kind"].as_str()];
    rows.fact(
        "B89 only what fits is asked",
        kinds == [Some("question"), Some("client_tool")],
        &actions.to_string(),
    );
    let messages = world.get(&format!("/chats/{id}/messages")).await.json();
    let results = messages["items"][2]["content"].as_array().cloned().unwrap_or_default();
    let all_errors = results.len() == 3 && results.iter().all(|part| part["is_error"] == true);
    rows.fact(
        "B89 the rest are error results, and the turn goes on",
        all_errors,
        &messages.to_string(),
    );

    let question = actions[0]["id"].as_str().unwrap_or_default();
    let post =
        async |tail: String, body: Value| world.post(&format!("/chats/{id}{tail}"), &body).await;
    let ids: &dyn IdSource = &SystemIds::new();
    let nothing = ids.id::<shared::ids::OpId>();
    let once = json!({"decision": "once"});
    let answer = |label: &str| json!({"answers": [{"selected": [label]}]});
    rows.problem(
        "B21 approve nothing",
        &post(format!("/approvals/{nothing}"), once.clone()).await,
        404,
        "action_not_found",
    );
    rows.problem(
        "B21 approve a question",
        &post(format!("/approvals/{question}"), once.clone()).await,
        404,
        "action_not_found",
    );
    rows.problem("B21 approve no id", &post("/approvals/x".into(), once).await, 400, "invalid_id");
    let perhaps = json!({"decision": "perhaps"});
    rows.problem(
        "B21 decide perhaps",
        &post(format!("/approvals/{question}"), perhaps).await,
        400,
        "invalid_value",
    );
    let pattern = json!({"decision": "deny", "pattern": "*"});
    rows.problem(
        "B21 a rule for no",
        &post(format!("/approvals/{question}"), pattern).await,
        400,
        "invalid_value",
    );
    rows.problem(
        "B21 an answer that is no option",
        &post(format!("/answers/{question}"), answer("c")).await,
        400,
        "invalid_value",
    );
    rows.problem(
        "B21 no answer at all",
        &post(format!("/answers/{question}"), json!({})).await,
        400,
        "invalid_value",
    );
    let stale = json!({"answers": [{"selected": ["a"]}], "args_hash": "0"});
    rows.problem(
        "B21 an answer to something else",
        &post(format!("/answers/{question}"), stale).await,
        409,
        "action_mismatch",
    );
    let call = actions[1]["tool_call_id"].as_str().unwrap_or_default();
    let result = |id: &str| json!({"tool_call_id": id, "output": 1});
    rows.problem(
        "B21 results of nothing",
        &post("/tool-results".into(), json!({"results": []})).await,
        409,
        "client_result_missing",
    );
    let other = json!({"results": [result("other")]});
    rows.problem(
        "B21 a result nobody waits for",
        &post("/tool-results".into(), other).await,
        409,
        "client_result_unexpected",
    );
    let twice = json!({"results": [result(call), result(call)]});
    rows.problem(
        "B21 two results",
        &post("/tool-results".into(), twice).await,
        400,
        "client_result_duplicate",
    );
    let missing = json!({"results": [{"tool_call_id": call}]});
    rows.problem(
        "B21 a result without output",
        &post("/tool-results".into(), missing).await,
        400,
        "missing_field",
    );
    rows.problem(
        "B21 continue while it waits",
        &post("/continue".into(), json!({})).await,
        409,
        "chat_requires_action",
    );
    rows.problem(
        "B21 archive while it waits",
        &post("/archive".into(), json!({})).await,
        409,
        "chat_requires_action",
    );

    let answered = post(format!("/answers/{question}"), answer("a")).await;
    rows.fact("B21 an answer", answered.status == 200, &answered.json().to_string());
    rows.problem(
        "B21 a second answer",
        &post(format!("/answers/{question}"), answer("b")).await,
        409,
        "action_resolved",
    );
    let first = messages["items"][0]["id"].as_str().unwrap_or_default();
    let model = messages["items"][1]["id"].as_str().unwrap_or_default();
    let edit = async |message: &str| {
        let path = format!("/chats/{id}/messages/{message}");
        world.json("PATCH", &path, &world.bearer(), &text("again")).await
    };
    rows.problem("B21 edit the model's words", &edit(model).await, 409, "message_not_editable");
    rows.problem(
        "B21 edit nothing",
        &edit(&ids.id::<shared::ids::MessageId>().to_string()).await,
        404,
        "message_not_found",
    );
    rows.fact("B21 edit while it waits", edit(first).await.status == 200, "");
    rows.problem("B21 edit what is not shown", &edit(first).await, 404, "message_not_found");
    let sound = post("/reconcile".into(), json!({})).await;
    rows.fact("B21 reconcile what is sound", sound.status == 200, &sound.json().to_string());
    rows.report("B21");
    world.end().await;
}
