//! Streams against a database that is a plain value.

mod races;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::poll;
use proptest::prelude::*;
use shared::ids::{IdSource, MessageId, UserId};
use shared::testing::{CountingIds, ManualClock};

use super::lag::LAG_GRACE;
use super::*;
use crate::chat::client::ClientState;
use crate::chat::content::{Part, Role, Usage};
use crate::chat::event::{
    ChatErrorView, ChatHead, ChatStatus, MessageView, PreviewKind, QueuedView,
};
use crate::chat::hub::{EpisodeWriter, Piece};
use crate::chat::reader::RetryView;
use crate::time::Timestamp;

/// One chat as a value.
struct Database {
    rows: Mutex<(ChatState, Vec<MessageChange>)>,
    chat: ChatId,
}

#[async_trait]
impl ChatReader for Database {
    async fn changes(&self, chat: ChatId, revision: i64) -> Result<Option<ChatState>, ReadError> {
        // The snapshot is taken and only then waited for, so that a commit may come in between.
        let found = {
            let (state, messages) = &*self.rows.lock().unwrap();
            let mut changes: Vec<MessageChange> =
                messages.iter().filter(|change| change.revision() > revision).cloned().collect();
            changes.sort_by_key(MessageChange::revision);
            ChatState { changes, ..state.clone() }
        };
        tokio::task::yield_now().await;
        Ok((chat == self.chat).then_some(found))
    }

    async fn newest(&self, chat: ChatId, limit: u32) -> Result<Option<ChatState>, ReadError> {
        let mut found = self.changes(chat, 0).await?;
        if let Some(found) = &mut found {
            found.changes.retain(|change| matches!(change, MessageChange::Present(_)));
            let before = found.changes.len().saturating_sub(limit as usize);
            found.changes.drain(..before);
        }
        Ok(found)
    }

    async fn head(&self, _: ChatId, _: UserId) -> Result<Option<ChatHead>, ReadError> {
        Ok(Some(self.rows.lock().unwrap().0.head.clone()))
    }
}

/// A chat, its runner and its hub.
struct World {
    ids: CountingIds,
    chat: ChatId,
    database: Arc<Database>,
    streams: Streams,
    hub: Hub,
    hints: Hints,
    writer: Option<EpisodeWriter>,
    epoch: u64,
}

impl World {
    fn new() -> Self {
        let ids = CountingIds::default();
        let chat = (&ids as &dyn IdSource).id();
        let head = ChatHead {
            id: chat,
            title: String::new(),
            label: None,
            mode: "auto".into(),
            model_id: None,
            fallback_model_id: None,
            effort: None,
            plan: None,
            workspace_id: None,
            status: ChatStatus::Waiting,
            archived: false,
            queue_position: None,
            snapshot_version: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            family: Default::default(),
        };
        let state = ChatState {
            head,
            history_version: 1,
            attempt: 0,
            queue: Vec::new(),
            actions: Vec::new(),
            results: Vec::new(),
            error: None,
            retry: None,
            fallback: None,
            changes: Vec::new(),
        };
        let database = Arc::new(Database { rows: Mutex::new((state, Vec::new())), chat });
        let (hub, hints) = (Hub::new(), Hints::new());
        let clock = Arc::new(ManualClock::at(1_000));
        let streams = Streams::new(hub.clone(), hints.clone(), database.clone(), clock);
        Self { ids, chat, database, streams, hub, hints, writer: None, epoch: 1 }
    }

    /// One transaction: everything in it has one new version.
    fn commit(&self, change: impl FnOnce(&mut ChatState, &mut Vec<MessageChange>, i64)) {
        {
            let (state, messages) = &mut *self.database.rows.lock().unwrap();
            state.head.snapshot_version += 1;
            let version = state.head.snapshot_version;
            change(state, messages, version);
        }
        self.hints.chat_changed(self.chat);
    }

    fn say(&self, role: Role, text: &str) -> MessageId {
        let id = (&self.ids as &dyn IdSource).id();
        let chat_id = self.chat;
        self.commit(|state, messages, version| {
            (state.history_version, state.attempt, state.retry) = (version, 0, None);
            messages.push(MessageChange::Present(MessageView {
                id,
                chat_id,
                seq: version,
                revision: version,
                role,
                content: vec![Part::Text { text: text.into() }],
                created_at: Timestamp(version),
                model: None,
                branch: None,
                label: None,
                usage: (role == Role::Assistant)
                    .then(|| Usage { output: version.unsigned_abs(), ..Usage::default() }),
            }));
        });
        id
    }

