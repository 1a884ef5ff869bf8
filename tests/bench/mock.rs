//! A model that streams at a fixed pace in the Chat Completions format and notes when.
//!
//! A conversation's n-th request since its last user message gets the n-th tool call, until
//! `tool_steps` are done; then the text, one token at a time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::serve::ListenerExt;
use futures_util::StreamExt;
use serde_json::{Value, json};

/// What the mock plays.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Shell calls before the text.
    pub tool_steps: usize,
    /// Tokens of the text.
    pub tokens: usize,
    /// Pause between two tokens.
    pub pace: Duration,
}

/// When things happened at the mock, in order.
#[derive(Debug, Default)]
pub struct Log {
    /// A request had arrived whole.
    pub requests: Vec<Instant>,
    /// A tool call had been sent to its end.
    pub calls_sent: Vec<Instant>,
    /// A token was handed to the socket; its text is `t000042 `.
    pub tokens_sent: Vec<Instant>,
}

/// A running mock.
pub struct Mock {
    /// Base URL for a provider.
    pub base_url: String,
    log: Arc<Mutex<Log>>,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    log: Arc<Mutex<Log>>,
}

impl Mock {
    /// Starts on a free port of loopback.
    #[expect(clippy::disallowed_methods, reason = "a benchmark has no lifecycle")]
    pub async fn start(script: Script) -> Result<Self> {
        let log = Arc::new(Mutex::new(Log::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let app = Router::new()
            .route("/v1/chat/completions", post(answer))
            .with_state(Shared { script, log: Arc::clone(&log) });
        tokio::spawn(async move {
            axum::serve(listener.tap_io(|io| drop(io.set_nodelay(true))), app).await
        });
        Ok(Self { base_url, log })
    }

    /// Takes what was noted so far and starts anew.
    pub fn take(&self) -> Log {
        std::mem::take(&mut *self.log.lock().expect("no test panics with it"))
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
async fn answer(State(shared): State<Shared>, body: Bytes) -> Response {
    let arrived = Instant::now();
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    shared.log.lock().expect("not poisoned").requests.push(arrived);
    let done = steps_since_user(&request);
    let (sender, receiver) =
        tokio::sync::mpsc::channel::<Result<Bytes, std::convert::Infallible>>(64);
    tokio::spawn(async move {
        let chunk = |delta: Value, finish: Option<&str>| {
            let event = json!({"id": "bench", "object": "chat.completion.chunk", "model": "bench",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            Ok(Bytes::from(format!("data: {event}\n\n")))
        };
        if done < shared.script.tool_steps {
            let call = json!({"role": "assistant", "tool_calls": [{"index": 0, "id": format!("call_{arrived:?}"), "type": "function",
                "function": {"name": "execute", "arguments": "{\"command\":\"true\"}"}}]});
            let _ = sender.send(chunk(call, None)).await;
            let _ = sender.send(chunk(json!({}), Some("tool_calls"))).await;
            let _ = sender.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await;
            shared.log.lock().expect("not poisoned").calls_sent.push(Instant::now());
        } else {
            for token in 0..shared.script.tokens {
                shared.log.lock().expect("not poisoned").tokens_sent.push(Instant::now());
                let _ = sender.send(chunk(json!({"content": format!("t{token:06} ")}), None)).await;
                tokio::time::sleep(shared.script.pace).await;
            }
            let _ = sender.send(chunk(json!({}), Some("stop"))).await;
            let _ = sender.send(Ok(Bytes::from_static(b"data: [DONE]\n\n"))).await;
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(stream.boxed()))
        .expect("the head is valid")
}

/// Tool results after the last user message.
fn steps_since_user(request: &Value) -> usize {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    messages
        .iter()
        .rev()
        .take_while(|m| m["role"] != "user")
        .filter(|m| m["role"] == "tool")
        .count()
}
