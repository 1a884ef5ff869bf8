//! The way to each living replica: a connection that is dialled when it is needed, and shared.
//!
//! Dialling waits for nobody but the one who asks: one dial per replica at a time, with a limit,
//! and after a failure a pause in which askers are refused at once.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, Endpoint, RecvStream, SendStream};
use shared::clock::Clock;
use shared::ids::ReplicaId;
use shared::protocol::close::CloseCode;
use shared::protocol::{Reply, SERVER_NAME, WireError};
use shared::wire::Frame;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::ask::{PeerAsk, PeerCall};
use super::door::read_message;
use crate::fleet::ca::CertificateAuthority;
use crate::fleet::tls::peer_config;
use crate::store::ReplicaRow;

/// Time that a connection to another replica gets to come up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Time that another replica gets to say yes or no.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// After a dial that failed, askers are refused at once for so long.
const DIAL_PAUSE: Duration = Duration::from_millis(500);

/// Why another replica did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not among the living, or has no address.
    #[error("the replica is gone")]
    Gone,
    /// This replica has no lease now, so it may not ask.
    #[error("this replica has no lease")]
    NoLease,
    /// It could not be reached.
    #[error("the replica at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// Why.
        reason: String,
    },
    /// The connection broke after something was sent.
    #[error("the connection to the replica broke")]
    Broken,
    /// It said no.
    #[error("the replica refused: {0}")]
    Refused(WireError),
}

/// A stream to another replica that has said yes.
pub struct PeerStream {
    /// To it.
    pub(in crate::fleet) send: SendStream,
    /// From it, after its reply.
    pub(in crate::fleet) receive: RecvStream,
}

/// The other replicas. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    ca: Arc<CertificateAuthority>,
    clock: Arc<dyn Clock>,
    standing: watch::Receiver<Option<ReplicaId>>,
    own_daemon_address: Option<String>,
    /// There was another one at some time.
    had_others: AtomicBool,
    /// The living, without this one.
    live: watch::Sender<BTreeMap<ReplicaId, ReplicaRow>>,
    slots: Mutex<HashMap<ReplicaId, Arc<Slot>>>,
}

/// One replica's connection.
#[derive(Default)]
struct Slot {
    connection: tokio::sync::Mutex<Dialled>,
}

#[derive(Default)]
struct Dialled {
    connection: Option<(Endpoint, Connection)>,
    failed_at: Option<Instant>,
}

impl Peers {
    /// Nobody is known yet. `standing` says under which lease this replica asks.
    #[must_use]
    pub fn new(
        ca: Arc<CertificateAuthority>,
        clock: Arc<dyn Clock>,
        standing: watch::Receiver<Option<ReplicaId>>,
        own_daemon_address: Option<String>,
    ) -> Self {
        let (live, slots) = (watch::Sender::default(), Mutex::default());
        let had_others = AtomicBool::new(false);
        let inner = Inner { ca, clock, standing, own_daemon_address, had_others, live, slots };
        Self(Arc::new(inner))
    }

    /// Where daemons reach this replica, as others know it too.
    pub(in crate::fleet) fn own_daemon_address(&self) -> Option<String> {
        self.0.own_daemon_address.clone()
    }

    /// Whether there was ever another replica: it may live where this one cannot see it.
    pub(in crate::fleet) fn had_others(&self) -> bool {
        self.0.had_others.load(Ordering::SeqCst)
    }

    /// The lease that this replica has now.
    #[must_use]
    pub fn standing(&self) -> Option<ReplicaId> {
        *self.0.standing.borrow()
    }

    /// The lease as it changes.
    #[must_use]
    pub fn standings(&self) -> watch::Receiver<Option<ReplicaId>> {
        self.0.standing.clone()
    }

    /// The living replicas as they change, without this one.
    #[must_use]
    pub fn living(&self) -> watch::Receiver<BTreeMap<ReplicaId, ReplicaRow>> {
        self.0.live.subscribe()
    }