    fn open(&mut self) {
        let key = {
            let (state, _) = &*self.database.rows.lock().unwrap();
            EpisodeKey { history: state.history_version, attempt: state.attempt }
        };
        self.writer = Some(self.hub.open(self.chat, key, self.epoch));
    }

    fn begin_attempt(&mut self) {
        self.commit(|state, _, _| {
            state.head.status = ChatStatus::Running;
            state.attempt += 1;
            state.retry = None;
        });
        self.open();
    }

    fn delta(&self, index: u32, text: &str) {
        if let Some(writer) = &self.writer {
            writer.publish(Piece::Delta { index, kind: PreviewKind::Text, text });
        }
    }

    fn subscribe(&self, client: &ClientState) -> Subscription {
        self.streams.subscribe(self.chat, client.cursor.map(Ok))
    }
}

/// Pulls until nothing comes at once; the polls and pings of a minute included.
async fn drain(stream: &mut Subscription, client: &mut ClientState) {
    let quiet = Instant::now() + Duration::from_secs(60);
    while let Ok(batch) = tokio::time::timeout_at(quiet, stream.next()).await {
        for envelope in batch.unwrap() {
            client.apply(&envelope);
        }
    }
}

async fn names(stream: &mut Subscription, client: &mut ClientState) -> Vec<String> {
    let mut names = Vec::new();
    while let Poll::Ready(batch) = {
        let mut next = pin!(stream.next());
        let mut polled = poll!(&mut next);
        for _ in 0..4 {
            if polled.is_ready() {
                break;
            }
            polled = poll!(&mut next);
        }
        polled
    } {
        for envelope in batch.unwrap() {
            client.apply(&envelope);
            let json = serde_json::to_value(&envelope).unwrap();
            names.push(json["type"].as_str().unwrap().to_owned());
        }
    }
    names
}

#[tokio::test(start_paused = true)]
async fn a_fresh_viewer_is_told_everything_in_the_fixed_order() {
    let mut world = World::new();
    world.say(Role::User, "hi");
    world.begin_attempt();
    world.delta(0, "hel");
    world.delta(0, "lo");
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    assert_eq!(
        names(&mut stream, &mut client).await,
        [
            "message",
            "chat",
            "queue",
            "status",
            "error",
            "action_required",
            "preview_reset",
            "part",
            "ready"
        ]
    );
    assert_eq!(client.preview[&0].text, "hello");
}

#[tokio::test(start_paused = true)]
async fn the_message_comes_before_the_reset_of_its_preview() {
    let mut world = World::new();
    world.begin_attempt();
    world.delta(0, "answer");
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    world.say(Role::Assistant, "answer");
    world.writer = None;
    assert_eq!(names(&mut stream, &mut client).await, ["message", "usage", "preview_reset"]);
    assert!(client.preview.is_empty());
}

/// Class: first parts lost as buffering began after the status was announced.
#[tokio::test(start_paused = true)]
async fn the_first_parts_reach_a_viewer_that_came_before_the_episode() {
    let mut world = World::new();
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    world.begin_attempt();
    world.delta(0, "first");
    assert_eq!(names(&mut stream, &mut client).await, ["status", "preview_reset", "part"]);
    assert_eq!(client.preview[&0].text, "first");
}

