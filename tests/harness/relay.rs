//! A relay of UDP datagrams between daemons and the control plane that can cut, lose, delay and
//! change its ports, all from one seed.
//!
//! ```text
//! daemon ──► port of the relay ──► one socket per sender ──► control plane
//!        ◄──                   ◄──
//! ```
//!
//! While it is cut it drops everything, both ways, as an unplugged cable does. A rebind gives every
//! daemon a new source port, as a NAT that has forgotten does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
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

struct State {
    is_cut: AtomicBool,
    passed: AtomicU64,
    dropped: AtomicU64,
    rebinds: AtomicU64,
    faults: Mutex<Faults>,
}

struct Faults {
    rng: StdRng,
    loss: f64,
    delay: Duration,
}

impl Relay {
    /// Relays to `target`.
    pub fn start(target: SocketAddr) -> Result<Self> {
        Self::seeded(target, 0)
    }

    /// Relays to `target`, with the luck of `seed`.
    pub fn seeded(target: SocketAddr, seed: u64) -> Result<Self> {
        let front = std::net::UdpSocket::bind("127.0.0.1:0")?;
        front.set_nonblocking(true)?;
        let port = front.local_addr()?.port();
        let state = Arc::new(State::new(seed));
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

    /// Loses this share of the datagrams, 0 to 1.
    pub fn lose(&self, share: f64) {
        self.state.faults().loss = share;
    }

    /// Delays each datagram by a random time up to this; they overtake each other.
    pub fn delay(&self, at_most: Duration) {
        self.state.faults().delay = at_most;
    }

    /// Gives every daemon a new source port.
    pub fn rebind(&self) {
        self.state.rebinds.fetch_add(1, Ordering::SeqCst);
    }

    /// Datagrams passed on and dropped.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.state.passed.load(Ordering::SeqCst), self.state.dropped.load(Ordering::SeqCst))
    }
}

impl State {
    fn new(seed: u64) -> Self {
        let faults = Faults { rng: StdRng::seed_from_u64(seed), loss: 0.0, delay: Duration::ZERO };
        Self {
            is_cut: AtomicBool::new(false),
            passed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            rebinds: AtomicU64::new(0),
            faults: Mutex::new(faults),
        }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("not poisoned")
    }

    /// The pause of a datagram; none: it is dropped.
    fn fate(&self) -> Option<Duration> {
        let mut faults = self.faults();
        let (luck, share) = (faults.rng.random::<f64>(), faults.rng.random::<f64>());
        let is_lost = self.is_cut.load(Ordering::SeqCst) || luck < faults.loss;
        let count = if is_lost { &self.dropped } else { &self.passed };
        count.fetch_add(1, Ordering::SeqCst);
        (!is_lost).then(|| faults.delay.mul_f64(share))
    }
}

async fn run(
    front: std::net::UdpSocket,
    target: SocketAddr,
    state: Arc<State>,
) -> std::io::Result<()> {
    let front = Arc::new(UdpSocket::from_std(front)?);
    let mut senders: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut rebinds = 0;
    let mut backs = JoinSet::new();
    let mut delayed = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        let (len, sender) = front.recv_from(&mut datagram).await?;
        while delayed.try_join_next().is_some() {}
        if rebinds != state.rebinds.load(Ordering::SeqCst) {
            rebinds = state.rebinds.load(Ordering::SeqCst);
            senders.clear();
            backs.abort_all();
        }
        let back = match senders.get(&sender) {
            Some(back) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
                back.connect(target).await?;
                let (from, to) = (Arc::clone(&back), Arc::clone(&front));
                backs.spawn(bring_back(from, to, sender, Arc::clone(&state)));
                senders.insert(sender, Arc::clone(&back));
                back
            }
        };
        let Some(pause) = state.fate() else { continue };
        if pause.is_zero() {
            // A server that is down refuses datagrams; the sender finds out by silence.
            let _ = back.send(&datagram[..len]).await;
        } else {
            let bytes = datagram[..len].to_vec();
            delayed.spawn(async move {
                tokio::time::sleep(pause).await;
                let _ = back.send(&bytes).await;
            });
        }
    }
}

async fn bring_back(
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    sender: SocketAddr,
    state: Arc<State>,
) {
    let mut delayed = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        // An error is the echo of a refused datagram; the next one may be answered.
        let Ok(len) = back.recv(&mut datagram).await else { continue };
        while delayed.try_join_next().is_some() {}
        let Some(pause) = state.fate() else { continue };
        if pause.is_zero() {
            let _ = front.send_to(&datagram[..len], sender).await;
        } else {
            let (front, bytes) = (Arc::clone(&front), datagram[..len].to_vec());
            delayed.spawn(async move {
                tokio::time::sleep(pause).await;
                let _ = front.send_to(&bytes, sender).await;
            });
        }
    }
}
