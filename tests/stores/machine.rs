//! The matrix: every state × every command × a fence that fits or not, on both databases.
//!
//! What the store does must be what the machine says, and a stale worker must change nothing.

use controlplane::chat::event::ChatStatus;
use controlplane::chat::machine::{
    Asked, AssistantMessage, Busy, ChatMachine, Effect, Event, ExecutionState, Facts, Intent,
    Queued, RetryState,
};
use controlplane::store::StoreError;
use controlplane::store::chats::{ChatRow, SendMessage, WorkerFence};
use shared::ids::QueueId;

use crate::scene::{Scene, answered, asking, failure, said};
use crate::schema::execute;

/// One cell of the matrix: a chat in a state, with what may be asked of it.
struct Cell {
    chat: ChatRow,
    fence: WorkerFence,
    queued: QueueId,
    intents: Vec<Intent>,
}

/// Every state with an owner where a worker may own it, with and without an open call.
fn every_state() -> Vec<(ChatStatus, bool, i64, bool)> {
    let mut all = vec![];
    for status in [
        ChatStatus::Waiting,
        ChatStatus::Error,
        ChatStatus::Running,
        ChatStatus::Interrupting,
        ChatStatus::RequiresAction,
    ] {
        for archived in [false, true] {
            for queue in [0, 1] {
                for open in [false, true] {
                    let rests = matches!(status, ChatStatus::Waiting | ChatStatus::Error);
                    if !(rests && open) {
                        all.push((status, archived, queue, open));
                    }
                }
            }
        }
    }
    all
}

/// A chat that is exactly in the state, made by writing the columns.
async fn cell(scene: &Scene, state: (ChatStatus, bool, i64, bool)) -> Cell {
    let (status, archived, queue, open) = state;
    let (chat, fence) = scene.owned_chat().await;
    let mut fence = fence;
    let mut intents = vec![];
    if open {
        let (message, asked) = asking(scene, &["a"]);
        fence =
            scene.store.chats.commit_step(chat.id, &fence, &message, &asked).await.unwrap().fence;
        intents = asked;
    }
    let queued: QueueId = scene.ids.id();
    if queue > 0 {
        execute(scene, &format!(
            "INSERT INTO queued_messages (id, chat_id, position, steer, content, created_at_ms) \
             VALUES ('{queued}', '{}', 1, FALSE, '[]', 0)", chat.id
        )).await;
    }
    execute(
        scene,
        &format!(
            "UPDATE chats SET status = '{}', archived = {archived}, queue_length = {queue} \
         WHERE id = '{}'",
            status.as_str(),
            chat.id
        ),
    )
    .await;
    Cell { chat: scene.head(&chat).await, fence, queued, intents }
}

/// Names of the commands, in the order of [`run`].
const COMMANDS: [&str; 18] = [
    "send_queue",
    "send_steer",
    "send_interrupt",
    "delete_queued",
    "promote",
    "edit_queued",
    "interrupt",
    "archive",
    "unarchive",
    "reconcile",
    "abandon",
    "record_attempt",
    "record_retry",
    "commit_step",
    "store_tool_result",
    "finish_turn",
    "finish_interruption",
    "finish_error",
];
/// Commands of a worker begin here.
const FIRST_OF_WORKER: usize = 10;

fn retry() -> RetryState {
    RetryState { attempt: 1, delay_ms: 1, retry_at_ms: 1, error: failure() }
}

fn partial() -> AssistantMessage {
    AssistantMessage { content: said("partial").content, ..AssistantMessage::default() }
}

/// What the machine is told for a command.
fn event(scene: &Scene, cell: &Cell, command: usize) -> Event {
    let id = cell.queued;
    let found = (cell.chat.queue_length > 0).then_some(Queued { steer: false });
    let (message, intents) = asking(scene, &["b"]);
    let send = |busy| Event::Send { message: said("x"), busy };
    match command {
        0 => send(Busy::Queue),
        1 => send(Busy::Steer),
        2 => send(Busy::Interrupt),
        3 => Event::DeleteQueued { id, found },
        4 => Event::Promote { id, found },
        5 => Event::EditQueued { id, found, message: said("y") },
        6 => Event::Interrupt,
        7 => Event::SetArchived(true),
        8 => Event::SetArchived(false),
        9 => Event::Reconcile(failure()),
        10 => Event::Abandon,
        11 => Event::Attempt,
        12 => Event::Retry(retry()),
        13 => Event::CommitStep { message, intents },
        14 => match cell.intents.first() {
            Some(intent) => Event::StoreResult { answer: answered(intent), found: Asked::Open },
            None => Event::StoreResult { answer: answered(&intents[0]), found: Asked::Unknown },
        },
        15 => Event::FinishTurn,
        16 => Event::FinishInterruption { partial: Some(partial()) },
        _ => Event::FinishError(failure()),
    }
}

