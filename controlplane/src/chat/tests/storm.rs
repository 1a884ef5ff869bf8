//! Everything at once: chats, stops, queues, crashes, lost links and viewers that come and go, in
//! seeded schedules.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::doubles::Act;
use super::*;
use crate::chat::stream::Subscription;

/// A viewer that is cut off and resumes.
struct Viewer {
    client: ClientState,
    stream: Option<Subscription>,
}

fn improviser(seed: u64) -> impl FnMut(usize) -> Vec<Act> + Send {
    let mut rng = StdRng::seed_from_u64(seed);
    move |asked| {
        let mut acts = vec![Act::Text("let me see")];
        if rng.random_bool(0.45) {
            for nth in 0..rng.random_range(1..4_u32) {
                let id = format!("call_{asked}_{nth}");
                let lose = u32::from(rng.random_bool(0.1));
                let args = json!({"what": id, "live": "working", "lose": lose});
                acts.push(Act::call(&id, "act", args));
            }
        }
        if rng.random_bool(0.05) {
            acts.push(Act::Cut);
        }
        acts
    }
}

async fn storm(seed: u64) {
    let mut world = World::new().await;
    let mut rng = StdRng::seed_from_u64(seed);
    world.model.improvise(improviser(seed));
    let mut viewers: BTreeMap<ChatId, Viewer> = BTreeMap::new();
    for _ in 0..120 {
        let chats: Vec<ChatId> = viewers.keys().copied().collect();
        let some = (!chats.is_empty()).then(|| chats[rng.random_range(0..chats.len())]);
        match (rng.random_range(0..20_u32), some) {
            (0..3, _) | (_, None) => {
                let chat = world.begin("go").await;
                viewers.insert(chat, Viewer { client: ClientState::default(), stream: None });
            }
            (3..6, Some(chat)) => {
                let busy = [Busy::Queue, Busy::Steer, Busy::Interrupt];
                let busy = busy[rng.random_range(0..busy.len())];
                let say = Say {
                    content: vec![Part::Text { text: "more".into() }],
                    model_id: None,
                    effort: None,
                    busy,
                    key: None,
                };
                // A full queue is an answer too.
                let _ = world.engine.chats.send(world.user, chat, say).await;
            }
            (6..8, Some(chat)) => {
                // Refused when nothing runs.
                let _ = world.engine.chats.interrupt(world.user, chat).await;
            }
            (8, _) => {
                world.crash().await;
                viewers.values_mut().for_each(|viewer| viewer.stream = None);
                world.restart();
            }
            (9, Some(chat)) => {
                viewers.get_mut(&chat).expect("it was listed").stream = None;
            }
            (_, Some(chat)) => {
                let viewer = viewers.get_mut(&chat).expect("it was listed");
                look(&world, chat, viewer, rng.random_range(1..12)).await;
            }
        }
    }
    for (chat, mut viewer) in viewers {
        let row = world
            .until(chat, "rest", |row| {
                matches!(row.status, ChatStatus::Waiting | ChatStatus::Error)
                    && row.queue_length == 0
            })
            .await;
        assert_eq!(row.status, ChatStatus::Waiting, "{:?}", row.last_error);
        check(&world, chat).await;
        // Whatever it has seen, it ends equal to one that has just come.
        viewer.client.ready = false;
        viewer.stream = None;
        while !viewer.client.ready {
            look(&world, chat, &mut viewer, 1).await;
        }
        let fresh = world.watch(chat, |client| client.ready).await;
        assert_eq!(viewer.client.history(), fresh.history());
        assert_eq!(viewer.client.preview, fresh.preview);
        assert_eq!(viewer.client.status, fresh.status);
    }
    let effects = world.tools.ledger();
    let distinct: BTreeSet<&String> = effects.iter().collect();
    assert_eq!(distinct.len(), effects.len(), "an effect came twice");
}

/// Takes so many batches, if they come soon.
async fn look(world: &World, chat: ChatId, viewer: &mut Viewer, batches: usize) {
    let cursor = viewer.client.cursor.map(Ok);
    let stream = viewer.stream.get_or_insert_with(|| world.engine.streams.subscribe(chat, cursor));
    for _ in 0..batches {
        match tokio::time::timeout(Duration::from_millis(5), stream.next()).await {
            Ok(batch) => {
                batch.unwrap().iter().for_each(|envelope| viewer.client.apply(envelope));
            }
            Err(_) => return,
        }
    }
}

/// Each call has one result, and each good result one effect.
async fn check(world: &World, chat: ChatId) {
    let effects = world.tools.ledger();
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for row in world.history(chat).await {
        for stored in row.content {
            match stored.part {
                Part::ToolCall { tool_call_id, .. } => calls.push(tool_call_id),
                Part::ToolResult { tool_call_id, is_error, .. } => {
                    assert!(is_error || effects.contains(&tool_call_id), "a result from nowhere");
                    results.push(tool_call_id);
                }
                _ => {}
            }
        }
    }
    assert_eq!(calls, results, "every call has its result, in order, once");
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_in_a_storm() {
    for seed in 0..4 {
        storm(seed).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_in_another_storm() {
    for seed in 100..104 {
        storm(seed).await;
    }
}
