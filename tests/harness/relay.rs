//! A relay of UDP datagrams between the daemon and the control plane that can be cut.
//!
//! ```text
//! daemon ──► port of the relay ──► one socket per sender ──► control plane
//!        ◄──                   ◄──
//! ```
//!
//! While it is cut it drops everything, both ways, as an unplugged cable does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Largest datagram.
const DATAGRAM_MAX_BYTES: usize = 64 * 1024;

/// A relay on loopback. Dropped, it ends.
pub struct Relay {
    port: u16,
    state: Arc<State>,
    _stop: DropGuard,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    passed: AtomicU64,
    dropped: AtomicU64,
}

impl Relay {
    /// Relays to `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let front = std::net::UdpSocket::bind("127.0.0.1:0")?;
        front.set_nonblocking(true)?;
        let port = front.local_addr()?.port();
        let state = Arc::new(State::default());
        let stop = CancellationToken::new();
        let relay = run(front, target, Arc::clone(&state));
        let stopped = stop.clone();
        std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            // A runtime of its own: a relay must not slow down with the test's.
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build()
            else {
                return;
            };
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = relay => {}
                }
            });
        })?;
        Ok(Self { port, state, _stop: stop.drop_guard() })
    }

    /// Where the daemon connects to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Drops everything from now on.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }

    /// Datagrams passed on and dropped.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.state.passed.load(Ordering::SeqCst), self.state.dropped.load(Ordering::SeqCst))
    }
}

impl State {
    fn lets_pass(&self) -> bool {
        let is_cut = self.is_cut.load(Ordering::SeqCst);
        let count = if is_cut { &self.dropped } else { &self.passed };
        count.fetch_add(1, Ordering::SeqCst);
        !is_cut
    }
}

async fn run(
    front: std::net::UdpSocket,
    target: SocketAddr,
    state: Arc<State>,
) -> std::io::Result<()> {
    let front = Arc::new(UdpSocket::from_std(front)?);
    let mut senders: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut backs = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        let (len, sender) = front.recv_from(&mut datagram).await?;
        let back = match senders.get(&sender) {
            Some(back) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
                back.connect(target).await?;
                backs.spawn(bring_back(
                    Arc::clone(&back),
                    Arc::clone(&front),
                    sender,
                    Arc::clone(&state),
                ));
                senders.insert(sender, Arc::clone(&back));
                back
            }
        };
        if state.lets_pass() {
            // A server that is down refuses datagrams; the sender finds out by silence.
            let _ = back.send(&datagram[..len]).await;
        }
    }
}

async fn bring_back(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    sender: SocketAddr,
    state: Arc<State>,
) {
    let mut datagram = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        // An error is the echo of a refused datagram; the next one may be answered.
        let Ok(len) = back.recv(&mut datagram).await else { continue };
        if state.lets_pass() {
            let _ = front.send_to(&datagram[..len], sender).await;
        }
    }
}
