//! P05: streams are the same from every server, with no gap, no repeat, in the right order.
//!
//! ```text
//! chats that count, on either server; now and then one is taken from its worker
//! viewers: attach at a drawn server ─► some events ─► detach ─► attach elsewhere, by cursor or anew
//! ```
//!
//! The answer is known, so what a viewer has of it must be its beginning, at every moment.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use controlplane::chat::client::ClientState;
use controlplane::chat::event::{ChatEvent, ChatStatus, PreviewKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use shared::testing::{Distribution, trials};
use tests::api::Api;
use tests::deployment::{Deployment, Plan};
use tests::stream::{ChatStream, prose};

const VIEWERS: u64 = 20;
const CHATS: usize = 8;
/// Events that a viewer takes before it goes.
const EVENTS: std::ops::Range<usize> = 1..30;

fn answer() -> String {
    (0..150).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
}

/// What everybody shares.
struct Shared {
    apis: Vec<Api>,
    chats: Vec<String>,
    left: AtomicUsize,
    over: AtomicBool,
    first_parts: Mutex<Vec<Duration>>,
    /// Episodes of which somebody has seen text, by chat.
    spoken: Mutex<HashMap<String, (i64, i64)>>,
    empty_while_running: AtomicUsize,
}

impl Shared {
    fn api(&self, rng: &mut StdRng) -> &Api {
        &self.apis[rng.random_range(0..self.apis.len())]
    }
}

/// The text of the running answer.
fn preview(state: &ClientState) -> String {
    let text = state.preview.values().filter(|part| part.kind == PreviewKind::Text);
    text.map(|part| part.text.as_str()).collect()
}

/// Nothing but the beginning of the answer, nothing stored but the whole of it.
fn check(state: &ClientState, whole: &str) -> Result<()> {
    let text = preview(state);
    ensure!(whole.starts_with(&text), "not the beginning of the answer: {text:?}");
    for message in state.history().iter().filter(|it| it.role.as_str() == "assistant") {
        let said = prose(&message.content);
        ensure!(said == whole, "not the answer: {said:?}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
async fn view(shared: Arc<Shared>, seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let whole = answer();
    let mut places = HashMap::new();
    while shared
        .left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
    {
        let chat = &shared.chats[rng.random_range(0..shared.chats.len())];
        let api = shared.api(&mut rng);
        let begun = Instant::now();
        let before = places.remove(chat).filter(|_| rng.random_bool(0.7));
        let mut stream = match before {
            Some(gone) => tests::stream::Gone::resume(gone, api, chat).await?,
            None => ChatStream::open(api, chat).await?,
        };
        let mut first_part = None;
        for _ in 0..rng.random_range(EVENTS) {
            match stream.step().await? {
                ChatEvent::Part { .. } => {
                    first_part.get_or_insert_with(|| begun.elapsed());
                }
                ChatEvent::Ready => {
                    let episode = stream.state.cursor.map(|it| (it.history, it.attempt));
                    let spoken = shared.spoken.lock().ok().and_then(|all| all.get(chat).copied());
                    let runs = stream.state.status == Some(ChatStatus::Running);
                    if runs
                        && spoken.is_some()
                        && spoken == episode
                        && preview(&stream.state).is_empty()
                    {
                        shared.empty_while_running.fetch_add(1, Ordering::SeqCst);
                    }
                }
                ChatEvent::Ping => break, // the chat rests
                _ => {}
            }
            check(&stream.state, &whole).with_context(|| format!("viewer {seed} of {chat}"))?;
            let rests = stream.state.ready && stream.state.status == Some(ChatStatus::Waiting);
            if rests {
                break;
            }
        }
        if let (Some(time), Ok(mut times)) = (first_part, shared.first_parts.lock()) {
            times.push(time);
        }
        places.insert(chat.clone(), stream.cut());
    }
    Ok(())
}

/// Lets one chat answer again and again, and takes it from its worker in the middle.
async fn drive(shared: Arc<Shared>, deployment: &Deployment, at: usize) -> Result<(usize, usize)> {
    let mut rng = StdRng::seed_from_u64(1_000 + at as u64);
    let (chat, whole) = (&shared.chats[at], answer());
    let (mut turns, mut moves) = (0, 0);
    while !shared.over.load(Ordering::SeqCst) || turns == 0 {
        let api = shared.api(&mut rng);
        let mut stream = ChatStream::open(shared.api(&mut rng), chat).await?;
        stream.until("the snapshot is complete", |state| state.ready).await?;
        let answers = |state: &ClientState| {
            state.history().iter().filter(|it| it.role.as_str() == "assistant").count()
        };
        let before = answers(&stream.state);
        let body = json!({"content": [{"type": "text", "text": "count"}]});
        api.post(&format!("/chats/{chat}/messages"), &body).await?;
        let half = |state: &ClientState| preview(state).contains(" 40 ");
        stream.until("the answer is under way", half).await?;
        if let (Some(cursor), Ok(mut spoken)) = (stream.state.cursor, shared.spoken.lock()) {
            spoken.insert(chat.clone(), (cursor.history, cursor.attempt));
        }
        if rng.random_bool(0.5) {
            let sql =
                format!("UPDATE chats SET worker_id = NULL, runner_id = NULL WHERE id = '{chat}'");
            deployment.ask(&sql).await?;
            moves += 1;
        }
        let is_done = |state: &ClientState| {
            state.status == Some(ChatStatus::Waiting) && answers(state) > before
        };
        stream.until("the answer is stored", is_done).await?;
        check(&stream.state, &whole)?;
        turns += 1;
    }
    Ok((turns, moves))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p05_streams_are_the_same_from_every_server() -> Result<()> {
    let Some(deployment) = Deployment::start(Plan::quick(5)).await? else { return Ok(()) };
    let scenario =
        json!({"pace_ms": 4, "turns": [{"match": "count", "steps": [[{"say": answer()}]]}]});
    deployment.scripted(&scenario).await?;
    let attaches = trials(200, 2_000);
    let apis: Vec<Api> = deployment.servers.iter().map(|server| server.api.clone()).collect();
    let mut chats = Vec::new();
    for at in 0..CHATS {
        let api = &apis[at % apis.len()];
        let chat = crate::everywhere::begin(api, None, "count").await?;
        ChatStream::open(api, &chat).await?.until_rest().await?;
        chats.push(chat);
    }
    let shared = Arc::new(Shared {
        apis,
        chats,
        left: AtomicUsize::new(attaches),
        over: AtomicBool::new(false),
        first_parts: Mutex::default(),
        spoken: Mutex::default(),
        empty_while_running: AtomicUsize::new(0),
    });
    let viewing = async {
        let mut viewers = tokio::task::JoinSet::new();
        for seed in 0..VIEWERS {
            viewers.spawn(view(Arc::clone(&shared), seed));
        }
        let ended = viewers.join_all().await;
        shared.over.store(true, Ordering::SeqCst);
        ended.into_iter().collect::<Result<()>>()
    };
    let driving = (0..CHATS).map(|at| drive(Arc::clone(&shared), &deployment, at));
    let (seen, driven) = tokio::join!(viewing, futures_util::future::try_join_all(driving));
    seen.with_context(|| deployment.logs())?;
    let driven = driven.with_context(|| deployment.logs())?;
    let (turns, moves) =
        driven.iter().fold((0, 0), |(t, m), (turns, moves)| (t + turns, m + moves));
    // Everybody who comes now sees what is stored.
    for chat in &shared.chats {
        let mut ends = Vec::new();
        for api in &shared.apis {
            let mut stream = ChatStream::open(api, chat).await?;
            stream.until("the snapshot is complete", |state| state.ready).await?;
            check(&stream.state, &answer())?;
            ends.push(tests::stream::transcript(&stream.state));
        }
        ensure!(ends[0] == ends[1], "{chat} differs between the servers");
    }
    let times = shared.first_parts.lock().map(|times| times.clone()).unwrap_or_default();
    let times: Distribution = times.into_iter().collect();
    println!(
        "P05: {attaches} attaches of {VIEWERS} viewers at two servers, {turns} answers of {CHATS} \
         chats, {moves} taken from their worker: every text exact, repeats 0, gaps 0; attach to \
         first part {times}; running with nothing shown {}",
        shared.empty_while_running.load(Ordering::SeqCst)
    );
    Ok(())
}
