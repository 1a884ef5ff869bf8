//! What the product adds to a turn: to the first request, to each token, to each tool step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::api::Socket;
use tests::programs::Programs;

use crate::limits;
use crate::mock::{Mock, Script};
use crate::product::{now, start};
use crate::sample::{Row, RowSpec, Samples};

/// Turns that count; two more warm up.
const TURNS: usize = 30;
const WARM_UP: usize = 2;
/// Bare shells before and after.
const SHELLS: usize = 100;
const SCRIPT: Script = Script { tool_steps: 4, tokens: 100, pace: Duration::from_millis(5) };

#[derive(Default)]
struct Figures {
    to_request: Samples,
    first_token: Samples,
    token: Samples,
    step: Samples,
    over: Samples,
}

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let mock = Mock::start(SCRIPT).await?;
    let product = start().await?;
    let model = product.model("openai_compatible", &mock.base_url).await?;
    // The limits before and after ours, so that a machine that changes meanwhile changes both.
    let mut shell = Samples::default();
    limits::bare_spawn(&mut shell, "/bin/sh", &["-c", "true"], SHELLS)?;
    let mut limit = Figures::default();
    direct(&mut limit, &mock).await?;
    let ours = turns(&product, &mock, &model).await?;
    direct(&mut limit, &mock).await?;
    limits::bare_spawn(&mut shell, "/bin/sh", &["-c", "true"], SHELLS)?;
    let (direct, shell) = (limit, shell.p50());

    Ok(vec![
        RowSpec {
            metric: "message to first model request",
            unit: "ms",
            limit_is: "a client straight to the mock",
            goal: "at most 2 ms with a durable commit",
        }
        .row(&ours.to_request, direct.to_request.p50(), |ours, _| ours.p50() <= 2.0),
        RowSpec {
            metric: "first token forwarded",
            unit: "ms",
            limit_is: "a client straight to the mock",
            goal: "at most 0.4 ms",
        }
        .row(&ours.first_token, direct.first_token.p50(), |ours, _| ours.p50() <= 0.4),
        RowSpec {
            metric: "token forward",
            unit: "ms",
            limit_is: "a client straight to the mock",
            goal: "p50 at most 0.15 ms, p99 at most 0.8 ms",
        }
        .row(&ours.token, direct.token.p50(), |ours, _| {
            ours.p50() <= 0.15 && ours.p99().is_none_or(|p99| p99 <= 0.8)
        }),
        RowSpec {
            metric: "tool step (shell: true)",
            unit: "ms",
            limit_is: "a bare sh -c true",
            goal: "at most 3 ms, result durable",
        }
        .row(&ours.step, shell, |ours, _| ours.p50() <= 3.0),
        RowSpec {
            metric: "whole turn, 4 tool steps, 100 tokens",
            unit: "ms",
            limit_is: "4 bare shells",
            goal: "at most 15 ms over the mock's pace",
        }
        .row(&ours.over, 4.0 * shell, |ours, _| ours.p50() <= 15.0),
    ])
}

async fn turns(product: &Programs, mock: &Mock, model: &str) -> Result<Figures> {
    let mut figures = Figures::default();
    let content = json!([{"type": "text", "text": "go"}]);
    let chat = json!({"workspace_id": product.workspace_id, "model_id": model, "mode": "auto", "content": content});
    let created = product.api.post("/chats", &chat).await?;
    let id = created["chat"]["id"]
        .as_str()
        .with_context(|| format!("no chat id in {created}"))?
        .to_owned();
    let mut stream = product.api.socket(&format!("/chats/{id}/stream")).await?;
    stream.until(|event| event["type"] == "status" && event["status"] == "waiting").await?;
    for turn in 0..TURNS + WARM_UP {
        mock.take();
        let start = now();
        product
            .api
            .post(&format!("/chats/{id}/messages"), &json!({"content": content, "busy": "queue"}))
            .await?;
        let (seen, end) = tokens(&mut stream).await?;
        let log = mock.take();
        if turn < WARM_UP {
            continue;
        }
        figures.to_request.push(log.requests[0] - start);
        for (call, request) in log.calls_sent.iter().zip(log.requests.iter().skip(1)) {
            figures.step.push(request.saturating_duration_since(*call));
        }
        for (index, (sent, seen)) in log.tokens_sent.iter().zip(&seen).enumerate() {
            let late = seen.saturating_duration_since(*sent);
            if index == 0 { figures.first_token.push(late) } else { figures.token.push(late) }
        }
        let sending = log.tokens_sent[log.tokens_sent.len() - 1] - log.tokens_sent[0] + SCRIPT.pace;
        figures.over.push((end - start).saturating_sub(sending));
    }
    Ok(figures)
}

/// Reads one turn: when each token was first seen, and when the chat was at rest.
async fn tokens(stream: &mut Socket) -> Result<(Vec<Instant>, Instant)> {
    let mut seen: Vec<Instant> = Vec::new();
    let mut was_running = false;
    loop {
        let (text, at) = stream.frame().await?;
        while text.contains(&format!("t{:06} ", seen.len())) {
            seen.push(at);
        }
        let events: Value = serde_json::from_str(&text)?;
        for event in events.as_array().map_or(&[][..], Vec::as_slice) {
            if event["type"] == "status" {
                was_running |= event["status"] == "running";
                if was_running && event["status"] == "waiting" {
                    return Ok((seen, at));
                }
            }
        }
    }
}

/// The same model asked by a bare client: the floor of the harness.
async fn direct(figures: &mut Figures, mock: &Mock) -> Result<()> {
    let client = reqwest::Client::builder().tcp_nodelay(true).build()?;
    let history: Vec<Value> = std::iter::once(json!({"role": "user", "content": "go"}))
        .chain((0..SCRIPT.tool_steps).map(|_| json!({"role": "tool", "content": ""})))
        .collect();
    for _ in 0..TURNS / 2 {
        mock.take();
        let start = now();
        let mut response = client
            .post(format!("{}/chat/completions", mock.base_url))
            .json(&json!({"stream": true, "messages": history}))
            .send()
            .await?;
        let mut seen: Vec<Instant> = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let at = now();
            let text = String::from_utf8_lossy(&chunk);
            while text.contains(&format!("t{:06} ", seen.len())) {
                seen.push(at);
            }
        }
        let log = mock.take();
        figures.to_request.push(log.requests[0] - start);
        for (index, (sent, seen)) in log.tokens_sent.iter().zip(&seen).enumerate() {
            let late = seen.saturating_duration_since(*sent);
            if index == 0 { figures.first_token.push(late) } else { figures.token.push(late) }
        }
    }
    Ok(())
}
