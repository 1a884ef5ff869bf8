//! One match: the name of a method → the service that answers it. The daemon's table of contents.
//!
//! ```text
//! read        decode ──► service ──► answer
//! operation   decode ──► journal.begin ──► service ──► token.commit ──► answer
//! ```
//!
//! An operation runs to its recorded end whether or not its caller is still there. A read that
//! waits (`process/wait`, `process/follow`) ends when its caller goes away.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use shared::ids::OpId;
use shared::protocol::call::Fence;
use shared::protocol::operation::{CancelOperation, OperationState, QueryOperation};
use shared::protocol::process::{
    FollowItem, FollowOutput, Following, GetProcess, ListProcesses, ReadOutput, SignalProcess,
    StartProcess, StartSandboxed, StopProcess, ViewOutput, WaitProcess, WriteStdin,
};
use shared::protocol::pty::{ClosePty, METHODS, OpenPty, ResizePty, WritePty};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::wire::incoming::Answerer;
use shared::wire::io::WriteError;
use shared::wire::{Dispatch, IncomingCall};

use crate::files::{self, FilesHandle};
use crate::journal::{Admission, Interrupted, JournalHandle, Settlement};
use crate::process::{FollowStep, ProcessHandle};
use crate::pty::{self, PtyHandle};

/// Answers calls. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    /// Which operation was done.
    pub journal: JournalHandle,
    /// The processes.
    pub processes: ProcessHandle,
    /// The terminals.
    pub ptys: PtyHandle,
    /// The files.
    pub files: FilesHandle,
}

impl Dispatch for Dispatcher {
    async fn handle(&self, call: IncomingCall) {
        let Self { journal, processes, ptys, files } = self;
        let method = call.header.method.clone();
        if call.header.read_only && !changes_nothing(&method) {
            return refuse_change(call).await;
        }
        let answered = match method.as_str() {
            QueryOperation::NAME => {
                call.read(async |request: QueryOperation| Ok(journal.query(request.op_id).await))
                    .await
            }
            CancelOperation::NAME => self.cancel(call).await,

            StartProcess::NAME => {
                self.start(call, async |op, request: StartProcess, begun| {
                    processes.start(op, &request, begun).await
                })
                .await
            }
            StartSandboxed::NAME => {
                self.start(call, async |op, request: StartSandboxed, begun| {
                    processes.start_sandboxed(op, &request, begun).await
                })
                .await
            }
            SignalProcess::NAME => {
                self.operate(call, |op, request: SignalProcess| async move {
                    processes.signal(op, &request).await
                })
                .await
            }
            StopProcess::NAME => {
                self.operate(call, |_, request: StopProcess| async move {
                    processes.stop(&request).await
                })
                .await
            }
            WriteStdin::NAME => {
                self.operate(call, |op, request: WriteStdin| processes.write_stdin(op, request))
                    .await
            }
            GetProcess::NAME => {
                call.read(async |request: GetProcess| processes.get(request.process_id).await).await
            }
            ListProcesses::NAME => {
                call.read(async |request: ListProcesses| processes.list(&request)).await
            }
            WaitProcess::NAME => {
                call.read(async |request: WaitProcess| processes.wait(&request).await).await
            }
            ViewOutput::NAME => {
                call.read(async |request: ViewOutput| processes.view(request).await).await
            }
            ReadOutput::NAME => {
                call.page(async |request: ReadOutput| processes.read(&request).await).await
            }
            FollowOutput::NAME => self.follow(call).await,

            OpenPty::NAME => {
                self.start(call, async |op, request: OpenPty, begun| {
                    ptys.start(op, &request, begun).await
                })
                .await
            }
            ClosePty::NAME => {
                self.operate(call, |_, request: ClosePty| async move { ptys.close(&request).await })
                    .await
            }
            ResizePty::NAME => {
                self.operate(
                    call,
                    |_, request: ResizePty| async move { ptys.resize(&request).await },
                )
                .await
            }
            WritePty::NAME => {
                self.operate(call, |op, request: WritePty| ptys.write(op, request)).await
            }
            name if METHODS.contains(&name) => {
                pty::serve(ptys, call).await;
                Ok(())
            }

            name if files::serves(name) => {
                files::serve(files, journal, call).await;
                Ok(())
            }
            _ => {
                let shown: String = method.chars().take(64).collect();
                let text = format!("this agentd does not know the method {shown:?}");
                let error = WireError::refused(ErrorCode::Unsupported, text);
                call.answer.fail(error.with("version", env!("CARGO_PKG_VERSION"))).await
            }
        };
        if let Err(error) = answered {
            tracing::debug!(%method, %error, "the caller has gone away");
        }
    }

