//! The matrix: every state × every command × a fence that fits or not, on both databases.
//!
//! What the store does must be what the machine says, and a stale worker must change nothing.

use controlplane::chat::event::ChatStatus;
use controlplane::chat::machine::{
    Asked, AssistantMessage, Awaited, Busy, ChatMachine, Effect, Event, ExecutionState, Facts,
    FallbackState, Gate, Intent, Queued, RetryState, Target, ToolAnswer,
};
use controlplane::store::chats::{
    ChatRow, Decide, Decision, OverdueCall, SendMessage, Settle, Verdict, WorkerFence,
};
use controlplane::store::{NewAudit, StoreError};
use serde_json::json;
use shared::ids::{MessageId, OpId, QueueId};

use crate::agents::{agent_of, new_agent};
use crate::scene::{Scene, answered, asking, failure, said};
use crate::schema::execute;

/// Columns of a chat, from which its state follows.
#[derive(Clone, Copy, Debug)]
struct Place {
    status: ChatStatus,
    archived: bool,
    queue: i64,
    calls: Calls,
}

/// The open batch of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Calls {
    /// None.
    Closed,
    /// One call that runs.
    Runs,
    /// One call that runs and one that waits for a person.
    Both,
    /// One call that waits for a person.
    Waits,
}

/// One cell of the matrix: a chat in a state, with what may be asked of it.
struct Cell {
    chat: ChatRow,
    fence: WorkerFence,
    queued: QueueId,
    said: MessageId,
    /// The call that runs.
    runs: Option<Intent>,
    /// The call that waits.
    waits: Option<Intent>,
}

/// Every combination of the columns, also those that contradict each other.
fn every_place() -> Vec<Place> {
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
                for calls in [Calls::Closed, Calls::Runs, Calls::Both, Calls::Waits] {
                    all.push(Place { status, archived, queue, calls });
                }
            }
        }
    }
    all
}

/// A chat that is exactly there, made by writing the columns.
async fn cell(scene: &Scene, place: Place) -> Cell {
    let Place { status, archived, queue, calls } = place;
    let (chat, fence) = scene.owned_chat().await;
    let said = scene.store.chats.history(chat.id).await.unwrap()[0].id;
    let mut fence = fence;
    let (mut runs, mut waits) = (None, None);
    let names: &[&str] = match calls {
        Calls::Closed => &[],
        Calls::Runs => &["runs"],
        Calls::Both => &["runs", "waits"],
        Calls::Waits => &["waits"],
    };
    if !names.is_empty() {
        let (message, intents) = asking(scene, names);
        fence =
            scene.store.chats.commit_step(chat.id, &fence, &message, &intents).await.unwrap().fence;
        for intent in intents {
            if intent.tool_call_id == "waits" {
                execute(
                    scene,
                    &format!(
                        "UPDATE operations SET gate = 'approval', deadline_at_ms = 1 \
                     WHERE op_id = '{}'",
                        intent.op_id
                    ),
                )
                .await;
                waits = Some(intent);
            } else {
                runs = Some(intent);
            }
        }
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
            "UPDATE chats SET status = '{}', archived = {archived}, queue_length = {queue}, \
             awaited = {} WHERE id = '{}'",
            status.as_str(),
            i64::from(waits.is_some()),
            chat.id
        ),
    )
    .await;
    Cell { chat: scene.head(&chat).await, fence, queued, said, runs, waits }
}

/// Names of the commands, in the order of [`run`].
const COMMANDS: [&str; 29] = [
    "send_queue",
    "send_steer",
    "send_interrupt",
    "delete_queued",
    "promote",
    "edit_queued",
    "move_queued",
    "edit_message",
    "switch_branch",
    "continue",
    "approve",
    "answer",
    "expire",
    "report",
    "interrupt",
    "archive",
    "unarchive",
    "reconcile",
    "abandon",
    "record_attempt",
    "record_retry",
    "fall_back",
    "commit_step",
    "store_tool_result",
    "finish_turn",
    "finish_interruption",
    "finish_error",
    "spawn",
    "spawn_and_wait",
];
/// Commands of a worker begin here.
const FIRST_OF_WORKER: usize = 18;

fn retry() -> RetryState {
    RetryState { attempt: 1, delay_ms: 1, retry_at_ms: 1, error: failure() }
}

fn fallback(scene: &Scene) -> FallbackState {
    FallbackState {
        model_id: scene.ids.id(),
        selected_model: "large-1".into(),
        answered_by: "small-1".into(),
        error: failure(),
    }
}

fn partial() -> AssistantMessage {
    AssistantMessage { content: said("partial").content, ..AssistantMessage::default() }
}

