//! From the pipes to the log: one task per process, no polling, memory that does not grow.
//!
//! A little output is read and written in place. When a read fills its whole buffer the pipes are
//! flooded: then a blocking thread takes over for a while, so that the executor stays free, and
//! gives back when the pipes are empty.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shared::lifecycle::Lifecycle;
use shared::protocol::process::OutputStream;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::child;
use super::log::LogWriter;

/// One read in place: what a pipe holds by default.
const READ_BYTES: usize = 64 * 1024;
/// One read of a flood.
const BULK_READ_BYTES: usize = 256 * 1024;
/// A flooded pipe is made this large, so that reader and writer meet less often.
const BULK_PIPE_BYTES: usize = 1024 * 1024;
/// What a blocking thread reads before it lets others have its place.
const BULK_SLICE_BYTES: usize = 64 * 1024 * 1024;
/// How long a blocking thread waits for more before it gives back.
const BULK_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

thread_local! {
    /// Shared by all readers of the executor's thread: none of them holds it across a wait.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Reads both pipes to their end; closes the log when it is dropped.
pub(super) struct OutputReader {
    stdout: Option<Source>,
    stderr: Option<Source>,
    writer: LogWriter,
    lifecycle: Lifecycle,
}

struct Source {
    pipe: AsyncFd<Arc<OwnedFd>>,
    stream: OutputStream,
}

enum Took {
    /// Some bytes, or none for now.
    Some,
    /// A whole buffer: the pipe is flooded.
    Flood,
    /// The end.
    End,
}

impl OutputReader {
    pub(super) fn new(
        stdout: OwnedFd,
        stderr: OwnedFd,
        writer: LogWriter,
        lifecycle: Lifecycle,
    ) -> std::io::Result<Self> {
        let source = |pipe: OwnedFd, stream| {
            let pipe = child::watch(pipe, Interest::READABLE)?;
            std::io::Result::Ok(Some(Source { pipe, stream }))
        };
        Ok(Self {
            stdout: source(stdout, OutputStream::Stdout)?,
            stderr: source(stderr, OutputStream::Stderr)?,
            writer,
            lifecycle,
        })
    }

    /// Reads until both pipes have ended.
    pub(super) async fn run(mut self) {
        while self.stdout.is_some() || self.stderr.is_some() {
            let (stream, took) = tokio::select! {
                // Two pipes have no common order: what came within one turn of the executor is
                // told with standard output first, always.
                biased;
                ready = readable(self.stdout.as_ref()) => {
                    (OutputStream::Stdout, take(ready, OutputStream::Stdout, &mut self.writer))
                }
                ready = readable(self.stderr.as_ref()) => {
                    (OutputStream::Stderr, take(ready, OutputStream::Stderr, &mut self.writer))
                }
            };
            match (took, stream) {
                (Took::Some, _) => {}
                (Took::Flood, _) => self = self.take_in_bulk().await,
                (Took::End, OutputStream::Stdout) => self.stdout = None,
                (Took::End, OutputStream::Stderr) => self.stderr = None,
            }
        }
    }

    /// Reads on a blocking thread until the pipes are empty or the slice is used up.
    async fn take_in_bulk(self) -> Self {
        let Self { stdout, stderr, mut writer, lifecycle } = self;
        let pipe = |source: &Option<Source>| {
            source.as_ref().map(|source| (Arc::clone(source.pipe.get_ref()), source.stream))
        };
        let pipes: Vec<_> = [pipe(&stdout), pipe(&stderr)].into_iter().flatten().collect();
        let writer = lifecycle
            .blocking("process.output", move || {
                drain(&pipes, &mut writer);
                writer
            })
            .await;
        Self { stdout, stderr, writer, lifecycle }
    }
}

type Ready<'a> = std::io::Result<AsyncFdReadyGuard<'a, Arc<OwnedFd>>>;

/// Resolves when the pipe may have bytes or has ended; never for one that is gone. Cancel-safe.
async fn readable(source: Option<&Source>) -> Ready<'_> {
    match source {
        Some(source) => source.pipe.readable().await,
        None => std::future::pending().await,
    }
}

/// One read in place.
fn take(ready: Ready<'_>, stream: OutputStream, writer: &mut LogWriter) -> Took {
    let Ok(mut ready) = ready else { return Took::End };
    BUFFER.with_borrow_mut(|buffer| {
        match rustix::io::read(ready.get_inner(), buffer.as_mut_slice()) {
            Ok(0) => Took::End,
            Ok(read) => {
                writer.append(stream, &buffer[..read]);
                if read == buffer.len() { Took::Flood } else { Took::Some }
            }
            // Only an empty pipe takes the flag back: the kernel reports changes, not states.
            Err(Errno::AGAIN) => {
                ready.clear_ready();
                Took::Some
            }
            Err(Errno::INTR) => Took::Some,
            Err(_) => Took::End,
        }
    })
}

fn drain(pipes: &[(Arc<OwnedFd>, OutputStream)], writer: &mut LogWriter) {
    let mut buffer = vec![0; BULK_READ_BYTES];
    let mut left = BULK_SLICE_BYTES;
    for (pipe, _) in pipes {
        // Refused when the user has many large pipes; a small one works as well.
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, BULK_PIPE_BYTES);
    }
    while left > 0 {
        let mut took = 0;
        for (pipe, stream) in pipes {
            // The end is left for the task, which sees it again.
            if let Ok(read) = rustix::io::read(pipe, &mut buffer) {
                writer.append(*stream, &buffer[..read]);
                took += read;
            }
        }
        left = left.saturating_sub(took);
        if took == 0 && !wait(pipes) {
            return;
        }
    }
}

/// Whether one of the pipes has bytes within a moment.
fn wait(pipes: &[(Arc<OwnedFd>, OutputStream)]) -> bool {
    let mut fds: Vec<PollFd<'_>> = pipes
        .iter()
        .map(|(pipe, _)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN))
        .collect();
    let polled = rustix::event::poll(&mut fds, Some(&BULK_PATIENCE));
    polled.is_ok_and(|ready| ready > 0) && fds.iter().any(|fd| fd.revents().contains(PollFlags::IN))
}