    /// Takes over who lives. Connections to the others are closed: what was asked of them is
    /// answered by nobody any more.
    pub fn set_living(&self, rows: Vec<ReplicaRow>) {
        let own = self.standing();
        let rows: BTreeMap<ReplicaId, ReplicaRow> =
            rows.into_iter().filter(|row| Some(row.id) != own).map(|row| (row.id, row)).collect();
        if !rows.is_empty() {
            self.0.had_others.store(true, Ordering::SeqCst);
        }
        self.0.live.send_if_modified(|live| {
            let same = live.keys().eq(rows.keys());
            *live = rows;
            !same
        });
        let gone: Vec<Arc<Slot>> = {
            let live = self.0.live.borrow();
            let mut slots = lock(&self.0.slots);
            let ids: Vec<ReplicaId> =
                slots.keys().filter(|id| !live.contains_key(id)).copied().collect();
            ids.iter().filter_map(|id| slots.remove(id)).collect()
        };
        for slot in gone {
            // A dial that is under way ends by itself and is asked by nobody.
            if let Ok(dialled) = slot.connection.try_lock()
                && let Some((_, connection)) = &dialled.connection
            {
                connection.close(CloseCode::Done.value().into(), b"");
            }
        }
    }

    /// Asks `replica`; the stream after its yes.
    pub async fn ask(&self, replica: ReplicaId, ask: PeerAsk) -> Result<PeerStream, PeerError> {
        let connection = self.connection(replica).await?;
        let asked = async {
            let (mut send, mut receive) =
                connection.open_bi().await.map_err(|_| PeerError::Broken)?;
            let mut head = bytes::BytesMut::new();
            let call = PeerCall { to: replica, ask };
            Frame::message(&call).write_to(&mut head).map_err(|_| PeerError::Broken)?;
            send.write_all(&head).await.map_err(|_| PeerError::Broken)?;
            let reply = read_message(&mut receive).await.ok_or(PeerError::Broken)?;
            match shared::wire::decode::<Reply<()>>(&reply) {
                Ok(Reply::Ok(())) => Ok(PeerStream { send, receive }),
                Ok(Reply::Err(error)) => Err(PeerError::Refused(error)),
                Err(_) => Err(PeerError::Broken),
            }
        };
        timeout(REPLY_TIMEOUT, asked).await.unwrap_or(Err(PeerError::Broken))
    }

    async fn connection(&self, replica: ReplicaId) -> Result<Connection, PeerError> {
        let address = {
            let live = self.0.live.borrow();
            live.get(&replica).and_then(|row| row.addr.clone()).ok_or(PeerError::Gone)?
        };
        let slot = Arc::clone(lock(&self.0.slots).entry(replica).or_default());
        let mut dialled = slot.connection.lock().await;
        if let Some((_, connection)) = &dialled.connection
            && connection.close_reason().is_none()
        {
            return Ok(connection.clone());
        }
        dialled.connection = None;
        let unreachable =
            |reason: String| PeerError::Unreachable { address: address.clone(), reason };
        if dialled.failed_at.is_some_and(|at| at.elapsed() < DIAL_PAUSE) {
            return Err(unreachable("it was not reached a moment ago".to_owned()));
        }
        match timeout(DIAL_TIMEOUT, self.dial(&address)).await {
            Ok(Ok((endpoint, connection))) => {
                dialled.failed_at = None;
                dialled.connection = Some((endpoint, connection.clone()));
                Ok(connection)
            }
            failed => {
                dialled.failed_at = Some(Instant::now());
                Err(match failed {
                    Ok(Err(error)) => error,
                    _ => unreachable("no answer in 3 s".to_owned()),
                })
            }
        }
    }

    async fn dial(&self, address: &str) -> Result<(Endpoint, Connection), PeerError> {
        let own = self.standing().ok_or(PeerError::NoLease)?;
        let unreachable =
            |reason: String| PeerError::Unreachable { address: address.to_owned(), reason };
        let place: SocketAddr = tokio::net::lookup_host(address)
            .await
            .map_err(|error| unreachable(error.to_string()))?
            .next()
            .ok_or_else(|| unreachable("the name has no address".to_owned()))?;
        let config = peer_config(&self.0.ca, own, self.0.clock.now_ms())
            .map_err(|error| unreachable(error.to_string()))?;
        let any: SocketAddr = match place {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = Endpoint::client(any).map_err(|error| unreachable(error.to_string()))?;
        let connecting = endpoint
            .connect_with(config, place, SERVER_NAME)
            .map_err(|error| unreachable(error.to_string()))?;
        let connection = connecting.await.map_err(|error| unreachable(error.to_string()))?;
        Ok((endpoint, connection))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
