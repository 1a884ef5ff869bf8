//! Nobody who uses a deployment has to know which server does what.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::api::Api;
use tests::deployment::{Deployment, Plan};
use tests::stream::{ChatStream, prose, transcript};
use tests::world::execute;

/// Begins a chat at `api`; its id.
pub async fn begin(api: &Api, workspace: Option<&str>, text: &str) -> Result<String> {
    let body = json!({"workspace_id": workspace, "content": [{"type": "text", "text": text}]});
    let made = api.post("/chats", &body).await?;
    Ok(made["chat"]["id"].as_str().with_context(|| format!("no chat in {made}"))?.to_owned())
}

fn scenario() -> Value {
    json!({"pace_ms": 1, "turns": [
        {"match": "work", "steps": [
            [{"say": "I look. "}, execute("echo ran >> ledger; for n in 1 2 3; do echo line $n; done")],
            [{"say": "Three lines."}],
        ]},
        {"match": "talk", "steps": [[{"say": "one two three four five six seven"}]]},
    ]})
}

/// A daemon at one server, everything else at the other: the same as at one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_of_one_server_serves_all_of_them() -> Result<()> {
    let Some(mut deployment) = Deployment::start(Plan::quick(5)).await? else { return Ok(()) };
    deployment.scripted(&scenario()).await?;
    let daemon = deployment.join(0).await?;
    let workspace = deployment.daemons[daemon].workspace_id.clone();
    let (a, b) = (deployment.servers[0].api.clone(), deployment.servers[1].api.clone());

    // The other server shows it as connected, and says so to who lists.
    let mut events = b.socket("/events").await?;
    events.until(|event| event["type"] == "ready").await?;
    let path = format!("/workspaces/{workspace}");
    if b.get(&path).await?["status"] != "connected" {
        let is_up = |event: &Value| {
            event["workspace"]["id"] == workspace.as_str()
                && event["workspace"]["status"] == "connected"
        };
        events.until(is_up).await.with_context(|| deployment.logs())?;
    }

    // A process: started at B, followed at B and at A.
    let started = b
        .post(&format!("{path}/processes"), &json!({"command": "echo from afar; exit 7"}))
        .await
        .with_context(|| deployment.logs())?;
    let process = started["id"].as_str().with_context(|| format!("no id in {started}"))?;
    for api in [&b, &a] {
        let end = api.wait_process(&workspace, process).await?;
        ensure!(end.to_string().contains('7'), "the end is {end}");
    }

    // A turn with a tool: asked at B, seen at both from the first word on.
    let chat = begin(&b, Some(&workspace), "please work").await?;
    let mut seen = Vec::new();
    for api in [&a, &b] {
        let mut stream = ChatStream::open(api, &chat).await?;
        stream.until_rest().await.with_context(|| deployment.logs())?;
        seen.push(transcript(&stream.state));
    }
    ensure!(seen[0] == seen[1], "{seen:#?}");
    ensure!(seen[0].contains(&"execute answered".to_owned()), "{seen:#?}");
    ensure!(deployment.daemons[daemon].ledger() == ["ran"]);
    Ok(())
}

/// Viewers at both servers see a preview while it grows, whoever drives the chat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_is_seen_at_every_server_while_it_grows() -> Result<()> {
    let Some(deployment) = Deployment::start(Plan::quick(5)).await? else { return Ok(()) };
    let slow = json!({"pace_ms": 20, "turns": [
        {"match": "talk", "steps": [[{"say": (0..60).map(|n| format!("{n} ")).collect::<String>()}]]},
    ]});
    deployment.scripted(&slow).await?;
    for (from, to) in [(0, 1), (1, 0)] {
        let chat = begin(&deployment.servers[from].api, None, "talk").await?;
        let mut far = ChatStream::open(&deployment.servers[to].api, &chat).await?;
        let has_preview = |state: &controlplane::chat::client::ClientState| {
            state.preview.values().any(|part| part.text.contains("1 2"))
        };
        far.until("the other server shows a preview", has_preview)
            .await
            .with_context(|| deployment.logs())?;
        let state = far.until_rest().await?;
        let said = state.history().last().map(|last| prose(&last.content)).unwrap_or_default();
        ensure!(said.starts_with("0 1 2") && said.trim_end().ends_with("59"), "{said}");
    }
    Ok(())
}

/// Elsewhere a relay was dialled in the loop that served viewers, and one that broke stayed away. Here
/// the server that speaks is paused: nobody at the other one waits for it, and then all of it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_cannot_be_dialled_holds_nobody_up_and_is_opened_again() -> Result<()> {
    // Neither the lease nor the links end meanwhile.
    let Some(deployment) = Deployment::start(Plan::quick(60)).await? else { return Ok(()) };
    let long: String = (0..400).map(|n| format!("{n} ")).collect();
    let scenario = json!({"pace_ms": 20, "turns": [
        {"match": "talk", "steps": [[{"say": long}]]},
        {"match": "short", "steps": [[{"say": "Yes."}]]},
    ]});
    deployment.scripted(&scenario).await?;
    let [speaking, other] = &deployment.servers[..] else { anyhow::bail!("there are two") };
    let chat = begin(&speaking.api, None, "talk").await?;
    let mut early = ChatStream::open(&other.api, &chat).await?;
    let grows = |state: &controlplane::chat::client::ClientState| {
        state.preview.values().any(|part| part.text.contains("1 2"))
    };
    early.until("the preview is relayed", grows).await.with_context(|| deployment.logs())?;
    let second = begin(&speaking.api, None, "talk").await?;
    speaking.signal(Signal::SIGSTOP)?;
    // Of the one chat there is a relay that fell silent; of the other, none could be dialled.
    let mut late = ChatStream::open(&other.api, &second).await?;
    late.until("who comes now is told what is stored", |state| state.ready).await?;
    let beside = begin(&other.api, None, "short").await?;
    ChatStream::open(&other.api, &beside).await?.until_rest().await?;
    speaking.signal(Signal::SIGCONT)?;
    late.until("the relay is opened", grows).await.with_context(|| deployment.logs())?;
    for stream in [&mut early, &mut late] {
        let state = stream.until_rest().await.with_context(|| deployment.logs())?;
        let said = state.history().last().map(|last| prose(&last.content)).unwrap_or_default();
        ensure!(said.trim_end() == long.trim_end(), "{said}");
    }
    Ok(())
}