fn answer_of(op_id: OpId) -> ToolAnswer {
    ToolAnswer { op_id, result: json!("no"), is_error: true, duration_ms: 0, plan: None }
}

/// What the machine is told for a command.
fn event(scene: &Scene, cell: &Cell, command: usize) -> Event {
    let id = cell.queued;
    let found = (cell.chat.queue_length > 0).then_some(Queued { steer: false });
    let (message, intents) = asking(scene, &["b"]);
    let send = |busy| Event::Send { message: said("x"), busy };
    let op_id = cell.waits.as_ref().map_or_else(|| scene.ids.id(), |intent| intent.op_id);
    let awaited = if cell.waits.is_some() { Awaited::Waiting } else { Awaited::Unknown };
    let overdue = if cell.waits.is_some() { Awaited::Waiting } else { Awaited::Resolved };
    let answer = answer_of(op_id);
    match COMMANDS[command] {
        "send_queue" => send(Busy::Queue),
        "send_steer" => send(Busy::Steer),
        "send_interrupt" => send(Busy::Interrupt),
        "delete_queued" => Event::DeleteQueued { id, found },
        "promote" => Event::Promote { id, found },
        "edit_queued" => Event::EditQueued { id, found, message: said("y") },
        "move_queued" => Event::MoveQueued { id, found, to: 0 },
        "edit_message" => {
            Event::EditMessage { id: cell.said, found: Target::User, message: said("z") }
        }
        "switch_branch" => Event::SwitchBranch { id: cell.said, found: Target::User },
        "continue" => Event::Continue,
        "approve" => Event::Approve { op_id, found: awaited },
        "answer" => Event::Answer { answer, found: awaited },
        "expire" => Event::Expire { answer, found: overdue },
        "interrupt" => Event::Interrupt,
        "archive" => Event::SetArchived(true),
        "unarchive" => Event::SetArchived(false),
        "reconcile" => Event::Reconcile(failure()),
        "abandon" => Event::Abandon,
        "record_attempt" => Event::Attempt,
        "record_retry" => Event::Retry(retry()),
        "fall_back" => Event::FallBack(fallback(scene)),
        "commit_step" => Event::CommitStep { message, intents },
        "store_tool_result" | "spawn" => match &cell.runs {
            Some(intent) => Event::StoreResult { answer: answered(intent), found: Asked::Open },
            None => Event::StoreResult { answer: answered(&intents[0]), found: Asked::Unknown },
        },
        "spawn_and_wait" => {
            let found = if cell.runs.is_some() { Asked::Open } else { Asked::Unknown };
            let op_id = cell.runs.as_ref().map_or(op_id, |intent| intent.op_id);
            Event::Wait { op_id, found }
        }
        "report" => Event::Report(said("done")),
        "finish_turn" => Event::FinishTurn,
        "finish_interruption" => Event::FinishInterruption { partial: Some(partial()) },
        "finish_error" => Event::FinishError(failure()),
        other => panic!("no such command: {other}"),
    }
}

