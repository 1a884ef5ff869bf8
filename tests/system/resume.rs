//! Viewers are cut off at random places while turns run, and come back by cursor: over WebSocket
//! and over server-sent events each ends with exactly what the database holds.
//!
//! ```text
//! seed ──► author   sends, queues, promotes, deletes, stops
//!     ├──► viewer   WebSocket          ─┐ cut after n events, away for m,
//!     └──► viewer   server-sent events ─┘ back from the cursor; again and again
//! ```
//!
//! The model counts and so do its commands. What a viewer sees of an unfinished answer must
//! therefore count from 1 without a gap or a repeat, at every moment, whatever was cut.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use controlplane::chat::client::ClientState;
use controlplane::chat::event::{
    ChatErrorView, ChatEvent, ChatStatus, Envelope, MessageView, PreviewKind, QueuedView,
};
use futures_util::stream::{StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::api::{Api, PATIENCE};
use tests::stream::{ChatStream, transcript};
use tests::world::{World, execute};
use tokio::sync::watch;

/// Chats, each with its own schedule and one viewer per transport.
const SCHEDULES: u64 = 40;
/// Chats at a time.
const AT_ONCE: usize = 8;

/// The numbers from `from` to `to`, a word each.
fn count(from: u32, to: u32) -> Value {
    json!({"say": (from..=to).map(|n| format!("{n} ")).collect::<String>()})
}

fn scenario() -> Value {
    let lines = execute("for n in $(seq 1 20); do echo $n; sleep 0.005; done");
    let fails = json!({"fail": {"kind": "overloaded", "times": 1, "retry_after_ms": 10}});
    // A note about a stop may stand before the user's words.
    json!({"pace_ms": 2, "turns": [
        {"match": "talk [0-9]+$", "steps": [[{"reason": "hm, let me count"}, count(1, 60)]]},
        {"match": "work [0-9]+$", "steps": [
            [count(1, 10), lines, lines, execute("exit 3")],
            [count(1, 20)],
        ]},
        {"match": "stumble [0-9]+$", "steps": [[count(1, 20), fails]]},
        {"match": "long [0-9]+$", "steps": [[count(1, 250)]]},
    ]})
}

/// A chat as `GET` shows it, or as a viewer knows it.
#[derive(Debug, PartialEq)]
struct Picture {
    messages: Vec<MessageView>,
    queue: Vec<QueuedView>,
    status: Option<ChatStatus>,
    title: Option<String>,
    error: Option<ChatErrorView>,
    has_preview: bool,
}

impl Picture {
    fn of(state: &ClientState) -> Self {
        Self {
            messages: state.history().into_iter().cloned().collect(),
            queue: state.queue.clone(),
            status: state.status,
            title: state.head.as_ref().map(|head| head.title.clone()),
            error: state.error.clone(),
            has_preview: !state.preview.is_empty(),
        }
    }

    async fn stored(api: &Api, chat: &str) -> Result<Self> {
        let head = api.get(&format!("/chats/{chat}")).await?;
        let messages = api.messages(chat).await?;
        Ok(Self {
            messages: read(&Value::Array(messages))?,
            queue: read(&head["queue"])?,
            status: read(&head["status"])?,
            title: read(&head["title"])?,
            error: read(&head["last_error"])?,
            has_preview: false,
        })
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).with_context(|| format!("not what it should be: {value}"))
}

/// What must hold of a viewer at every moment: whatever is being said counts from 1.
fn counts(state: &ClientState) -> Result<()> {
    for part in state.preview.values() {
        if matches!(part.kind, PreviewKind::Text | PreviewKind::ToolResult) {
            let words: Vec<&str> = part.text.split_ascii_whitespace().collect();
            // The last word may still be on its way.
            let whole = words.len().saturating_sub(1);
            let expected = (1..).map(|n: u32| n.to_string());
            let fits = words[..whole].iter().zip(expected).all(|(word, n)| **word == n);
            ensure!(fits, "a gap or a repeat in {:?} after {:?}", part.text, transcript(state));
        }
    }
    Ok(())
}

/// Messages that one connection told twice in the same revision. After a cut within a revision of
/// several messages the next connection tells it again from its beginning.
fn repeats(seen: &[ChatEvent]) -> usize {
    let mut known = std::collections::HashSet::new();
    let mut repeats = 0;
    for event in seen {
        match event {
            ChatEvent::Message { message } => {
                repeats += usize::from(!known.insert((message.id, message.revision)));
            }
            ChatEvent::Resync { .. } => known.clear(),
            _ => {}
        }
    }
    repeats
}

/// How often something happened over all schedules.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    cuts: usize,
    cuts_within_a_preview: usize,
    events: usize,
    messages: usize,
    queued: usize,
    stops: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.cuts += more.cuts;
        self.cuts_within_a_preview += more.cuts_within_a_preview;
        self.events += more.events;
        self.messages += more.messages;
        self.queued += more.queued;
        self.stops += more.stops;
    }
}