/// Class: duplicate text on reconnect.
#[tokio::test(start_paused = true)]
async fn a_viewer_that_resumes_within_an_episode_gets_only_what_is_new() {
    let mut world = World::new();
    world.begin_attempt();
    world.delta(0, "seen ");
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    drop(stream);
    world.delta(0, "new");
    let mut stream = world.subscribe(&client);
    let told = names(&mut stream, &mut client).await;
    assert!(!told.contains(&"preview_reset".to_owned()), "{told:?}");
    assert_eq!(client.preview[&0].text, "seen new");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_removed_meanwhile_is_removed_from_a_resuming_viewer() {
    let world = World::new();
    let id = world.say(Role::User, "to be edited");
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    drop(stream);
    world.commit(|state, messages, version| {
        state.history_version = version;
        messages.retain(|change| !matches!(change, MessageChange::Present(it) if it.id == id));
        messages.push(MessageChange::Removed { id, revision: version });
    });
    let mut stream = world.subscribe(&client);
    assert_eq!(names(&mut stream, &mut client).await[0], "message_removed");
    assert!(client.messages.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_none_lies_ahead_or_is_foreign_is_answered_with_a_fresh_snapshot() {
    let world = World::new();
    world.say(Role::User, "hi");
    let tag = Cursor::tag_of(world.chat);
    let ahead = Cursor { snapshot: 1_000_000, tag, ..Cursor::default() };
    let ahead_in_history = Cursor { snapshot: 1, history: 99, attempt: 1, seq: 4, tag };
    let foreign = Cursor { snapshot: 1, tag: tag ^ 1, ..Cursor::default() };
    for cursor in [Err(InvalidCursor), Ok(ahead), Ok(ahead_in_history), Ok(foreign)] {
        let mut stream = world.streams.subscribe(world.chat, Some(cursor));
        let mut client = ClientState::default();
        let told = names(&mut stream, &mut client).await;
        assert_eq!(told[..2], ["resync", "message"], "{cursor:?}");
        assert!(client.ready && client.messages.len() == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_of_a_window_is_told_of_the_window_and_of_what_comes() {
    let world = World::new();
    let ids: Vec<MessageId> = (0..10).map(|_| world.say(Role::User, "hi")).collect();
    let window = Window { newest: Some(3), from: None };
    let mut client = ClientState::default();
    let mut stream = world.streams.subscribe_to(world.chat, None, window);
    names(&mut stream, &mut client).await;
    let known = |client: &ClientState| client.history().iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(known(&client), ids[7..]);
    let first = client.history()[0].seq;
    // A message before the window changes, one in it too, and one is said.
    let touch = |at: usize| {
        world.commit(|_, messages, version| {
            if let MessageChange::Present(message) = &mut messages[at] {
                message.revision = version;
                message.label = Some("touched".into());
            }
        });
    };
    touch(2);
    touch(8);
    let new = world.say(Role::User, "new");
    names(&mut stream, &mut client).await;
    assert_eq!(known(&client), [&ids[7..], &[new]].concat());
    assert_eq!(client.history()[1].label.as_deref(), Some("touched"));
    drop(stream);
    // The same from a cursor.
    touch(1);
    let newer = world.say(Role::User, "newer");
    let window = Window { newest: Some(3), from: Some(first) };
    let mut stream = world.streams.subscribe_to(world.chat, client.cursor.map(Ok), window);
    names(&mut stream, &mut client).await;
    assert_eq!(known(&client), [&ids[7..], &[new, newer]].concat());
}

/// A branch whose messages stand before the window: they would be there without those between.
#[tokio::test(start_paused = true)]
async fn a_branch_that_reaches_behind_the_window_is_a_fresh_snapshot() {
    let world = World::new();
    let old: Vec<MessageId> = (0..5).map(|_| world.say(Role::User, "old")).collect();
    let take = |ids: &[MessageId]| {
        world.commit(|state, messages, version| {
            state.history_version = version;
            for change in messages.iter_mut() {
                if let MessageChange::Present(message) = change
                    && ids.contains(&message.id)
                {
                    *change = MessageChange::Removed { id: message.id, revision: version };
                }
            }
        });
    };
    let kept = world.database.rows.lock().unwrap().1.clone();
    take(&old);
    let new: Vec<MessageId> = (0..3).map(|_| world.say(Role::User, "new")).collect();
    let window = Window { newest: Some(4), from: None };
    let mut client = ClientState::default();
    let mut stream = world.streams.subscribe_to(world.chat, None, window);
    names(&mut stream, &mut client).await;
    assert_eq!(client.messages.len(), 3);
    // The old branch is shown again.
    world.commit(|state, messages, version| {
        state.history_version = version;
        messages.retain(|change| matches!(change, MessageChange::Present(_)));
        for change in messages.iter_mut() {
            if let MessageChange::Present(message) = change
                && new.contains(&message.id)
            {
                *change = MessageChange::Removed { id: message.id, revision: version };
            }
        }
        messages.extend(kept.iter().cloned().map(|change| match change {
            MessageChange::Present(message) => {
                MessageChange::Present(MessageView { revision: version, ..message })
            }
            removed => removed,
        }));
    });
    let told = names(&mut stream, &mut client).await;
    assert_eq!(told[0], "resync", "{told:?}");
    let known: Vec<MessageId> = client.history().iter().map(|it| it.id).collect();
    assert_eq!(known, old[1..], "the newest four of the branch");
}

/// Class: missed wake.
#[tokio::test(start_paused = true)]
async fn a_lost_hint_costs_at_most_one_poll() {
    let world = World::new();
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    world.database.rows.lock().unwrap().0.head.snapshot_version += 1;
    world.database.rows.lock().unwrap().0.head.title = "new".into();
    let before = Instant::now();
    let batch = stream.next().await.unwrap();
    assert!(matches!(&batch[0].event, ChatEvent::Chat { chat } if chat.title == "new"));
    assert!(before.elapsed() <= POLL_INTERVAL + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_pings() {
    let world = World::new();
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    assert!(matches!(stream.next().await.unwrap()[0].event, ChatEvent::Ping));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_never_reads_is_given_up_and_a_slow_one_is_not() {
    let mut world = World::new();
    world.begin_attempt();
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    names(&mut stream, &mut client).await;
    let mut lag = stream.lag();
    let mebibyte = "x".repeat(1024 * 1024 + 1);
    world.delta(0, &mebibyte);
    let mut exceeded = pin!(lag.exceeded());
    assert!(poll!(&mut exceeded).is_pending());
    // Reading within the grace is enough.
    tokio::time::advance(LAG_GRACE / 2).await;
    stream.next().await.unwrap();
    tokio::time::advance(LAG_GRACE).await;
    assert!(poll!(&mut exceeded).is_pending());
    // Not reading is not.
    world.delta(0, &mebibyte);
    assert!(poll!(&mut exceeded).is_pending());
    tokio::time::timeout(LAG_GRACE * 2, exceeded).await.expect("the viewer is given up");
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_nobody_watches_leaves_nothing_behind() {
    let mut world = World::new();
    world.begin_attempt();
    let streams: Vec<Subscription> =
        (0..3).map(|_| world.subscribe(&ClientState::default())).collect();
    world.writer = None;
    assert_eq!(world.hub.len(), 1);
    drop(streams);
    assert_eq!(world.hub.len(), 0);
}

/// What may happen in any order.
#[derive(Clone, Debug)]
enum Step {
    UserSays,
    BeginAttempt,
    Delta(u32, String),
    Commit,
    Fail,
    Rest,
    Queue(u8),
    Title(String),
    RemoveNewest,
    /// The worker's process dies and another takes over.
    Crash,
    /// The client reads; then only the first so many events of the batch arrive.
    Read(usize),
    /// A read is dropped half-way.
    AbandonedRead,
    /// The step happens while the client reads the row.
    DuringRead(Box<Step>),
    Disconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let world = prop_oneof![
        1 => Just(Step::UserSays),
        3 => Just(Step::BeginAttempt),
        8 => (0..3_u32, "[a-z]{1,8}").prop_map(|(index, text)| Step::Delta(index, text)),
        2 => Just(Step::Commit),
        1 => Just(Step::Fail),
        1 => Just(Step::Rest),
        1 => (0..3_u8).prop_map(Step::Queue),
        1 => "[a-z]{1,5}".prop_map(Step::Title),
        1 => Just(Step::RemoveNewest),
        1 => Just(Step::Crash),
    ]
    .boxed();
    prop_oneof![
        6 => world.clone(),
        4 => (0..8_usize).prop_map(Step::Read),
        1 => Just(Step::AbandonedRead),
        2 => world.prop_map(|step| Step::DuringRead(Box::new(step))),
        1 => Just(Step::Disconnect),
    ]
}

/// What the runner has said in the running episode.
type Said = BTreeMap<u32, String>;

fn failure() -> ChatErrorView {
    ChatErrorView {
        code: "provider_overloaded".into(),
        message: "try later".into(),
        retryable: true,
        provider: None,
        status_code: None,
        request_id: None,
    }
}

fn take(world: &mut World, said: &mut Said, step: Step) {
    match step {
        Step::UserSays => {
            world.say(Role::User, "hi");
            world.writer = None;
            said.clear();
        }
        Step::BeginAttempt => {
            world.begin_attempt();
            said.clear();
        }
        Step::Delta(index, text) => {
            if world.writer.is_some() {
                world.delta(index, &text);
                said.entry(index).or_default().push_str(&text);
            }
        }
        Step::Commit => {
            world.say(Role::Assistant, "done");
            world.writer = None;
            said.clear();
        }
        Step::Fail => {
            world.commit(|state, _, _| {
                state.retry = Some(RetryView {
                    attempt: state.attempt,
                    delay_ms: 1_000,
                    retry_at: Timestamp(5_000),
                    error: failure(),
                });
            });
            world.writer = None;
            said.clear();
        }
        Step::Rest => {
            world.commit(|state, _, _| {
                state.head.status = ChatStatus::Error;
                state.error = Some(failure());
                state.retry = None;
            });
            world.writer = None;
            said.clear();
        }
        Step::Queue(length) => {
            let ids: &dyn IdSource = &world.ids;
            let queue = (0..length)
                .map(|_| QueuedView {
                    id: ids.id(),
                    content: Vec::new(),
                    model_id: None,
                    effort: None,
                    created_at: Timestamp(0),
                })
                .collect();
            world.commit(|state, _, _| state.queue = queue);
        }
        Step::Title(title) => world.commit(|state, _, _| state.head.title = title),
        Step::RemoveNewest => world.commit(|state, messages, version| {
            let newest = messages.iter().rposition(|it| matches!(it, MessageChange::Present(_)));
            if let Some(at) = newest
                && let MessageChange::Present(message) = messages.remove(at)
            {
                state.history_version = version;
                state.attempt = 0;
                messages.push(MessageChange::Removed { id: message.id, revision: version });
            }
        }),
        Step::Crash => {
            world.writer = None;
            world.epoch += 1;
            world.open();
            said.clear();
        }
        _ => unreachable!("a step of the client"),
    }
    // An episode whose history was replaced is over.
    let row = {
        let (state, _) = &*world.database.rows.lock().unwrap();
        EpisodeKey { history: state.history_version, attempt: state.attempt }
    };
    let open = world.hub.join(world.chat).glance(row, 0, 0).preview;
    if open.is_some_and(|(key, _)| key != row) {
        world.writer = None;
        said.clear();
    }
}

async fn read(stream: &mut Subscription, client: &mut ClientState, upto: usize) -> bool {
    let mut next = pin!(stream.next());
    for _ in 0..4 {
        if let Poll::Ready(batch) = poll!(&mut next) {
            let batch = batch.unwrap();
            batch.iter().take(upto).for_each(|envelope| client.apply(envelope));
            return batch.len() > upto;
        }
    }
    false
}

async fn follow(steps: Vec<Step>) {
    let (mut world, mut said) = (World::new(), Said::new());
    let mut client = ClientState::default();
    let mut stream = world.subscribe(&client);
    for step in steps {
        match step {
            Step::Read(upto) => {
                if read(&mut stream, &mut client, upto).await {
                    // The rest of the batch was lost with the connection.
                    stream = world.subscribe(&client);
                }
            }
            Step::AbandonedRead => {
                if let Poll::Ready(batch) = poll!(pin!(stream.next())) {
                    batch.unwrap().iter().for_each(|envelope| client.apply(envelope));
                }
            }
            Step::Disconnect => stream = world.subscribe(&client),
            Step::DuringRead(step) => {
                let mut next = pin!(stream.next());
                let early = poll!(&mut next);
                take(&mut world, &mut said, *step);
                let batch = if early.is_ready() { early } else { poll!(&mut next) };
                if let Poll::Ready(batch) = batch {
                    batch.unwrap().iter().for_each(|envelope| client.apply(envelope));
                }
            }
            step => take(&mut world, &mut said, step),
        }
    }
    drain(&mut stream, &mut client).await;
    compare(&world, &said, &client);
    let mut fresh = ClientState::default();
    drain(&mut world.subscribe(&ClientState::default()), &mut fresh).await;
    compare(&world, &said, &fresh);
}

fn compare(world: &World, said: &Said, client: &ClientState) {
    let (state, messages) = &*world.database.rows.lock().unwrap();
    let stored: Vec<&MessageView> = messages
        .iter()
        .filter_map(|change| match change {
            MessageChange::Present(message) => Some(message),
            MessageChange::Removed { .. } => None,
        })
        .collect();
    assert_eq!(client.history(), stored);
    assert_eq!(client.queue, state.queue);
    assert_eq!(client.status, Some(state.head.status));
    assert_eq!(client.error, state.error);
    assert_eq!(client.head.as_ref().map(|head| &head.title), Some(&state.head.title));
    let retry = state.retry.as_ref().map(|retry| (retry.attempt, retry.error.clone()));
    assert_eq!(client.retry, retry);
    assert!(client.ready);
    let shown: Said =
        client.preview.iter().map(|(index, part)| (*index, part.text.clone())).collect();
    assert_eq!(&shown, said);
}

proptest! {
    #[test]
    fn any_schedule_leaves_the_client_equal_to_the_database(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(follow(steps));
    }
}