fn decide(scene: &Scene, cell: &Cell, settle: impl FnOnce(OpId) -> Settle) -> Decide {
    let op_id = cell.waits.as_ref().map_or_else(|| scene.ids.id(), |intent| intent.op_id);
    Decide {
        op_id,
        gate: Gate::Approval,
        args_hash: None,
        settle: settle(op_id),
        decision: Decision { verdict: Verdict::Once, by: Some(scene.owner), note: None },
        audit: NewAudit {
            actor_id: Some(scene.owner),
            action: "approval.decide".into(),
            target: None,
            detail: json!({}),
            request_id: None,
        },
        claim: None,
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
    match COMMANDS[command] {
        "send_queue" => chats.send(id, &send(Busy::Queue)).await.map(drop),
        "send_steer" => chats.send(id, &send(Busy::Steer)).await.map(drop),
        "send_interrupt" => chats.send(id, &send(Busy::Interrupt)).await.map(drop),
        "delete_queued" => chats.delete_queued(id, cell.queued).await.map(drop),
        "promote" => chats.promote_queued(id, cell.queued, None).await.map(drop),
        "edit_queued" => chats.edit_queued(id, cell.queued, &said("y")).await.map(drop),
        "move_queued" => chats.move_queued(id, cell.queued, 0).await.map(drop),
        "edit_message" => chats.edit_message(id, cell.said, &said("z"), None).await.map(drop),
        "switch_branch" => chats.show_branch(id, cell.said).await.map(drop),
        "continue" => chats.continue_turn(id, None).await.map(drop),
        "approve" => {
            let decide = decide(scene, cell, |_| Settle::Allow(None));
            chats.decide(id, &decide).await.map(drop)
        }
        "answer" => {
            let settle =
                |op_id| Settle::Answer { answer: answer_of(op_id), plan: None, mode: None };
            chats.decide(id, &decide(scene, cell, settle)).await.map(drop)
        }
        "expire" => {
            let op_id = cell.waits.as_ref().map_or_else(|| scene.ids.id(), |call| call.op_id);
            match chats.expire(OverdueCall { chat_id: id, op_id }).await {
                Ok(Some(_)) => Ok(()),
                // It tells nobody why: there is nothing to do.
                Ok(None) => Err(StoreError::NotFound),
                Err(error) => Err(error),
            }
        }
        "interrupt" => chats.interrupt(id).await.map(drop),
        "archive" => chats.set_archived(id, true).await.map(drop),
        "unarchive" => chats.set_archived(id, false).await.map(drop),
        "reconcile" => chats.reconcile(id, &failure()).await.map(drop),
        "abandon" => chats.abandon(id, fence).await,
        "record_attempt" => chats.record_attempt(id, fence).await.map(drop),
        "record_retry" => chats.record_retry(id, fence, &retry()).await.map(drop),
        "fall_back" => chats.fall_back(id, fence, &fallback(scene)).await.map(drop),
        "commit_step" => chats.commit_step(id, fence, &message, &intents).await.map(drop),
        "store_tool_result" => {
            let answer = answered(cell.runs.as_ref().unwrap_or(&intents[0]));
            chats.store_tool_result(id, fence, &answer).await.map(drop)
        }
        "spawn" | "spawn_and_wait" => {
            let op_id = cell.runs.as_ref().unwrap_or(&intents[0]).op_id;
            let waits = COMMANDS[command] == "spawn_and_wait";
            chats.spawn_agent(id, fence, op_id, &new_agent("look", waits)).await.map(drop)
        }
        "report" => {
            if chats.head(id).await?.is_none() {
                return Err(StoreError::NotFound);
            }
            let (agent, fence) = agent_of(scene, id).await;
            let finished = chats.finish_turn(agent, &fence).await?;
            finished.parent.map(drop).ok_or(StoreError::NotFound)
        }
        "finish_turn" => chats.finish_turn(id, fence).await.map(drop),
        "finish_interruption" => {
            chats.finish_interruption(id, fence, Some(&partial())).await.map(drop)
        }
        "finish_error" => chats.finish_error(id, fence, &failure()).await.map(drop),
        other => panic!("no such command: {other}"),
    }
}

/// One statement answers for all its refusals.
fn is_one_statement(command: usize) -> bool {
    matches!(COMMANDS[command], "record_attempt" | "record_retry")
}

/// The clock and an agent ask for nothing in return.
fn is_silent(command: usize) -> bool {
    matches!(COMMANDS[command], "expire" | "report")
}

async fn check_cell(scene: &Scene, state: Place, command: usize) {
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
            Err(StoreError::NotFound) => assert!(is_silent(command), "{place}"),
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

async fn check_stale(scene: &Scene, state: Place, command: usize) {
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
        let mut cells = 0;
        for place in every_place() {
            let (waits, runs) = match place.calls {
                Calls::Closed => (0, 0),
                Calls::Runs => (0, 1),
                Calls::Both => (1, 1),
                Calls::Waits => (1, 0),
            };
            seen.insert(ExecutionState::of(&Facts {
                status: place.status,
                archived: place.archived,
                queue: u32::try_from(place.queue).unwrap(),
                steered: 0,
                unanswered: waits + runs,
                awaited: waits,
                owned: false,
                retrying: false,
            }));
            for command in 0..COMMANDS.len() {
                check_cell(scene, place, command).await;
                cells += 1;
            }
        }
        assert!(seen.remove(&ExecutionState::Invalid), "contradictions were visited");
        assert_eq!(seen.len(), 13, "all valid states were visited");
        println!("matrix: {cells} cells of {} commands as the machine says", COMMANDS.len());
    }

    async fn a_stale_worker_changes_nothing_in_any_state(scene: &Scene) {
        for state in every_place() {
            for command in FIRST_OF_WORKER..COMMANDS.len() {
                check_stale(scene, state, command).await;
            }
        }
    }

    async fn every_command_on_a_chat_that_does_not_exist_is_not_found_or_fenced(scene: &Scene) {
        let here = Place {
            status: ChatStatus::Running,
            archived: false,
            queue: 0,
            calls: Calls::Closed,
        };
        let mut cell = cell(scene, here).await;
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