/// How far the story is, in events that an undisturbed viewer saw; none: it is over.
type Progress = watch::Receiver<Option<u64>>;

/// Cut off and back again until the story is over, then compared with what is stored.
async fn view(
    api: &Api,
    chat: &str,
    mut stream: ChatStream,
    mut rng: StdRng,
    mut progress: Progress,
) -> Result<(Tally, ChatStream)> {
    let mut tally = Tally::default();
    let mut opened_at = 0;
    while progress.borrow().is_some() {
        for _ in 0..rng.random_range(1..40) {
            // A chat that rests says nothing; the story's end lets go of the wait.
            tokio::select! {
                event = stream.step() => drop(event?),
                _ = progress.wait_for(Option::is_none) => break,
            }
            counts(&stream.state)?;
        }
        tally.cuts += 1;
        tally.cuts_within_a_preview += usize::from(!stream.state.preview.is_empty());
        ensure!(repeats(&stream.seen[opened_at..]) == 0, "a message was told twice");
        opened_at = stream.seen.len();
        let gone = stream.cut();
        let now = *progress.borrow();
        let back = now.map(|now| now + rng.random_range(0..30));
        progress.wait_for(|now| now.is_none() || *now >= back).await?;
        stream = gone.resume(api, chat).await?;
    }
    let stored = Picture::stored(api, chat).await?;
    let same = stream.until("it equals the database", |state| {
        counts(state).is_ok() && state.ready && Picture::of(state) == stored
    });
    let waited = same.await.map(drop);
    waited.with_context(|| format!("the database has {stored:#?}"))?;
    ensure!(repeats(&stream.seen[opened_at..]) == 0, "a message was told twice");
    tally.events = stream.seen.len();
    Ok((tally, stream))
}

/// Does what a person may do, at places of the stream that the seed picks, until all is at rest.
async fn act(
    api: &Api,
    chat: &str,
    witness: &mut ChatStream,
    rng: &mut StdRng,
    progress: &watch::Sender<Option<u64>>,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut told = 0;
    for _ in 0..rng.random_range(2..6) {
        for _ in 0..rng.random_range(1..50) {
            if is_at_rest(&witness.state) {
                break;
            }
            next(witness, &mut told, progress).await?;
        }
        let queue = witness.state.queue.clone();
        let (method, path, body) = match (rng.random_range(0..10), queue.first(), queue.last()) {
            (0, Some(first), _) => ("DELETE", format!("/queue/{}", first.id), None),
            (1, _, Some(last)) => ("POST", format!("/queue/{}/promote", last.id), Some(json!({}))),
            (2 | 3, ..) => ("POST", "/interrupt".to_owned(), Some(json!({}))),
            _ => ("POST", "/messages".to_owned(), Some(message(rng))),
        };
        let path = format!("/chats/{chat}{path}");
        let (status, answer) = api.request(method, &path, body.as_ref()).await?;
        // What was queued may be said already, and what ran may rest: both are told so.
        let fits = matches!(status, 200..300 | 404 | 409);
        ensure!(fits, "{method} {path} answered {status}: {answer}");
        tally.queued += usize::from(status == 202 && path.ends_with("/messages"));
        tally.stops += usize::from(status < 300 && path.ends_with("/interrupt"));
    }
    while !is_resting(&api.get(&format!("/chats/{chat}")).await?) {
        next(witness, &mut told, progress).await?;
    }
    progress.send_replace(None);
    Ok(tally)
}

async fn next(
    witness: &mut ChatStream,
    told: &mut u64,
    progress: &watch::Sender<Option<u64>>,
) -> Result<()> {
    tokio::time::timeout(PATIENCE, witness.step()).await.context("the story stands still")??;
    counts(&witness.state)?;
    *told += 1;
    progress.send_replace(Some(*told));
    Ok(())
}

fn is_at_rest(state: &ClientState) -> bool {
    state.ready && matches!(state.status, Some(ChatStatus::Waiting | ChatStatus::Error))
}

fn is_resting(chat: &Value) -> bool {
    matches!(chat["status"].as_str(), Some("waiting" | "error"))
}

fn message(rng: &mut StdRng) -> Value {
    let mut text = ["talk", "work", "stumble", "long"][rng.random_range(0..4)].to_owned();
    let _ = write!(text, " {}", rng.random_range(0..1000));
    let busy = ["queue", "queue", "interrupt"][rng.random_range(0..3)];
    json!({"content": [{"type": "text", "text": text}], "busy": busy})
}

