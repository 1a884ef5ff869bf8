//! The built-in scenario with its real commands: what a newcomer sees first must work everywhere.

use std::sync::Arc;

use controlplane::chat::content::{Part, Role, StoredPart};
use controlplane::llm::{
    Event, LlmClient, Prompt, PromptMessage, Provider, ProviderKind, ProviderSettings, Registry,
};
use futures_util::StreamExt;
use serde_json::Map;
use shared::clock::SystemClock;

use crate::world::World;

/// Plays one turn to rest; comes back with the results and the last text.
async fn play(world: &World, said: &str) -> (Vec<Part>, String) {
    let registry = Registry::new(LlmClient::new(Arc::new(SystemClock)).unwrap());
    let settings = ProviderSettings {
        kind: ProviderKind::Scripted,
        name: "Demo".to_owned(),
        base_url: None,
        key: None,
    };
    let provider = registry.provider(&settings).unwrap();
    let said = Part::Text { text: said.to_owned() };
    let mut history = vec![PromptMessage { role: Role::User, parts: vec![said.into()] }];
    let mut results = Vec::new();
    loop {
        let Some(parts) = step(&*provider, &history).await else { continue };
        let mut batch = Vec::new();
        let mut text = String::new();
        for part in &parts {
            match &part.part {
                Part::Text { text: said } => text.clone_from(said),
                Part::ToolCall { tool_call_id, name, args } => {
                    let outcome = world.run(name, args).await;
                    batch.push(Part::ToolResult {
                        tool_call_id: tool_call_id.clone(),
                        name: name.clone(),
                        result: outcome.result,
                        is_error: outcome.is_error,
                        duration_ms: 0,
                    });
                }
                _ => {}
            }
        }
        if batch.is_empty() {
            return (results, text);
        }
        history.push(PromptMessage { role: Role::Assistant, parts });
        let parts = batch.iter().cloned().map(StoredPart::from).collect();
        history.push(PromptMessage { role: Role::Tool, parts });
        results.extend(batch);
    }
}

/// One model call; none: it failed on purpose.
async fn step(provider: &dyn Provider, history: &[PromptMessage]) -> Option<Vec<StoredPart>> {
    let prompt = Prompt {
        ask: None,
        model: "scripted".to_owned(),
        system: String::new(),
        messages: history.to_vec(),
        tools: Vec::new(),
        max_output_tokens: 1,
        options: Map::new(),
        cache_key: "demo".to_owned(),
        files: Default::default(),
    };
    let mut stream = provider.stream(prompt).await.unwrap();
    let mut parts = Vec::new();
    while let Some(event) = stream.next().await {
        if let Event::PartDone { part, .. } = event.ok()? {
            parts.push(*part);
        }
    }
    Some(parts)
}

fn bad(results: &[Part]) -> Vec<&Part> {
    results.iter().filter(|part| matches!(part, Part::ToolResult { is_error: true, .. })).collect()
}

#[tokio::test]
async fn the_tour_works_in_a_repository_and_in_an_empty_folder() {
    for files in [vec![], vec![("README.md", "# Kelp\n\nhello\n"), ("main.rs", "fn main() {}\n")]] {
        let world = World::new().await;
        for (name, content) in &files {
            std::fs::write(world.root().join(name), content).unwrap();
        }
        let (results, last) = play(&world, "hello").await;
        assert!(bad(&results).is_empty(), "{results:#?}");
        assert!(last.contains(&format!("| Entries at the root | {} |", files.len())), "{last}");
        assert!(last.contains("machine") && !last.contains("{{"), "{last}");
    }
}

#[tokio::test]
async fn a_note_is_written_edited_and_read() {
    let world = World::new().await;
    let (results, last) = play(&world, "please write a note").await;
    assert!(bad(&results).is_empty(), "{results:#?}");
    assert!(last.contains("Status: held fast"), "{last}");
    let note = std::fs::read_to_string(world.root().join("holdfast-note.md")).unwrap();
    assert!(note.contains("You asked: please write a note"), "{note}");
}

#[tokio::test]
async fn something_slow_runs_in_the_background_and_is_ended() {
    let world = World::new().await;
    let (results, _) = play(&world, "show something slow").await;
    assert!(bad(&results).is_empty(), "{results:#?}");
    assert_eq!(results.len(), 4);
}

#[tokio::test]
async fn a_failure_is_tried_again_and_a_failed_command_is_shown() {
    let world = World::new().await;
    let (results, last) = play(&world, "show me a failure").await;
    assert!(bad(&results).is_empty(), "{results:#?}");
    assert!(last.contains("no-such-directory") && !last.contains("**?**"), "{last}");
}