    async fn acknowledged(&self, op_ids: Vec<OpId>) {
        self.journal.acknowledge(&op_ids);
    }
}

/// Whether a caller that may change nothing may ask for this. A list of what may: a method that is added
/// is refused until somebody has thought about it.
fn changes_nothing(method: &str) -> bool {
    const READS: &[&str] = &[
        QueryOperation::NAME,
        GetProcess::NAME,
        ListProcesses::NAME,
        WaitProcess::NAME,
        ViewOutput::NAME,
        ReadOutput::NAME,
        FollowOutput::NAME,
    ];
    // To end what was begun, and to run something that the operating system keeps from changes.
    const HARMLESS: &[&str] = &[CancelOperation::NAME, StartSandboxed::NAME];
    READS.contains(&method) || HARMLESS.contains(&method) || files::only_reads(method)
}

async fn refuse_change(call: IncomingCall) {
    let shown: String = call.header.method.chars().take(64).collect();
    let text = format!("{shown} could change something, and the caller's mode allows no changes");
    let error = WireError::refused(ErrorCode::ReadOnlyMode, text).with("method", shown);
    if let Err(error) = call.answer.fail(error).await {
        tracing::debug!(%error, "the caller has gone away");
    }
}

impl Dispatcher {
    /// Finds out, before the first call, about everything that had begun when the daemon ended.
    pub async fn recover(&self, interrupted: Vec<Interrupted>) -> Result<(), WireError> {
        for operation in &interrupted {
            let settlement = match files::settle(&self.files, operation).await {
                Some(settlement) => Some(settlement),
                None => self.settle(operation),
            };
            tracing::info!(
                op.id = %operation.op_id,
                method = operation.method,
                known = settlement.is_some(),
                "an operation was interrupted by the end of the daemon"
            );
            if let Some(settlement) = settlement {
                self.journal.settle(operation.op_id, settlement).await?;
            }
        }
        Ok(())
    }

    /// None: nobody can know, so it is answered `outcome_unknown`.
    fn settle(&self, operation: &Interrupted) -> Option<Settlement> {
        match operation.method.as_str() {
            StartProcess::NAME | StartSandboxed::NAME => {
                Some(match self.processes.recover(operation.op_id) {
                    Some(outcome) => Settlement::Ended(encode(outcome)),
                    None => Settlement::NeverRan,
                })
            }
            OpenPty::NAME => Some(match self.ptys.recover(operation.op_id) {
                Some(outcome) => Settlement::Ended(encode(outcome)),
                None => Settlement::NeverRan,
            }),
            // A keeper does the same operation once; a stop and a size can be repeated.
            SignalProcess::NAME
            | StopProcess::NAME
            | WriteStdin::NAME
            | ClosePty::NAME
            | ResizePty::NAME
            | WritePty::NAME => Some(Settlement::NeverRan),
            _ => None,
        }
    }

    /// Runs an operation through the journal and answers it.
    async fn operate<M: Method, F>(
        &self,
        call: IncomingCall,
        run: impl FnOnce(OpId, M) -> F,
    ) -> Result<(), WriteError>
    where
        F: Future<Output = Result<M::Reply, WireError>>,
    {
        let asked = call.decode::<M>().and_then(|request| Ok((request, operation(&call)?)));
        let (request, (op, fence)) = match asked {
            Ok(asked) => asked,
            Err(error) => return call.answer.fail(error).await,
        };
        let outcome = match self.journal.begin(op, &fence, M::NAME).await {
            Admission::Begin(token) => {
                let outcome = run(op, request).await;
                token.commit(encode(outcome)).await
            }
            Admission::Answered(outcome) => Ok(outcome),
            Admission::Attach(attached) => attached.outcome().await,
            Admission::Refused(error) => Err(error),
        };
        answer_encoded(call.answer, outcome).await
    }

