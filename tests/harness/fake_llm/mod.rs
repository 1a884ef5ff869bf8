//! A model server that answers as it is told, in both wire formats, and checks what it is asked.
//!
//! A *script* belongs to a model's name. It is a list of positions, one per step; a position is a
//! list of answers, one per attempt, the last of which repeats. The position of a request is the
//! number of the assistant's messages in its history, so a control plane that was killed and asks
//! again is answered again.
//!
//! ```text
//! request ──► check (orphaned calls and results, ids, roles …) ──► 400, and a violation to assert on
//!                    │ fine
//!                    ▼
//!             script[model][position][attempt] ──► Messages or Chat Completions, streamed, broken as told
//! ```

mod answer;
mod check;
mod format;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use answer::{Answer, Ending};
pub use check::problems;
pub use format::Format;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it was there as a whole.
    pub arrived: Instant,
    /// Which wire format.
    pub format: Format,
    /// The model's name.
    pub model: String,
    /// The first text of the first user message: which chat it is.
    pub conversation: String,
    /// Assistant's messages in its history.
    pub position: usize,
    /// How often this position of this conversation was asked before.
    pub attempt: usize,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Value,
}

/// A running fake. Ends when it is dropped.
pub struct FakeLlm {
    root: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Served>,
    arrived: watch::Sender<usize>,
}

#[derive(Default)]
struct Served {
    scripts: HashMap<String, Vec<Vec<Answer>>>,
    requests: Vec<Recorded>,
    violations: Vec<String>,
}

impl FakeLlm {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let root = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let app = Router::new()
            .route("/v1/messages", post(messages))
            .route("/v1/chat/completions", post(completions))
            .route("/v1/models", get(models))
            .with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the fake model server ended: {error}");
            }
        });
        Ok(Self { root, shared, _serving: serving })
    }

    /// Base URL for a provider of this format.
    #[must_use]
    pub fn base_url(&self, format: Format) -> String {
        match format {
            Format::Anthropic => self.root.clone(),
            Format::Chat => format!("{}/v1", self.root),
        }
    }

    /// Sets the answers of a model: one per step, the same at every attempt.
    pub fn play(&self, model: &str, steps: impl IntoIterator<Item = Answer>) {
        self.play_attempts(model, steps.into_iter().map(|answer| vec![answer]));
    }

    /// Sets the answers of a model: per step a list of attempts, the last of which repeats. After
    /// the last step the model says `Done.`
    pub fn play_attempts(&self, model: &str, steps: impl IntoIterator<Item = Vec<Answer>>) {
        let steps = steps.into_iter().collect();
        self.shared.locked(|served| served.scripts.insert(model.to_owned(), steps));
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.locked(|served| served.requests.clone())
    }

    /// What was wrong with requests. A test ends with asserting that this is empty.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.locked(|served| served.violations.clone())
    }

    /// Waits until `count` requests have arrived since the start.
    ///
    /// # Errors
    /// After `within`, saying how many there are.
    pub async fn wait_for_requests(&self, count: usize, within: Duration) -> Result<()> {
        let mut arrived = self.shared.arrived.subscribe();
        let enough = arrived.wait_for(|arrived| *arrived >= count);
        if tokio::time::timeout(within, enough).await.is_err() {
            bail!("{} of {count} model requests arrived within {within:?}", self.requests().len());
        }
        Ok(())
    }
}

impl Shared {
    fn locked<T>(&self, work: impl FnOnce(&mut Served) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn messages(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    respond(&shared, Format::Anthropic, &headers, &body)
}

async fn completions(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    respond(&shared, Format::Chat, &headers, &body)
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let mut names: Vec<String> = shared.locked(|served| served.scripts.keys().cloned().collect());
    names.sort();
    let models: Vec<Value> = names.iter().map(|name| json!({ "id": name })).collect();
    axum::Json(json!({ "object": "list", "data": models })).into_response()
}

fn respond(shared: &Shared, format: Format, headers: &HeaderMap, body: &[u8]) -> Response {
    let body: Value = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => return refuse(shared, format, &[format!("the body is not JSON: {error}")]),
    };
    let problems = problems(format, &body);
    let model = body["model"].as_str().unwrap_or("").to_owned();
    let headers = headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let answer = shared.locked(|served| {
        let conversation = format::conversation(&body);
        let position = format::position(&body);
        let same = |request: &&Recorded| {
            request.model == model
                && request.conversation == conversation
                && request.position == position
        };
        let attempt = served.requests.iter().filter(same).count();
        let answer = served.scripts.get(&model).map(|steps| pick(steps, position, attempt));
        served.requests.push(Recorded {
            arrived: Instant::now(),
            format,
            model: model.clone(),
            conversation,
            position,
            attempt,
            headers,
            body,
        });
        answer
    });
    shared.arrived.send_modify(|arrived| *arrived += 1);
    if !problems.is_empty() {
        return refuse(shared, format, &problems);
    }
    match answer {
        Some(answer) => answer.respond(format, &model),
        None => format.error(404, "not_found_error", &format!("model: {model}")),
    }
}

fn pick(steps: &[Vec<Answer>], position: usize, attempt: usize) -> Answer {
    let done = || Answer::text("Done.");
    let Some(attempts) = steps.get(position) else { return done() };
    attempts.get(attempt).or(attempts.last()).cloned().unwrap_or_else(done)
}

fn refuse(shared: &Shared, format: Format, problems: &[String]) -> Response {
    shared.locked(|served| served.violations.extend_from_slice(problems));
    format.error(400, "invalid_request_error", &problems.join("; "))
}
