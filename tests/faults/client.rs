//! The person of a turn: asks, waits, changes what was said. Every act may be begun anew: where an
//! answer was lost with the server, what is there tells whether it was done.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::api::Api;

use crate::turn::{Kind, Turn};

/// Plays the turn to its end; the chat's id.
pub async fn play(api: &Api, workspace_id: &str, turn: &Turn, mode: &str) -> Result<String> {
    let chat = ask(api, workspace_id, turn, mode).await?;
    at_rest(api, &chat).await?;
    match turn.kind {
        Kind::Plain | Kind::Family => return Ok(chat),
        Kind::Edited => edit(api, &chat, turn).await?,
        Kind::Compacted => compact(api, &chat).await?,
    }
    at_rest(api, &chat).await?;
    Ok(chat)
}

/// Creates the chat, with a key that makes a repeat harmless; its id.
async fn ask(api: &Api, workspace_id: &str, turn: &Turn, mode: &str) -> Result<String> {
    let body = json!({
        "workspace_id": workspace_id, "model_id": turn.model_ids[0], "mode": mode,
        "content": [{"type": "text", "text": turn.text()}],
    });
    let made = api.post_idempotent("/chats", &body, &turn.id).await?;
    Ok(made["chat"]["id"].as_str().with_context(|| format!("no chat id in {made}"))?.to_owned())
}

/// Rewords the first message, unless that is done.
async fn edit(api: &Api, chat: &str, turn: &Turn) -> Result<()> {
    let messages = api.messages(chat).await?;
    let first = messages.first().context("the chat has a first message")?;
    if first["content"][0]["text"] == turn.reworded() {
        return Ok(());
    }
    let id = first["id"].as_str().context("a message has an id")?;
    let body = json!({
        "model_id": turn.model_ids[1],
        "content": [{"type": "text", "text": turn.reworded()}],
    });
    let path = format!("/chats/{chat}/messages/{id}");
    let (status, answer) = api.request("PATCH", &path, Some(&body)).await?;
    ensure!(status == 200, "PATCH {path} answered {status}: {answer}");
    Ok(())
}

/// Has the history made shorter, unless that was asked for.
async fn compact(api: &Api, chat: &str) -> Result<()> {
    if is_compact_asked(&api.messages(chat).await?) {
        return Ok(());
    }
    api.post(&format!("/chats/{chat}/compact"), &json!({})).await.map(drop)
}

/// The request is a notice in the history, and so durable before it is carried out.
fn is_compact_asked(messages: &[Value]) -> bool {
    let parts = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    let mut kinds = parts.map(|part| &part["type"]);
    kinds.any(|kind| kind == "notice" || kind == "compaction")
}

/// Waits until the chat's turn has ended, by its stream. Whatever a person is asked, is allowed:
/// again, where nobody knows whether it was.
async fn at_rest(api: &Api, chat: &str) -> Result<()> {
    let mut stream = api.socket(&format!("/chats/{chat}/stream")).await?;
    let mut answered = false;
    loop {
        let event: Value = stream.event().await?;
        match event["type"].as_str() {
            Some("action_required") => {
                for action in event["actions"].as_array().into_iter().flatten() {
                    let id = action["id"].as_str().context("an action has an id")?;
                    let body = json!({"decision": "once", "args_hash": action["args_hash"]});
                    // Decided already: the event was on its way.
                    let _ = api.post(&format!("/chats/{chat}/approvals/{id}"), &body).await;
                }
            }
            Some("message") => answered |= event["message"]["role"] == "assistant",
            Some("status") if event["status"] == "error" => bail!("the chat stopped with an error"),
            Some("status") if event["status"] == "waiting" && answered => return Ok(()),
            _ => {}
        }
    }
}