    /// As [`operate`](Self::operate), with one sync on the way instead of three: the journal's begin
    /// and the process's own record become durable beside each other, and the answer can be
    /// found out again from the latter.
    async fn start<M: Method>(
        &self,
        call: IncomingCall,
        run: impl AsyncFnOnce(OpId, M, Begun<'_>) -> Result<M::Reply, WireError>,
    ) -> Result<(), WriteError> {
        let asked = call.decode::<M>().and_then(|request| Ok((request, operation(&call)?)));
        let (request, (op, fence)) = match asked {
            Ok(asked) => asked,
            Err(error) => return call.answer.fail(error).await,
        };
        let outcome = match self.journal.claim(op, &fence, M::NAME).await {
            Admission::Begin(mut token) => match run(op, request, Box::pin(token.begun())).await {
                Ok(view) => Ok(token.commit_recoverable(encode(Ok(view)))),
                Err(error) => match token.begun().await {
                    Ok(()) => token.commit(encode::<()>(Err(error))).await,
                    Err(error) => Err(error),
                },
            },
            Admission::Answered(outcome) => Ok(outcome),
            Admission::Attach(attached) => attached.outcome().await,
            Admission::Refused(error) => Err(error),
        };
        answer_encoded(call.answer, outcome).await
    }

    /// Idempotent by itself: the entry it makes is that of the cancelled operation.
    async fn cancel(&self, call: IncomingCall) -> Result<(), WriteError> {
        let asked = call.decode::<CancelOperation>().and_then(|request| {
            let (_, fence) = operation(&call)?;
            Ok((request, fence))
        });
        let state: Result<OperationState, WireError> = match asked {
            Ok((request, fence)) => self.journal.cancel(request.op_id, &fence).await,
            Err(error) => Err(error),
        };
        match state {
            Ok(state) => call.answer.answer(&Reply::Ok(state)).await,
            Err(error) => call.answer.fail(error).await,
        }
    }

    async fn follow(&self, call: IncomingCall) -> Result<(), WriteError> {
        let follower = call.decode::<FollowOutput>().and_then(|request| {
            // The header's offset is that of a caller that comes back.
            let offset = call.header.resume_from.unwrap_or(request.offset);
            self.processes.follow(request.process_id, offset)
        });
        let mut answer = call.answer;
        let mut follower = match follower {
            Ok(follower) => follower,
            Err(error) => return answer.fail(error).await,
        };
        answer.reply(&Reply::Ok(Following { process: follower.view() })).await?;
        loop {
            let step = tokio::select! {
                step = follower.next() => step,
                () = call.cancelled.cancelled() => return Ok(()),
            };
            match step {
                Ok(FollowStep::Chunk { offset, stream, bytes }) => {
                    let len = u32::try_from(bytes.len()).expect("a chunk is at most 256 KiB");
                    answer.item(&FollowItem::Chunk { offset, stream, len }).await?;
                    answer.raw(bytes).await?;
                }
                Ok(FollowStep::Dropped { from, to }) => {
                    answer.item(&FollowItem::Dropped { from, to }).await?;
                }
                Ok(FollowStep::End(process)) => {
                    answer.item(&FollowItem::End { process }).await?;
                    return answer.finish().await;
                }
                // Without an end item the caller knows that this was not all, and comes back.
                Err(error) => {
                    tracing::warn!(%error, "output could not be read for a follower");
                    return Ok(());
                }
            }
        }
    }
}

/// Resolves when the operation is durable in the journal, or cannot be.
type Begun<'a> = Pin<Box<dyn Future<Output = Result<(), WireError>> + Send + 'a>>;

async fn answer_encoded(
    mut answer: Answerer,
    outcome: Result<Bytes, WireError>,
) -> Result<(), WriteError> {
    match outcome {
        Ok(outcome) => {
            answer.reply_encoded(outcome).await?;
            answer.finish().await
        }
        Err(error) => answer.fail(error).await,
    }
}

/// The id and the fence that every operation carries.
fn operation(call: &IncomingCall) -> Result<(OpId, Fence), WireError> {
    let invalid = |field: &str, text: &str| {
        WireError::refused(ErrorCode::InvalidRequest, text).with("field", field)
    };
    let id = call.header.id.parse();
    let op = id.map_err(|_| invalid("id", "the id of an operation is an op_… id"))?;
    let fence = call.header.fence.clone();
    Ok((op, fence.ok_or_else(|| invalid("fence", "an operation needs a fence"))?))
}

fn encode<T: serde::Serialize>(outcome: Result<T, WireError>) -> Bytes {
    let reply = match outcome {
        Ok(value) => Reply::Ok(value),
        Err(error) => Reply::Err(error),
    };
    shared::wire::encode(&reply).into()
}
