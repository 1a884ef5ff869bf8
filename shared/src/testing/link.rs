//! An in-memory link with faults: it can cut, delay, split and reorder, all from one seed.
//!
//! ```text
//! open() ──► caller's halves ══ relay (faults) ══ answerer's halves ──► Dispatch
//! ```
//!
//! Streams are independent, as on QUIC: delays reorder calls against each other, never the bytes
//! within a stream. A cut breaks every stream at once with `ConnectionReset`; the answerer's
//! handlers run on, as those of a daemon do. Run it with paused time.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf as Split, WriteHalf,
};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;
use crate::wire::io::Opening;
use crate::wire::{Dispatch, IncomingCall, OpenStreams, ReadHalf};

/// Bytes that a stream holds in flight.
const WINDOW_BYTES: usize = 64 * 1024;
/// Largest piece that a relay passes on at once.
const PIECE_MAX_BYTES: usize = 16 * 1024;

/// Where the next call is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutPoint {
    /// Before a byte of the request arrives.
    BeforeRequest,
    /// The request arrives whole, nothing of the answer does.
    AfterRequest,
    /// So many bytes of the answer arrive.
    InAnswer(usize),
}

/// The caller's end. See the module's text.
pub struct TestLink {
    lifecycle: Lifecycle,
    accept: Box<dyn Fn(IncomingStream) + Send + Sync>,
    faults: Mutex<Faults>,
    opened: AtomicU64,
    cuts: AtomicU64,
}

struct Faults {
    rng: StdRng,
    delay: Duration,
    pieces: usize,
    /// Streams to pass before the cut, and where in the next one it comes.
    next_cut: Option<(u32, CutPoint)>,
    /// Cancelled by a cut; replaced when the link is restored.
    cut: CancellationToken,
}

struct IncomingStream {
    read: ReadHalf,
    write: WriteHalf<DuplexStream>,
    cancelled: CancellationToken,
}

impl TestLink {
    /// A link to `dispatch` without faults.
    pub fn new<D: Dispatch>(lifecycle: &Lifecycle, dispatch: Arc<D>, seed: u64) -> Arc<Self> {
        let tasks = lifecycle.clone();
        let accept = move |stream: IncomingStream| {
            let dispatch = Arc::clone(&dispatch);
            tasks.spawn_serving("test-link.call", async move {
                let IncomingStream { read, write, cancelled } = stream;
                // A malformed call was answered by `receive`; there is nothing to dispatch.
                if let Ok(call) = IncomingCall::receive(read, Box::new(write), cancelled).await {
                    dispatch.handle(call).await;
                }
            });
        };
        Arc::new(Self {
            lifecycle: lifecycle.clone(),
            accept: Box::new(accept),
            faults: Mutex::new(Faults {
                rng: StdRng::seed_from_u64(seed),
                delay: Duration::ZERO,
                pieces: PIECE_MAX_BYTES,
                next_cut: None,
                cut: CancellationToken::new(),
            }),
            opened: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        })
    }