/// One chat from its first message to rest, with three viewers; what it came to.
async fn schedule(world: &World, seed: u64) -> Result<Tally> {
    let api = world.api();
    let mut rng = StdRng::seed_from_u64(seed);
    let first = message(&mut rng)["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    let mut chat = world.chat(&first).await?;
    let id = chat.id.clone();
    let (progress, watched) = watch::channel(Some(0));
    let socket = ChatStream::open(api, &id).await?;
    let events = ChatStream::open_events(api, &id).await?;
    let mut luck = || StdRng::seed_from_u64(rng.random());
    let (socket_luck, events_luck) = (luck(), luck());
    let (mut tally, socket, events) = tokio::try_join!(
        async { act(api, &id, &mut chat.stream, &mut rng, &progress).await.context("author") },
        async {
            let viewed = view(api, &id, socket, socket_luck, watched.clone()).await;
            viewed.context("WebSocket")
        },
        async {
            let viewed = view(api, &id, events, events_luck, watched.clone()).await;
            viewed.context("server-sent events")
        },
    )?;
    tally += socket.0;
    tally += events.0;
    tally.messages += socket.1.state.messages.len();
    Ok(tally)
}

#[tokio::test]
async fn any_schedule_of_cuts_leaves_both_transports_equal_to_the_database() -> Result<()> {
    let world = World::new(scenario()).await?;
    let schedules = futures_util::stream::iter((0..SCHEDULES).map(|seed| {
        let world = &world;
        async move { schedule(world, seed).await.with_context(|| format!("seed {seed}")) }
    }));
    let all: Vec<Tally> = schedules.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut sum = Tally::default();
    all.into_iter().for_each(|tally| sum += tally);
    println!("{SCHEDULES} schedules for each transport: {sum:?}");
    // The subject has to have happened.
    ensure!(sum.cuts >= 5 * SCHEDULES as usize, "too few cuts");
    ensure!(sum.cuts_within_a_preview >= 2 * SCHEDULES as usize, "too few cuts within an answer");
    ensure!(sum.queued > 0 && sum.stops > 0, "no queue or no stop");
    Ok(())
}

/// The control: each of the comparisons above can fail.
#[tokio::test]
async fn a_viewer_that_skips_one_step_or_one_event_is_found_out() -> Result<()> {
    let world = World::new(scenario()).await?;
    let mut chat = world.chat("work 1").await?;
    chat.stream.until_rest().await?;
    let stored = Picture::stored(world.api(), &chat.id).await?;
    assert_eq!(Picture::of(&chat.stream.state), stored, "the honest viewer is right");

    // One step too far: it knows one message and claims to know the next as well.
    let second = stored.messages.get(1).context("a second message")?.revision;
    let mut far = ChatStream::open_events(world.api(), &chat.id).await?;
    while far.state.messages.is_empty() {
        far.step().await?;
    }
    let mut gone = far.cut();
    gone.skip_to(second);
    let mut far = gone.resume(world.api(), &chat.id).await?;
    far.until("the snapshot is complete", |state| state.ready).await?;
    assert_ne!(Picture::of(&far.state), stored, "a skipped step goes unseen");

    // One event ignored: a reducer that drops it, for each kind of event that matters.
    let mut late = ChatStream::open(world.api(), &chat.id).await?;
    late.until("the snapshot is complete", |state| state.ready).await?;
    let cursor = late.state.cursor.context("it has a cursor")?;
    for skipped in 0..late.seen.len() {
        let mut state = ClientState::default();
        let others = late.seen.iter().enumerate().filter(|(at, _)| *at != skipped);
        others.for_each(|(_, event)| state.apply(&Envelope { cursor, event: event.clone() }));
        let matters = matches!(
            late.seen[skipped],
            ChatEvent::Message { .. } | ChatEvent::Status { .. } | ChatEvent::Chat { .. }
        );
        assert_eq!(Picture::of(&state) != stored, matters, "without {:?}", late.seen[skipped]);
    }

    // A piece left out or applied twice within an answer.
    let mut torn = chat.stream.state.clone();
    for text in ["1 2 4 5 ", "1 2 2 3 ", "2 3 4 "] {
        torn.preview = [(0, text_part(text))].into();
        assert!(counts(&torn).is_err(), "{text} goes unseen");
    }
    torn.preview = [(0, text_part("1 2 3 "))].into();
    counts(&torn)
}

fn text_part(text: &str) -> controlplane::chat::client::ClientPart {
    controlplane::chat::client::ClientPart {
        kind: PreviewKind::Text,
        tool_call_id: None,
        name: None,
        text: text.to_owned(),
        value: None,
    }
}
