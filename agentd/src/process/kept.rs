//! The daemon's end of the link to one keeper: what it tells goes into the table, what is asked of
//! it is answered.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use shared::clock::Clock;
use shared::ids::OpId;
use shared::lifecycle::Lifecycle;
use shared::limits::RAW_FRAME_MAX_BYTES;
use shared::protocol::process::{Exit, StdinWritten, Stopped};
use shared::protocol::pty::PtySize;
use shared::protocol::{ErrorCode, WireError};
use shared::wire::{Frame, FrameKind, FrameReader, FrameWriter, WriteError};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::keeper::protocol::{
    Asked, InputOutcome, Leader, Life, Refusal, Said, Status, TerminalStatus, TypingOutcome,
    VERSION,
};
use super::log::Budget;
use super::stdin::{self, StdinWriter};
use super::table::Process;

/// Requests that may wait for the link. Each is one operation of the control plane.
const QUEUE: usize = 16;

/// Receipts of statuses go with what is said next, or together: half of what a keeper sends ahead.
/// Each one by itself would wake the keeper between its output and the viewers.
const UNANSWERED_MAX: usize = 2;

/// Times that a link to one keeper is made. More is a fight that nobody wins.
const LINKS_MAX: usize = 1_000;

/// Asks one keeper. Cheap to clone.
#[derive(Clone)]
pub(super) struct KeeperHandle {
    asks: mpsc::Sender<Ask>,
}

/// What the daemon knows of a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// It was not executed.
    NotExecuted(Refusal),
    /// It runs.
    Running(Leader),
    /// It ended.
    Ended { leader: Leader, exit: Exit, at_ms: i64 },
    /// Its keeper is gone: what it wrote down decides.
    Gone,
}

enum Ask {
    Input { op: OpId, data: Vec<u8>, close: bool, answer: Answer },
    Type { viewer: String, seq: u64, data: Vec<u8>, answer: oneshot::Sender<TypingOutcome> },
    Resize { size: PtySize, answer: oneshot::Sender<()> },
    Signal { op: Option<OpId>, number: i32, answer: oneshot::Sender<bool> },
    Stop { grace_ms: u64, answer: oneshot::Sender<Stopped> },
    Release,
}

type Answer = oneshot::Sender<Result<StdinWritten, WireError>>;

/// Owns the socket of one keeper.
pub(super) struct KeeperLink {
    process: Arc<Process>,
    frames: FrameReader<OwnedReadHalf>,
    sink: FrameWriter<OwnedWriteHalf>,
    asks: mpsc::Receiver<Ask>,
    handle: KeeperHandle,
    seen: watch::Sender<Seen>,
    inputs: HashMap<u64, (usize, Answer)>,
    typings: HashMap<u64, oneshot::Sender<TypingOutcome>>,
    resizes: HashMap<u64, oneshot::Sender<()>>,
    signals: HashMap<u64, oneshot::Sender<bool>>,
    stops: HashMap<u64, oneshot::Sender<Stopped>>,
    next_ask: u64,
    /// Statuses that the keeper was not told the receipt of yet.
    unanswered: usize,
    /// The keeper is to go once nobody waits for a stop.
    is_releasing: bool,
    is_released: bool,
    parts: LinkParts,
}

/// What a link needs of the service.
pub(super) struct LinkParts {
    pub(super) output_dir: Arc<Path>,
    pub(super) budget: Arc<Budget>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lifecycle: Lifecycle,
    /// Connects to the keeper again; none: it is gone. Blocks for moments.
    pub(super) find: Arc<dyn Fn() -> Option<StdUnixStream> + Send + Sync>,
}