    /// Breaks every open stream and refuses new ones until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.faults().cut.cancel();
    }

    /// Lets new streams be opened again.
    pub fn restore(&self) {
        let mut faults = self.faults();
        if faults.cut.is_cancelled() {
            faults.cut = CancellationToken::new();
        }
    }

    /// Cuts the whole link once the next opened stream comes to `point`.
    pub fn cut_next(&self, point: CutPoint) {
        self.cut_after(0, point);
    }

    /// As [`cut_next`](Self::cut_next), after `streams` more were opened.
    pub fn cut_after(&self, streams: u32, point: CutPoint) {
        self.faults().next_cut = Some((streams, point));
    }

    /// Delays each piece by a random time up to `at_most`; streams overtake each other.
    pub fn delay(&self, at_most: Duration) {
        self.faults().delay = at_most;
    }

    /// Passes bytes on in random pieces of at most `bytes`.
    pub fn split(&self, bytes: usize) {
        self.faults().pieces = bytes.clamp(1, PIECE_MAX_BYTES);
    }

    /// Streams opened so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Cuts so far.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("tests do not poison it")
    }

    fn open_now(self: &Arc<Self>) -> io::Result<(crate::wire::WriteHalf, ReadHalf)> {
        let (cut, point) = {
            let mut faults = self.faults();
            if faults.cut.is_cancelled() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let point = match faults.next_cut.take() {
                Some((0, point)) => Some(point),
                later => {
                    faults.next_cut = later.map(|(streams, point)| (streams - 1, point));
                    None
                }
            };
            (faults.cut.clone(), point)
        };
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (caller, near) = tokio::io::duplex(WINDOW_BYTES);
        let (far, answerer) = tokio::io::duplex(WINDOW_BYTES);
        let cancelled = CancellationToken::new();
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let (to_answerer, to_caller) = match point {
            Some(CutPoint::BeforeRequest) => (Some(0), None),
            Some(CutPoint::AfterRequest) => (None, Some(0)),
            Some(CutPoint::InAnswer(bytes)) => (None, Some(bytes)),
            None => (None, None),
        };
        self.relay(near_read, far_write, to_answerer, &cut);
        self.relay(far_read, near_write, to_caller, &cut);
        let (caller_read, caller_write) = tokio::io::split(caller);
        let (answerer_read, answerer_write) = tokio::io::split(answerer);
        let broken = cut.clone();
        let stop = cancelled.clone();
        self.lifecycle.spawn_serving("test-link.cut", async move {
            tokio::select! {
                () = broken.cancelled() => stop.cancel(),
                () = stop.cancelled() => {}
            }
        });
        let read = Box::new(Breakable { inner: answerer_read, cut: cut.clone(), on_drop: None });
        (self.accept)(IncomingStream { read, write: answerer_write, cancelled: cancelled.clone() });
        let read = Box::new(Breakable { inner: caller_read, cut, on_drop: Some(cancelled) });
        Ok((Box::new(caller_write), read))
    }

    /// Passes bytes on until the end, or until `cut_after` of them.
    fn relay(
        self: &Arc<Self>,
        mut from: Split<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        cut_after: Option<usize>,
        cut: &CancellationToken,
    ) {
        let link = Arc::clone(self);
        let cut = cut.clone();
        self.lifecycle.spawn_serving("test-link.relay", async move {
            let pass = async {
                let mut left = cut_after;
                loop {
                    let (piece, pause) = link.next_piece();
                    let mut bytes = vec![0; piece];
                    let Ok(read @ 1..) = from.read(&mut bytes).await else { break };
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    let passed = left.map_or(read, |left| read.min(left));
                    if to.write_all(&bytes[..passed]).await.is_err() {
                        break;
                    }
                    left = left.map(|left| left - passed);
                    if passed < read {
                        link.cut();
                    }
                }
                let _ = to.shutdown().await;
            };
            tokio::select! {
                () = cut.cancelled() => {}
                () = pass => {}
            }
        });
    }

    fn next_piece(&self) -> (usize, Duration) {
        let mut faults = self.faults();
        let most = faults.pieces;
        let piece = if most == PIECE_MAX_BYTES { most } else { faults.rng.random_range(1..=most) };
        let delay = faults.delay;
        let pause = delay.mul_f64(faults.rng.random::<f64>());
        (piece, pause)
    }
}

/// [`TestLink`] as the transport of a fleet.
pub struct TestStreams(pub Arc<TestLink>);

impl OpenStreams for TestStreams {
    fn open(&self) -> Opening<'_> {
        Box::pin(std::future::ready(self.0.open_now()))
    }
}

/// Reads as its inner half does, and fails as QUIC does when the link was cut.
struct Breakable {
    inner: Split<DuplexStream>,
    cut: CancellationToken,
    on_drop: Option<CancellationToken>,
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let at_end = matches!(polled, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        if at_end && buf.remaining() > 0 && self.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        polled
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        if let Some(cancelled) = &self.on_drop {
            cancelled.cancel();
        }
    }
}
