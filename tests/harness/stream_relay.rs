//! A relay of byte streams between a server and its database that can be cut.
//!
//! ```text
//! server ──TCP──► port of the relay ──TCP or Unix socket──► database
//! ```
//!
//! While it is cut nothing passes and nothing ends, as behind a firewall that drops; new connections
//! come up and hang. Healed, the old connections are closed, as after a long cut they would be.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where a relay leads.
#[derive(Clone, Debug)]
pub enum Place {
    /// `host:port`.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A relay on loopback. Dropped, it ends.
pub struct StreamRelay {
    port: u16,
    /// Rises with every cut and every healing; odd: it is cut.
    state: Arc<watch::Sender<u64>>,
    _stop: DropGuard,
}

impl StreamRelay {
    /// Relays to `target`.
    pub fn start(target: Place) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (state, stop) = (Arc::new(watch::Sender::new(0)), CancellationToken::new());
        let (states, stopped) = (state.subscribe(), stop.clone());
        std::thread::Builder::new().name("stream relay".to_owned()).spawn(move || {
            // A runtime of its own: a relay must not slow down with the test's.
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build()
            else {
                return;
            };
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = run(listener, target, states) => {}
                }
            });
        })?;
        Ok(Self { port, state, _stop: stop.drop_guard() })
    }

    /// Where to connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nothing passes from now on.
    pub fn cut(&self) {
        self.state.send_if_modified(|state| {
            let was_whole = state.is_multiple_of(2);
            *state += u64::from(was_whole);
            was_whole
        });
    }

    /// Ends what hangs, and lets everything through again.
    pub fn heal(&self) {
        self.state.send_if_modified(|state| {
            let was_cut = !state.is_multiple_of(2);
            *state += u64::from(was_cut);
            was_cut
        });
    }
}

async fn run(
    listener: std::net::TcpListener,
    target: Place,
    states: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (client, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let (target, mut states) = (target.clone(), states.clone());
        connections.spawn(async move {
            // Cut: the connection is there and says nothing.
            if states.wait_for(|state| state.is_multiple_of(2)).await.is_err() {
                return;
            }
            let state = *states.borrow();
            let copying = async {
                match &target {
                    Place::Tcp(address) => {
                        let server = TcpStream::connect(address).await?;
                        server.set_nodelay(true)?;
                        join(client, server, state, states.clone()).await
                    }
                    Place::Unix(path) => {
                        join(client, UnixStream::connect(path).await?, state, states.clone()).await
                    }
                }
            };
            let mut healed = states.clone();
            tokio::select! {
                _ = copying => {}
                _ = healed.wait_for(|now| *now > state + 1) => {}
            }
        });
    }
}

async fn join(
    client: TcpStream,
    server: impl AsyncRead + AsyncWrite,
    state: u64,
    states: watch::Receiver<u64>,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = tokio::io::split(server);
    tokio::select! {
        ended = copy(client_read, server_write, state, states.clone()) => ended,
        ended = copy(server_read, client_write, state, states) => ended,
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: u64,
    states: watch::Receiver<u64>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let len = from.read(&mut chunk).await?;
        if *states.borrow() != state {
            // What came after the cut goes nowhere; the healing ends this.
            std::future::pending::<()>().await;
        }
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..len]).await?;
    }
}