/// The command itself.
async fn run(
    scene: &Scene,
    cell: &Cell,
    command: usize,
    fence: &WorkerFence,
) -> Result<(), StoreError> {
    let chats = &scene.store.chats;
    let id = cell.chat.id;
    let send = |busy| SendMessage { message: said("x"), busy, claim: None, key: None };
    let (message, intents) = asking(scene, &["b"]);
    let answer = answered(cell.intents.first().unwrap_or(&intents[0]));
    match command {
        0 => chats.send(id, &send(Busy::Queue)).await.map(drop),
        1 => chats.send(id, &send(Busy::Steer)).await.map(drop),
        2 => chats.send(id, &send(Busy::Interrupt)).await.map(drop),
        3 => chats.delete_queued(id, cell.queued).await.map(drop),
        4 => chats.promote_queued(id, cell.queued, None).await.map(drop),
        5 => chats.edit_queued(id, cell.queued, &said("y")).await.map(drop),
        6 => chats.interrupt(id).await.map(drop),
        7 => chats.set_archived(id, true).await.map(drop),
        8 => chats.set_archived(id, false).await.map(drop),
        9 => chats.reconcile(id, &failure()).await.map(drop),
        10 => chats.abandon(id, fence).await,
        11 => chats.record_attempt(id, fence).await.map(drop),
        12 => chats.record_retry(id, fence, &retry()).await.map(drop),
        13 => chats.commit_step(id, fence, &message, &intents).await.map(drop),
        14 => chats.store_tool_result(id, fence, &answer).await.map(drop),
        15 => chats.finish_turn(id, fence).await.map(drop),
        16 => chats.finish_interruption(id, fence, Some(&partial())).await.map(drop),
        _ => chats.finish_error(id, fence, &failure()).await.map(drop),
    }
}

/// One statement answers for all its refusals.
fn is_one_statement(command: usize) -> bool {
    matches!(COMMANDS[command], "record_attempt" | "record_retry")
}

async fn check_cell(scene: &Scene, state: (ChatStatus, bool, i64, bool), command: usize) {
    let cell = cell(scene, state).await;
    let place = format!("{} in {:?}", COMMANDS[command], state);
    let mut machine = ChatMachine::load(cell.chat.facts());
    let effects = machine.apply(event(scene, &cell, command));
    let outcome = run(scene, &cell, command, &cell.fence).await;
    let after = scene.head(&cell.chat).await;
    if let [Effect::Refuse(refusal)] = effects[..] {
        match outcome {
            Err(StoreError::Refused(said)) => assert_eq!(said, refusal, "{place}"),
            Err(StoreError::Fenced) => assert!(is_one_statement(command), "{place}"),
            other => panic!("{place}: {other:?}, and the machine says {refusal:?}"),
        }
        assert_eq!(format!("{after:?}"), format!("{:?}", cell.chat), "{place}");
        return;
    }
    outcome.unwrap_or_else(|error| panic!("{place}: {error:?}, and the machine says {effects:?}"));
    assert_eq!(after.state(), machine.state(), "{place}");
    assert_eq!(Some(after.facts()), machine.facts(), "{place}");
    assert_eq!(after.snapshot_version, cell.chat.snapshot_version + 1, "{place}");
}

async fn check_stale(scene: &Scene, state: (ChatStatus, bool, i64, bool), command: usize) {
    let cell = cell(scene, state).await;
    let fence = cell.fence;
    let mut stale = vec![
        WorkerFence { worker_id: scene.ids.id(), ..fence },
        WorkerFence { runner_id: scene.ids.id(), ..fence },
        WorkerFence { epoch: fence.epoch - 1, ..fence },
    ];
    // Giving a chat back needs no knowledge of its history.
    if COMMANDS[command] != "abandon" {
        stale.push(WorkerFence { history_version: fence.history_version - 1, ..fence });
        stale.push(WorkerFence { attempt: fence.attempt + 1, ..fence });
    }
    for fence in stale {
        let outcome = run(scene, &cell, command, &fence).await;
        let place = format!("{} in {state:?} with {fence:?}", COMMANDS[command]);
        assert!(matches!(outcome, Err(StoreError::Fenced)), "{place}: {outcome:?}");
        let after = scene.head(&cell.chat).await;
        assert_eq!(format!("{after:?}"), format!("{:?}", cell.chat), "{place}");
    }
}

on_both! {
    async fn every_command_in_every_state_does_what_the_machine_says(scene: &Scene) {
        let mut seen = std::collections::BTreeSet::from([ExecutionState::N]);
        for state in every_state() {
            let (status, archived, queue, _) = state;
            seen.insert(ExecutionState::of(&Facts {
                status,
                archived,
                queue: u32::try_from(queue).unwrap(),
                steered: 0,
                unanswered: 0,
                owned: false,
                retrying: false,
            }));
            for command in 0..COMMANDS.len() {
                check_cell(scene, state, command).await;
            }
        }
        seen.remove(&ExecutionState::Invalid);
        assert_eq!(seen.len(), 13, "all valid states were visited");
    }

    async fn a_stale_worker_changes_nothing_in_any_state(scene: &Scene) {
        for state in every_state() {
            for command in FIRST_OF_WORKER..COMMANDS.len() {
                check_stale(scene, state, command).await;
            }
        }
    }

    async fn every_command_on_a_chat_that_does_not_exist_is_not_found_or_fenced(scene: &Scene) {
        let mut cell = cell(scene, (ChatStatus::Running, false, 0, false)).await;
        cell.chat.id = scene.ids.id();
        for (command, name) in COMMANDS.iter().enumerate() {
            let outcome = run(scene, &cell, command, &cell.fence).await;
            let expected = match outcome {
                Err(StoreError::NotFound) => command < FIRST_OF_WORKER,
                Err(StoreError::Fenced) => command >= FIRST_OF_WORKER,
                _ => false,
            };
            assert!(expected, "{name}: {outcome:?}");
        }
    }
}
