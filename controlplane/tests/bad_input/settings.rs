//! Settings, fallbacks and checks after edits: fields that say what cannot be.

use serde_json::{Value, json};

use super::rows::Rows;
use super::world::World;

impl World {
    async fn patch(&self, path: &str, body: &Value) -> super::world::Answer {
        self.json("PATCH", path, &self.bearer(), body).await
    }
}

#[tokio::test]
async fn b09_settings_that_cannot_be_are_refused_with_their_place() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let nobody = "model_01J00000000000000000000000";
    let cases = [
        (
            "B09 no model named",
            json!({"naming": {"by": "model"}}),
            "missing_field",
            "/naming/model_id",
        ),
        (
            "B09 no such model",
            json!({"naming": {"by": "model", "model_id": nobody}}),
            "invalid_value",
            "/naming/model_id",
        ),
        (
            "B09 a model and nobody",
            json!({"naming": {"by": "off", "model_id": nobody}}),
            "invalid_value",
            "/naming/model_id",
        ),
        ("B09 by whom?", json!({"naming": {"by": "them"}}), "invalid_value", "/naming/by"),
        ("B09 unknown setting", json!({"nameing": {}}), "unknown_field", "/nameing"),
    ];
    for (row, body, code, pointer) in cases {
        let answer = world.patch("/settings", &body).await;
        rows.problem(row, &answer, 400, code);
        let place = answer.json()["errors"][0]["pointer"].clone();
        rows.fact(row, place == pointer, &place.to_string());
    }
    let kept = world.get("/settings").await.json();
    rows.fact("B09 nothing is kept", kept["naming"]["by"] == "auto", &kept.to_string());
    let answer = world.patch("/settings", &json!({"naming": {"by": "off"}})).await;
    rows.fact("B09 what can be is kept", answer.json()["naming"]["by"] == "off", &answer.head);

    let made = world.post("/workspaces", &json!({"name": "box"})).await.json();
    let path = format!("/workspaces/{}", made["id"].as_str().unwrap());
    let long = "x".repeat(5_000);
    for (row, check, code) in [
        ("B09 no time", json!({"command": "make", "timeout_s": 0}), "out_of_range"),
        ("B09 too much time", json!({"command": "make", "timeout_s": 601}), "out_of_range"),
        ("B09 a long command", json!({"command": long}), "out_of_range"),
        ("B09 no command", json!({"timeout_s": 5}), "missing_field"),
    ] {
        let answer = world.patch(&path, &json!({"edit_check": check})).await;
        rows.problem(row, &answer, 400, code);
    }
    let kept = world.get(&path).await.json();
    rows.fact("B09 no check is kept", kept["edit_check"] == Value::Null, &kept.to_string());
    let check = json!({"edit_check": {"command": "make"}});
    let kept = world.patch(&path, &check).await.json()["edit_check"].clone();
    rows.fact(
        "B09 a check",
        kept == json!({"command": "make", "timeout_s": 120}),
        &kept.to_string(),
    );
    let kept = world.patch(&path, &json!({"edit_check": null})).await.json();
    rows.fact("B09 and none again", kept["edit_check"] == Value::Null, &kept.to_string());

    let provider = json!({"kind": "scripted", "name": "script"});
    let provider = world.post("/providers", &provider).await.json()["id"].clone();
    let model = json!({"provider_id": provider, "model": "one"});
    let model = world.post("/models", &model).await.json();
    let path = format!("/models/{}", model["id"].as_str().unwrap_or_default());
    for (row, id) in [("B09 itself", model["id"].clone()), ("B09 nobody", json!(nobody))] {
        let answer = world.patch(&path, &json!({"fallback_model_id": id})).await;
        rows.problem(row, &answer, 400, "invalid_value");
    }
    rows.report("B09 settings");
    world.end().await;
}
