//! The tools of one step: all at once, each result stored and shown when it is there.
//!
//! ```text
//!  open operations ─► one task each (16 at once) ─► ToolRunner::run
//!        ▲                     │ Unknown, Unavailable: wait for the workspace, same key again
//!        │ committed intent    ▼
//!        └──────────── store_tool_result, one commit each; the last one seals the batch
//! ```
//!
//! A task may be dropped at any moment: the daemon's journal answers or re-attaches the next one
//! that asks with the same key. A panic of one tool is an error result of that call.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use shared::ids::{IdSource, OpId};
use shared::protocol::call::Fence;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::watch::Stop;
use super::{Flow, Leave, Runner, failure};
use crate::chat::content::Part;
use crate::chat::event::{ChatStatus, PreviewKind};
use crate::chat::family::AgentType;
use crate::chat::hub::{EpisodeWriter, Piece};
use crate::chat::machine::{Gate, Mode, ToolAnswer};
use crate::chat::plan;
use crate::chat::ports::{Told, ToolRun, ToolRunner};
use crate::store::chats::{ChatRow, OperationPhase, OperationRow, ToolStored, WorkerFence};
use crate::tools::advisor::ADVISOR;
use crate::tools::{LiveOutput, OperationKey, ToolError, ToolOutcome};

/// Tools of one chat that run at once.
const PARALLEL_MAX: usize = 16;
/// Time that stopped tools have to answer by themselves.
const STOPPED_WAIT: Duration = Duration::from_secs(2);
/// The mode of a call that was let through as one that changes nothing.
const PLAN: &str = "plan";
/// Pause before a workspace that is there, but refused the work, is asked again.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// What one tool's task ends with.
enum Ended {
    Answered { outcome: ToolOutcome, queued: Duration, duration: Duration },
    Cancelled,
    Fenced,
}

/// The calls of one step that run.
struct Batch {
    tools: Arc<dyn ToolRunner>,
    writer: Arc<EpisodeWriter>,
    cancel: CancellationToken,
    permits: Arc<Semaphore>,
    running: JoinSet<Ended>,
    names: HashMap<Id, OperationRow>,
    /// Those that run, or whose answer is shown.
    known: HashSet<OpId>,
    /// Calls about agents that are to be carried out.
    of_agents: VecDeque<OperationRow>,
    /// Calls that are answered with an error, as one of them had to be alone.
    refused: Vec<OperationRow>,
}