impl KeeperHandle {
    /// Writes all of `data` to standard input, then closes it when `close`. The same operation is
    /// written once, also by a daemon that asks again.
    pub(super) async fn write(
        &self,
        op: OpId,
        data: Vec<u8>,
        close: bool,
    ) -> Result<StdinWritten, WireError> {
        let (answer, written) = oneshot::channel();
        // A link that is gone is a process that has ended.
        let _ = self.asks.send(Ask::Input { op, data, close, answer }).await;
        written.await.unwrap_or_else(|_| Err(stdin::closed()))
    }

    /// Types into the terminal; resolves when it has all of `data`. None: the keeper is gone.
    pub(super) async fn type_in(
        &self,
        viewer: String,
        seq: u64,
        data: Vec<u8>,
    ) -> Option<TypingOutcome> {
        let (answer, typed) = oneshot::channel();
        let _ = self.asks.send(Ask::Type { viewer, seq, data, answer }).await;
        typed.await.ok()
    }

    /// Gives the terminal another size; false when the keeper is gone.
    pub(super) async fn resize(&self, size: PtySize) -> bool {
        let (answer, resized) = oneshot::channel();
        let _ = self.asks.send(Ask::Resize { size, answer }).await;
        resized.await.is_ok()
    }

    /// Signals the group; false when the leader was gone.
    pub(super) async fn signal(&self, op: Option<OpId>, number: i32) -> bool {
        let (answer, sent) = oneshot::channel();
        let _ = self.asks.send(Ask::Signal { op, number, answer }).await;
        sent.await.unwrap_or(false)
    }

    /// Ends the leader and everything that it started; none when the keeper is gone or of a version
    /// that cannot. Goes on when nobody waits any more.
    pub(super) async fn stop(&self, grace_ms: u64) -> Option<Stopped> {
        let (answer, stopped) = oneshot::channel();
        self.asks.send(Ask::Stop { grace_ms, answer }).await.ok()?;
        stopped.await.ok()
    }

    /// Lets the keeper go: everything it knows is on record.
    pub(super) async fn release(&self) {
        let _ = self.asks.send(Ask::Release).await;
    }
}

