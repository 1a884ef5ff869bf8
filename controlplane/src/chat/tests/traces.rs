//! What is recorded of turns, and that it never costs one anything.

use serde_json::{Value, json};

use super::doubles::Act;
use super::*;
use crate::chat::trace::{Sent, rebuild};
use crate::llm::ProviderErrorKind;
use crate::store::{SpanKind, SpanRow, SpanStatus};

impl World {
    /// Ends the engine as a stop does; what was recorded is stored then.
    async fn stop(&mut self) {
        let lifecycle = self.engine.lifecycle.clone();
        lifecycle.stop();
        lifecycle.shut_down(PATIENCE).await;
    }

    async fn spans(&self, chat: ChatId) -> Vec<SpanRow> {
        let mut spans = self.store.traces.page(chat, None, 2_000).await.unwrap();
        spans.reverse();
        spans
    }
}

fn of_kind(spans: &[SpanRow], kind: SpanKind) -> Vec<&SpanRow> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[tokio::test]
async fn every_turn_step_attempt_and_tool_is_a_span_under_its_parent() {
    let mut world = World::new().await;
    world.model.answers([
        vec![Act::Fail(ProviderErrorKind::Overloaded)],
        vec![
            Act::call("a", "act", json!({"what": "a"})),
            Act::call("b", "act", json!({"what": "b", "panic": true})),
        ],
        vec![Act::Text("done")],
    ]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    world.stop().await;
    let spans = world.spans(chat).await;
    let turns = of_kind(&spans, SpanKind::Turn);
    let steps = of_kind(&spans, SpanKind::Step);
    let attempts = of_kind(&spans, SpanKind::Attempt);
    let tools = of_kind(&spans, SpanKind::Tool);
    assert_eq!([turns.len(), steps.len(), attempts.len(), tools.len()], [1, 2, 3, 2], "{spans:#?}");
    assert!(steps.iter().all(|step| step.parent.as_ref() == Some(&turns[0].key)));
    let of_first = |span: &&&SpanRow| span.parent.as_ref() == Some(&steps[0].key);
    assert_eq!(attempts.iter().filter(of_first).count(), 2, "a retry is an attempt of its step");
    assert_eq!(tools.iter().filter(of_first).count(), 2);
    let statuses: Vec<SpanStatus> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [SpanStatus::Error, SpanStatus::Ok, SpanStatus::Ok]);
    assert_eq!(attempts[0].attributes["error.type"], "provider_overloaded");
    assert_eq!(attempts[1].attributes["gen_ai.operation.name"], "chat");
    assert_eq!(attempts[1].attributes["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert!(spans.iter().all(|span| span.ended_at_ms.is_some()), "{spans:#?}");
    let failed = tools.iter().filter(|tool| tool.status == SpanStatus::Error);
    assert_eq!(failed.count(), 1);
    let phases = ["queue", "transfer", "execute", "return"];
    for phase in phases {
        let ms = &tools[0].attributes[format!("holdfast.{phase}_ms")];
        assert!(ms.as_f64().is_some_and(|ms| ms >= 0.0), "{phase}: {ms}");
    }
}

#[tokio::test]
async fn running_spans_are_seen_live_and_an_interrupt_ends_them() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::call("a", "act", json!({"what": "a", "gate": "never"}))]]);
    let chat = world.begin("go").await;
    world.until(chat, "the tool", |row| row.unanswered == 1).await;
    world.watch(chat, |client| !client.preview.is_empty()).await;
    let live = world.engine.recorder.live(chat);
    let running = |kind: SpanKind| {
        live.iter().any(|span| span.kind == kind && span.status == SpanStatus::Running)
    };
    assert!(running(SpanKind::Turn) && running(SpanKind::Step) && running(SpanKind::Tool));
    world.engine.chats.interrupt(world.user, chat).await.unwrap();
    world.until_rest(chat).await;
    world.stop().await;
    let spans = world.spans(chat).await;
    assert_eq!(of_kind(&spans, SpanKind::Turn)[0].status, SpanStatus::Interrupted);
    assert!(spans.iter().all(|span| span.ended_at_ms.is_some()), "{spans:#?}");
}

#[tokio::test]
async fn what_a_dead_replica_left_open_goes_on_or_is_lost() {
    let mut world = World::new().await;
    world.model.answers([vec![Act::Gate("never")], vec![Act::Text("kept")]]);
    let chat = world.begin("go").await;
    world.model.asked(1).await;
    // The spans are written while they run.
    let written = tokio::time::timeout(PATIENCE, async {
        while world.spans(chat).await.is_empty() {
            tokio::task::yield_now().await;
        }
    });
    written.await.expect("running spans are written too");
    world.crash().await;
    world.restart();
    world.until_rest(chat).await;
    world.stop().await;
    let spans = world.spans(chat).await;
    assert_eq!(of_kind(&spans, SpanKind::Turn)[0].status, SpanStatus::Ok, "{spans:#?}");
    let attempts = of_kind(&spans, SpanKind::Attempt);
    let statuses: Vec<SpanStatus> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [SpanStatus::Lost, SpanStatus::Ok]);
}

#[tokio::test]
async fn the_request_of_every_attempt_is_made_again_exactly_over_compactions_too() {
    let mut world = World::new().await;
    world.model.window(6_000);
    world.model.answers((0..12).map(|number| {
        let args = json!({"what": "sk-secret-0123456789", "bytes": 1_500 + number});
        vec![Act::Text("I go on."), Act::call(&format!("c{number}"), "act", args)]
    }));
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    world.stop().await;
    let history = world.history(chat).await;
    let spans = world.spans(chat).await;
    let attempts = of_kind(&spans, SpanKind::Attempt);
    assert!(of_kind(&spans, SpanKind::Compaction).len() == 1 && attempts.len() == 14, "{spans:#?}");
    for attempt in &attempts {
        let sent: Sent =
            serde_json::from_value(attempt.attributes["holdfast.prompt"].clone()).unwrap();
        let head = world.store.traces.head(&sent.head).await.unwrap().expect("the head is kept");
        let request = rebuild(&sent, &head, &history, chat.to_string()).unwrap();
        assert!(request.exact, "{}", attempt.key);
        let text = request.body.to_string();
        assert!(!text.contains("sk-secret"), "a key is shown");
    }
    // The cache breaks where the history was made shorter, and nowhere else.
    let reasons: Vec<&str> = attempts
        .iter()
        .filter_map(|attempt| attempt.attributes["holdfast.cache"]["break_reason"].as_str())
        .filter(|reason| *reason != "none")
        .collect();
    assert_eq!(reasons, ["first", "messages_changed"]);
    let last = attempts.last().unwrap();
    let mut sent: Value = last.attributes["holdfast.prompt"].clone();
    sent["digest"] = json!("another");
    let sent: Sent = serde_json::from_value(sent).unwrap();
    let head = world.store.traces.head(&sent.head).await.unwrap().unwrap();
    assert!(!rebuild(&sent, &head, &history, chat.to_string()).unwrap().exact);
}

#[tokio::test]
async fn usage_is_entered_with_the_step_and_unknown_counts_are_no_zeros() {
    let world = World::new().await;
    world.model.answers([vec![Act::Text("one")]]);
    let chat = world.begin("go").await;
    world.until_rest(chat).await;
    let sums = world.store.usage.sums(world.user, (0, i64::MAX), 10).await.unwrap();
    assert_eq!(sums.len(), 1);
    assert_eq!((sums[0].calls, sums[0].unknown_calls, sums[0].output), (1, 1, 0));
}