impl Batch {
    fn new(tools: Arc<dyn ToolRunner>, writer: Arc<EpisodeWriter>) -> Self {
        let parallel = if shared::fault::rarely("tools: one at a time") { 1 } else { PARALLEL_MAX };
        Self {
            tools,
            writer,
            cancel: CancellationToken::new(),
            permits: Arc::new(Semaphore::new(parallel)),
            running: JoinSet::new(),
            names: HashMap::new(),
            known: HashSet::new(),
            of_agents: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    fn start(&mut self, row: OperationRow, run: ToolRun) {
        let (tools, permits) = (Arc::clone(&self.tools), Arc::clone(&self.permits));
        let asked = Instant::now();
        let task = self.running.spawn(async move {
            let _permit = permits.acquire().await;
            to_an_answer(&*tools, run, asked.elapsed()).await
        });
        self.names.insert(task.id(), row);
    }
}

impl Runner {
    /// Runs every call of the open batch that has no answer.
    pub(super) async fn run_tools(&mut self) -> Flow {
        self.load_operations().await?;
        let rows = self.operations.clone().unwrap_or_default();
        if !rows.iter().any(OperationRow::is_open) {
            // The row counts open calls that are not there: never to be tried again and again.
            tracing::error!(chat.id = %self.id, unanswered = self.chat.unanswered,
                "a chat waits for calls that do not exist");
            return self.finish_error(failure::internal()).await;
        }
        self.trace_tools(&rows);
        let writer = Arc::new(self.shared.hub.open(self.id, self.episode(), self.epoch()));
        self.preview = Some(Arc::clone(&writer));
        let mut batch = Batch::new(Arc::clone(&self.shared.tools), writer);
        // Whatever way this function is left, nothing goes on waiting.
        let _cancel_at_end = batch.cancel.clone().drop_guard();
        self.start_allowed(&mut batch, rows);
        if !self.run_agent_calls(&mut batch).await? {
            return Ok(());
        }
        let (mut stopping, mut moved): (Option<Instant>, bool) = (None, false);
        while !batch.running.is_empty() {
            let seen = self.seen();
            let joined = tokio::select! {
                biased;
                joined = batch.running.join_next_with_id() => joined,
                stop = self.watch.stopped(Duration::ZERO, seen), if stopping.is_none() => {
                    match stop {
                        Stop::Decided(row) => {
                            self.decided(*row, &mut batch).await?;
                            if !self.run_agent_calls(&mut batch).await? {
                                return Ok(());
                            }
                        }
                        stop => {
                            moved = matches!(stop, Stop::Moved);
                            self.stop_tools(stop, &batch.cancel, &mut stopping).await?;
                        }
                    }
                    continue;
                }
                () = until(stopping) => {
                    batch.cancel.cancel();
                    break;
                }
            };
            let Some(joined) = joined else { break };
            let (task, ended) = match joined {
                Ok((task, ended)) => (task, ended),
                Err(error) => (error.id(), panicked()),
            };
            let Some(row) = batch.names.remove(&task) else { continue };
            match ended {
                Ended::Answered { outcome, queued, duration } => {
                    self.trace_tool_over(&row, &outcome, (queued, duration));
                    if !self.store_answer(&row, outcome, duration, &batch.writer).await? {
                        // The chat moved on: what is left of the batch is decided anew.
                        return Ok(());
                    }
                    if self.chat.awaited != seen.awaited && self.chat.unanswered > 0 {
                        self.decided(self.chat.clone(), &mut batch).await?;
                    }
                }
                Ended::Cancelled => {}
                Ended::Fenced => return Err(Leave::Outrun),
            }
        }
        if moved {
            self.look_again().await?;
        }
        Ok(())
    }

    /// People decided something of the batch while it runs: what they allowed begins.
    async fn decided(&mut self, row: ChatRow, batch: &mut Batch) -> Flow {
        self.chat = row;
        self.operations = None;
        self.load_operations().await?;
        let rows = self.operations.clone().unwrap_or_default();
        self.start_allowed(batch, rows);
        Ok(())
    }

    /// Shows what is new in the batch and begins what may run.
    fn start_allowed(&self, batch: &mut Batch, rows: Vec<OperationRow>) {
        // What must be called alone was called with others: none of them runs.
        let exclusive = rows.len() > 1 && rows.iter().any(|row| row.tool == ADVISOR);
        for row in rows {
            if row.is_awaited() || !batch.known.insert(row.op_id) {
                continue;
            }
            show(&batch.writer, &row);
            if !row.is_open() {
                continue;
            }
            self.trace_tool(&row);
            if exclusive {
                batch.refused.push(row);
            } else if self.shared.agents.has(&row.tool) || row.tool == ADVISOR {
                batch.of_agents.push_back(row);
            } else {
                let run = self.tool_run(&row, &batch.writer, &batch.cancel);
                batch.start(row, run);
            }
        }
    }

    /// Carries out the calls about agents, one commit each. False: the chat moved on.
    async fn run_agent_calls(&mut self, batch: &mut Batch) -> Result<bool, Leave> {
        let writer = Arc::clone(&batch.writer);
        for row in std::mem::take(&mut batch.refused) {
            let text =
                format!("`{ADVISOR}` is called alone, in a step of its own. Nothing was done.");
            let outcome = ToolOutcome::error("exclusive_tool", text);
            self.trace_tool_over(&row, &outcome, (Duration::ZERO, Duration::ZERO));
            if !self.store_answer(&row, outcome, Duration::ZERO, &writer).await? {
                return Ok(false);
            }
        }
        while let Some(row) = batch.of_agents.pop_front() {
            let went_on = if row.tool == ADVISOR {
                self.run_advisor(&row, &writer).await?
            } else {
                self.run_agent_call(&row, &writer).await?
            };
            if !went_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tool_run(
        &self,
        row: &OperationRow,
        writer: &Arc<EpisodeWriter>,
        cancel: &CancellationToken,
    ) -> ToolRun {
        let (shown, index) = (Arc::clone(writer), index_of(row));
        let kind = PreviewKind::ToolResult;
        // The stricter of what it was let through as and what the chat is now.
        let explores = self.chat.agent_type == Some(AgentType::Explore);
        let mode = if row.read_only && !explores { PLAN } else { self.chat.tool_mode() }.to_owned();
        let operation = OperationKey {
            read_only: explores || Mode::of(&mode).is_read_only(),
            ..key_of(row, &self.fence, &*self.shared.ids)
        };
        ToolRun {
            chat_id: self.id,
            workspace_id: self.chat.workspace_id,
            mode,
            operation,
            tool: row.tool.clone(),
            args: row.args.clone(),
            live: LiveOutput::new(move |text| shown.publish(Piece::Delta { index, kind, text })),
            ends: self.is_of_check(row),
            cancel: cancel.clone(),
        }
    }

    /// A stop in the middle. A person's stop goes to the daemon, and what then answers by itself is
    /// still stored; any other stop leaves at once.
    async fn stop_tools(
        &mut self,
        stop: Stop,
        cancel: &CancellationToken,
        stopping: &mut Option<Instant>,
    ) -> Flow {
        if !matches!(stop, Stop::Moved) {
            self.stopped(stop).await?;
        }
        self.stop_told = true;
        match self.stop_operations().await {
            Told::Heard => *stopping = Some(Instant::now() + STOPPED_WAIT),
            Told::Unheard => {
                cancel.cancel();
                *stopping = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Commits one answer and shows it. False: the chat moved on.
    pub(super) async fn store_answer(
        &mut self,
        row: &OperationRow,
        outcome: ToolOutcome,
        duration: Duration,
        writer: &EpisodeWriter,
    ) -> Result<bool, Leave> {
        shared::fault::pass("w6 result").await;
        let mut answer = ToolAnswer {
            op_id: row.op_id,
            result: outcome.result,
            is_error: outcome.is_error,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            plan: None,
        };
        if row.tool == "update_plan" && !answer.is_error {
            match plan::ticked(self.chat.plan.as_ref(), &row.args) {
                Ok((plan, told)) => (answer.plan, answer.result) = (Some(plan), told),
                Err(told) => (answer.is_error, answer.result) = (true, told),
            }
        }
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let stored = self.write(|| store.store_tool_result(id, &fence, &answer)).await?;
        let Some(stored) = stored else { return Ok(false) };
        if let Some(workspace) = row.workspace_id
            && !shared::fault::rarely("tools: not acknowledged")
        {
            self.shared.tools.acknowledge(workspace, vec![row.op_id]);
            self.acknowledged.push(row.op_id);
        }
        self.took(row, stored, Some(answer), writer);
        Ok(true)
    }

    /// Goes on from a commit of the batch, and shows the answer if there is one.
    pub(super) fn took(
        &mut self,
        row: &OperationRow,
        stored: ToolStored,
        answer: Option<ToolAnswer>,
        writer: &EpisodeWriter,
    ) {
        self.chat = stored.chat;
        self.fence = stored.fence;
        let answered = answer.is_some();
        if let Some(answer) = answer {
            let part = result_part(row, answer).into();
            writer.publish(Piece::Done { index: index_of(row), part });
        }
        if let Some(sealed) = stored.sealed {
            self.trace_step_over(serde_json::Value::Null);
            self.history.push(sealed);
            self.history.extend(stored.steered);
            self.operations = None;
            self.attempt_begun = stored.attempt_begun;
            self.preview = None;
        } else if let Some(known) =
            self.operations.iter_mut().flatten().find(|known| known.op_id == row.op_id)
        {
            if answered {
                known.phase = OperationPhase::Done;
            } else {
                known.gate = Gate::Agents;
            }
        }
        self.tell();
        if self.chat.status != ChatStatus::Running {
            self.tell_lists();
        }
    }
}

/// Runs one tool until there is an answer; a workspace that is away is waited for.
async fn to_an_answer(tools: &dyn ToolRunner, run: ToolRun, queued: Duration) -> Ended {
    let begun = Instant::now();
    shared::fault::pass("w1 dispatch").await;
    loop {
        let ran = match tools.deadline(&run.tool) {
            // Only while the workspace answers: one that is away is waited for.
            Some(deadline) => match tokio::time::timeout(deadline, tools.run(run.clone())).await {
                Ok(ran) => ran,
                Err(_) => Ok(hung(tools, &run, deadline).await),
            },
            None => tools.run(run.clone()).await,
        };
        match ran {
            Ok(outcome) => {
                if run.ends
                    && !outcome.process_ids.is_empty()
                    && let Some(workspace) = run.workspace_id
                {
                    tools.stop(workspace, &run.operation).await;
                }
                return Ended::Answered { outcome, queued, duration: begun.elapsed() };
            }
            Err(ToolError::Fenced) => return Ended::Fenced,
            Err(ToolError::Cancelled) => return Ended::Cancelled,
            Err(error @ (ToolError::Unknown { .. } | ToolError::Unavailable { .. })) => {
                tracing::info!(chat.id = %run.chat_id, op.id = %run.operation.op_id,
                    error = &error as &dyn std::error::Error, "a tool waits for its workspace");
                let Some(workspace) = run.workspace_id else { return Ended::Cancelled };
                let again = async {
                    tokio::time::sleep(AGAIN_PAUSE).await;
                    tools.reachable(workspace).await;
                };
                tokio::select! {
                    biased;
                    () = run.cancel.cancelled() => return Ended::Cancelled,
                    () = again => {}
                }
            }
        }
    }
}

/// What a tool answers that did not end in time. Whatever it says afterwards is dropped with it: the
/// call has its answer, and takes no second one.
async fn hung(tools: &dyn ToolRunner, run: &ToolRun, deadline: Duration) -> ToolOutcome {
    if let Some(workspace) = run.workspace_id {
        tools.stop(workspace, &run.operation).await;
    }
    let text = format!(
        "`{}` did not end within {} s and was given up. It may have had effects: look before you \
         repeat it.",
        run.tool,
        deadline.as_secs()
    );
    ToolOutcome::error("deadline_exceeded", text)
}

/// Until the moment; for ever without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What a task that panicked answers.
fn panicked() -> Ended {
    tracing::error!("a tool panicked; its call gets an error result");
    let outcome = ToolOutcome {
        result: json!({ "error": { "code": "internal",
            "message": "The tool failed inside the server; its log has the details." } }),
        is_error: true,
        process_ids: Vec::new(),
    };
    Ended::Answered { outcome, queued: Duration::ZERO, duration: Duration::ZERO }
}

/// Names and fences an operation for the daemon: the stored intent, under the present epoch.
pub(super) fn key_of(row: &OperationRow, fence: &WorkerFence, ids: &dyn IdSource) -> OperationKey {
    OperationKey {
        op_id: row.op_id,
        fence: Fence {
            scope: row.chat_id.to_string(),
            epoch: fence.epoch.unsigned_abs(),
            hash: row.args_hash.clone(),
        },
        // Only operations start processes, and theirs is in the intent.
        process_id: row.process_id.unwrap_or_else(|| ids.id()),
        read_only: row.read_only,
    }
}

pub(super) fn index_of(row: &OperationRow) -> u32 {
    u32::try_from(row.ordinal).unwrap_or(u32::MAX)
}

/// What viewers see of an operation at the beginning.
fn show(writer: &EpisodeWriter, row: &OperationRow) {
    let index = index_of(row);
    writer.publish(Piece::Start {
        index,
        kind: PreviewKind::ToolResult,
        tool_call_id: &row.tool_call_id,
        name: &row.tool,
    });
    if let Some(result) = &row.result {
        let answer = ToolAnswer {
            op_id: row.op_id,
            result: result.clone(),
            is_error: row.is_error,
            duration_ms: row.duration_ms.unsigned_abs(),
            plan: None,
        };
        writer.publish(Piece::Done { index, part: result_part(row, answer).into() });
    }
}

fn result_part(row: &OperationRow, answer: ToolAnswer) -> Part {
    Part::ToolResult {
        tool_call_id: row.tool_call_id.clone(),
        name: row.tool.clone(),
        result: answer.result,
        is_error: answer.is_error,
        duration_ms: answer.duration_ms,
    }
}