impl KeeperLink {
    /// The link over `stream`, its handle, and what it will see.
    pub(super) fn new(
        process: Arc<Process>,
        stream: StdUnixStream,
        parts: LinkParts,
    ) -> std::io::Result<(Self, KeeperHandle, watch::Receiver<Seen>)> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let (asks, receiver) = mpsc::channel(QUEUE);
        let handle = KeeperHandle { asks };
        let (seen, seeing) = watch::channel(Seen::Nothing);
        let link = Self {
            process,
            frames: FrameReader::new(read),
            sink: FrameWriter::new(write),
            asks: receiver,
            handle: handle.clone(),
            seen,
            inputs: HashMap::new(),
            typings: HashMap::new(),
            resizes: HashMap::new(),
            signals: HashMap::new(),
            stops: HashMap::new(),
            next_ask: 0,
            unanswered: 0,
            is_releasing: false,
            is_released: false,
            parts,
        };
        Ok((link, handle, seeing))
    }

    /// Serves until the keeper has gone or the daemon stops. The keeper stays.
    pub(super) async fn run(mut self) {
        let soft = self.parts.lifecycle.soft();
        for _ in 0..LINKS_MAX {
            tokio::select! {
                () = soft.cancelled() => return,
                () = self.serve() => {}
            }
            if self.is_released || !self.connect_again().await {
                break;
            }
        }
        self.process.detail().stdin = None;
        self.seen.send_replace(Seen::Gone);
    }

    /// A keeper serves whom it met last: a program of the same user that found its socket has taken
    /// the link, and the process must not be lost for it. Who waits for an answer is told that there
    /// is none, as if the keeper had gone.
    async fn connect_again(&mut self) -> bool {
        let find = Arc::clone(&self.parts.find);
        let found = self.parts.lifecycle.blocking("process.find", move || find()).await;
        let connected = found.and_then(|stream| {
            stream.set_nonblocking(true).ok()?;
            UnixStream::from_std(stream).ok()
        });
        let Some(stream) = connected else { return false };
        let (read, write) = stream.into_split();
        (self.frames, self.sink) = (FrameReader::new(read), FrameWriter::new(write));
        self.unanswered = 0;
        self.inputs.clear();
        self.typings.clear();
        self.resizes.clear();
        self.signals.clear();
        self.stops.clear();
        true
    }

    async fn serve(&mut self) {
        loop {
            let served = tokio::select! {
                frame = self.frames.next() => match frame {
                    Ok(Some(frame)) => self.take(&frame).await,
                    Ok(None) | Err(_) => return,
                },
                Some(ask) = self.asks.recv() => self.ask(ask).await,
            };
            if served.is_err() || self.is_released {
                return;
            }
        }
    }

    async fn take(&mut self, frame: &Frame) -> Result<(), WriteError> {
        match shared::wire::decode::<Said>(&frame.body) {
            Ok(Said::Hello { version, keeper, has_input, can_stop, typed, .. }) => {
                if version != VERSION {
                    tracing::info!(version, "a keeper of another version");
                }
                let mut detail = self.process.detail();
                detail.keeper_pid = Some(keeper);
                detail.keeper_can_stop = can_stop;
                let is_expected = detail.stdin.is_some();
                if !has_input {
                    detail.stdin = None;
                }
                drop(detail);
                if let Some(terminal) = &self.process.terminal {
                    terminal.met(typed);
                }
                if has_input && !is_expected {
                    expect_input(&self.process, &self.handle, &self.parts.lifecycle);
                }
            }
            Ok(Said::Status(status)) => {
                self.learn(*status);
                self.unanswered += 1;
                if self.unanswered >= UNANSWERED_MAX {
                    self.say(Vec::new()).await?;
                }
            }
            Ok(Said::Written { ask, written, outcome }) => {
                if let Some((len, answer)) = self.inputs.remove(&ask) {
                    // A caller that has gone away needs no answer.
                    let _ = answer.send(written_of(written, len, outcome));
                }
            }
            Ok(Said::Typed { ask, outcome }) => {
                if let Some(answer) = self.typings.remove(&ask) {
                    let _ = answer.send(outcome);
                }
            }
            Ok(Said::Resized { ask, terminal }) => {
                self.learn_terminal(terminal);
                if let Some(answer) = self.resizes.remove(&ask) {
                    let _ = answer.send(());
                }
            }
            Ok(Said::Signalled { ask, is_sent }) => {
                if let Some(answer) = self.signals.remove(&ask) {
                    let _ = answer.send(is_sent);
                }
            }
            Ok(Said::Stopped { ask, stopped }) => {
                if let Some(answer) = self.stops.remove(&ask) {
                    let _ = answer.send(stopped);
                }
                if self.is_releasing {
                    self.release_if_idle().await?;
                }
            }
            Err(error) => tracing::debug!(%error, "a keeper's message is passed over"),
        }
        Ok(())
    }

    /// The output before the end: "exited" implies that the output is final.
    fn learn(&self, status: Status) {
        let Status { life, output, pipes, facts, terminal, fresh } = status;
        self.process.detail().pipes = pipes;
        if let Some(terminal) = terminal {
            self.learn_terminal(terminal);
        }
        self.process.learn(facts);
        self.process.log.mirror(output, fresh);
        let seen = match life {
            Life::Preparing => return,
            Life::NotExecuted(refusal) => Seen::NotExecuted(refusal),
            Life::Running(leader) => Seen::Running(leader),
            Life::Ended { leader, exit, ago_ms } => {
                if matches!(*self.seen.borrow(), Seen::Ended { .. }) {
                    return; // it was told before, and its time with it
                }
                let ago_ms = i64::try_from(ago_ms).unwrap_or(0);
                let at_ms = self.parts.clock.now_ms().saturating_sub(ago_ms);
                Seen::Ended { leader, exit, at_ms }
            }
        };
        self.seen.send_if_modified(|before| {
            let is_news = *before != seen;
            *before = seen;
            is_news
        });
    }

    fn learn_terminal(&self, terminal: TerminalStatus) {
        if let Some(cell) = &self.process.terminal {
            cell.learn(terminal, &self.parts.output_dir.join(self.process.id().to_string()));
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), WriteError> {
        self.next_ask += 1;
        let number = self.next_ask;
        match ask {
            Ask::Input { op, data, close, answer } => {
                self.inputs.insert(number, (data.len(), answer));
                let len = data.len() as u64;
                let input = Asked::Input { ask: number, op, len, close };
                self.say_with(&input, data).await
            }
            Ask::Type { viewer, seq, data, answer } => {
                self.typings.insert(number, answer);
                let len = data.len() as u64;
                let typing = Asked::Type { ask: number, viewer, seq, len };
                self.say_with(&typing, data).await
            }
            Ask::Resize { size, answer } => {
                self.resizes.insert(number, answer);
                self.say(vec![Frame::message(&Asked::Resize { ask: number, size })]).await
            }
            Ask::Signal { op, number: signal, answer } => {
                self.signals.insert(number, answer);
                let asked = Asked::Signal { ask: number, op, number: signal };
                self.say(vec![Frame::message(&asked)]).await
            }
            Ask::Stop { grace_ms, answer } => {
                self.stops.insert(number, answer);
                self.say(vec![Frame::message(&Asked::Stop { ask: number, grace_ms })]).await
            }
            Ask::Release => {
                self.is_releasing = true;
                self.release_if_idle().await
            }
        }
    }
}

impl KeeperLink {
    /// A keeper that has gone answers nobody.
    async fn release_if_idle(&mut self) -> Result<(), WriteError> {
        if !self.stops.is_empty() {
            return Ok(());
        }
        self.is_released = true;
        self.say(vec![Frame::message(&Asked::Release)]).await
    }

    /// Says `frames` with one write, and before them what the keeper waits to hear of its statuses.
    async fn say(&mut self, frames: Vec<Frame>) -> Result<(), WriteError> {
        let squeeze = self.parts.budget.excess() > 0;
        let seen = Frame::message(&Asked::Seen { squeeze });
        let seen = std::iter::repeat_n(seen, std::mem::take(&mut self.unanswered));
        let all: Vec<Frame> = seen.chain(frames).collect();
        self.sink.write_together(&all).await
    }

    /// The same for a message with bytes behind it: one write, so that the keeper wakes once.
    async fn say_with(&mut self, asked: &Asked, data: Vec<u8>) -> Result<(), WriteError> {
        let mut data = Bytes::from(data);
        let first = data.split_to(data.len().min(RAW_FRAME_MAX_BYTES));
        let raw = (!first.is_empty()).then_some(Frame { kind: FrameKind::Raw, body: first });
        self.say(std::iter::once(Frame::message(asked)).chain(raw).collect()).await?;
        self.sink.write_raw(data).await
    }
}

/// Takes input for `process`, also before its keeper has said whether it has any: the keeper answers.
pub(super) fn expect_input(process: &Process, keeper: &KeeperHandle, lifecycle: &Lifecycle) {
    let (writer, handle) = StdinWriter::new(keeper.clone());
    process.detail().stdin = Some(handle);
    lifecycle.spawn_serving("process.stdin", writer.run());
}

fn written_of(written: u64, len: usize, outcome: InputOutcome) -> Result<StdinWritten, WireError> {
    match outcome {
        InputOutcome::Done => Ok(StdinWritten { written }),
        InputOutcome::Closed => Err(stdin::closed().with("written", written)),
        InputOutcome::Blocked => {
            let text = format!(
                "the process does not read its standard input: {written} of {len} bytes were taken"
            );
            Err(WireError::failed(ErrorCode::StdinBlocked, text).with("written", written))
        }
    }
}
