//! Where other replicas come in: who they are, and what they may ask.
//!
//! Every connection is checked against the table of leases when it comes and whenever that table is
//! read; every question is checked for whom it means. Nothing that a daemon's certificate opens is
//! open here, and nothing that a replica's opens is open there.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use shared::ids::ReplicaId;
use shared::lifecycle::Lifecycle;
use shared::limits::{ACKNOWLEDGED_MAX, HELLO_TIMEOUT, MESSAGE_FRAME_MAX_BYTES};
use shared::protocol::close::CloseCode;
use shared::protocol::{ErrorCode, Reply, WireError};
use shared::wire::Frame;
use shared::wire::frame::HEADER_BYTES;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::ask::{PeerAsk, PeerCall};
use super::identity::replica_of;
use super::pipe::pipe;
use super::pool::Peers;
use crate::chat::hub::Hub;
use crate::fleet::previews::show_preview;
use crate::fleet::registry::Fleet;
use crate::store::ReplicaStore;

/// Of connections between replicas: the major version of what they say.
pub(in crate::fleet) const ALPN_REPLICA: &[u8] = b"holdfast-replica/1";
/// Streams that one replica may have open here. A few replicas, so their memory is no matter.
const STREAMS_MAX: u32 = 4_096;
/// Bytes that one replica may have in flight towards us: it speaks for all its viewers and chats.
const WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// See the module's text.
#[derive(Clone)]
pub struct Door {
    /// Who lives.
    pub peers: Peers,
    /// To look up one that is not known to live yet.
    pub replicas: ReplicaStore,
    /// Where daemons are.
    pub fleet: Fleet,
    /// Where previews are.
    pub hub: Hub,
    /// Starts the streams' tasks.
    pub lifecycle: Lifecycle,
}

impl Door {
    /// Serves one replica's connection to its end.
    pub(in crate::fleet) async fn serve(&self, connection: Connection) {
        let Some(peer) = self.admit(&connection).await else {
            connection.close(CloseCode::AuthFailed.value().into(), b"not a living replica");
            return;
        };
        connection.set_max_concurrent_bi_streams(STREAMS_MAX.into());
        connection.set_receive_window(WINDOW_BYTES.into());
        connection.set_send_window(WINDOW_BYTES.into());
        let soft = self.lifecycle.soft();
        let mut living = self.peers.living();
        loop {
            tokio::select! {
                biased;
                () = soft.cancelled() => break,
                changed = living.changed() => {
                    let gone = !living.borrow_and_update().contains_key(&peer);
                    if changed.is_err() || gone {
                        break;
                    }
                }
                opened = connection.accept_bi() => {
                    let Ok((send, receive)) = opened else { return };
                    let this = Arc::new(self.clone());
                    self.lifecycle.spawn_serving("replica.stream", async move {
                        this.answer(send, receive).await;
                    });
                }
            }
        }
        connection.close(CloseCode::Stopping.value().into(), b"");
    }

    /// The replica, if it is one and its lease runs.
    async fn admit(&self, connection: &Connection) -> Option<ReplicaId> {
        let chain = connection.peer_identity()?;
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let peer = replica_of(chain.first()?)?;
        if self.peers.living().borrow().contains_key(&peer) {
            return Some(peer);
        }
        // It may have begun a moment ago.
        match self.replicas.live().await {
            Ok(rows) => {
                let known = rows.iter().any(|row| row.id == peer);
                self.peers.set_living(rows);
                known.then_some(peer)
            }
            Err(error) => {
                tracing::warn!(replica.id = %peer, error = &error as &dyn std::error::Error,
                    "a replica could not be checked");
                None
            }
        }
    }

    async fn answer(&self, mut send: SendStream, mut receive: RecvStream) {
        let Ok(Some(call)) = timeout(HELLO_TIMEOUT, read_message(&mut receive)).await else {
            return; // opened and never used, or nonsense: the stream is dropped, which ends it
        };
        let call: PeerCall = match shared::wire::decode(&call) {
            Ok(call) => call,
            Err(error) => {
                let error = WireError::refused(ErrorCode::InvalidRequest, error.to_string());
                return refuse(send, error).await;
            }
        };
        if self.peers.standing() != Some(call.to) {
            let error = WireError::refused(ErrorCode::StaleEpoch, "that replica is not here");
            return refuse(send, error).await;
        }
        match call.ask {
            PeerAsk::Forward { workspace, epoch } => {
                let Some(link) = self.fleet.here(workspace, epoch) else {
                    let text = "the workspace's daemon is not connected here";
                    return refuse(send, WireError::refused(ErrorCode::StaleEpoch, text)).await;
                };
                let in_flight = link.calls.token();
                let serving = async {
                    let Ok(daemon) = link.streams.open().await else {
                        let text = "the workspace's daemon is gone";
                        return refuse(send, WireError::refused(ErrorCode::StaleEpoch, text)).await;
                    };
                    if agree(&mut send).await {
                        pipe((send, receive), daemon).await;
                    }
                };
                // Dropped, the streams are broken: the asker knows that it did not get all.
                let _ = link.gone.run_until_cancelled(serving).await;
                drop(in_flight);
            }
            PeerAsk::Acknowledge { workspace, mut op_ids } => {
                op_ids.truncate(ACKNOWLEDGED_MAX);
                self.fleet.workspace(workspace).acknowledge(op_ids);
                if agree(&mut send).await {
                    let _ = send.finish();
                }
            }
            PeerAsk::Watch { chat, from } => {
                if agree(&mut send).await {
                    show_preview(&self.hub, chat, from, send).await;
                }
            }
            PeerAsk::Unknown => {
                let text = "this replica does not know the question";
                refuse(send, WireError::refused(ErrorCode::Unsupported, text)).await;
            }
        }
    }
}

async fn agree(send: &mut SendStream) -> bool {
    say(send, &Reply::Ok(())).await
}

async fn refuse(mut send: SendStream, error: WireError) {
    if say(&mut send, &Reply::Err(error)).await {
        let _ = send.finish();
    }
}

async fn say(send: &mut SendStream, reply: &Reply<()>) -> bool {
    let mut bytes = bytes::BytesMut::new();
    Frame::message(reply).write_to(&mut bytes).is_ok() && send.write_all(&bytes).await.is_ok()
}

/// One message frame and not a byte more: what follows may be somebody else's. None: there is none.
pub(super) async fn read_message(receive: &mut RecvStream) -> Option<Vec<u8>> {
    let mut head = [0; HEADER_BYTES];
    receive.read_exact(&mut head).await.ok()?;
    let [a, b, c, d, kind] = head;
    let len = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(1)?;
    if kind != 0 || len > MESSAGE_FRAME_MAX_BYTES {
        return None;
    }
    let mut body = Vec::new();
    // Grows with what comes, not with what is claimed.
    let mut limited = receive.take(len as u64);
    limited.read_to_end(&mut body).await.ok()?;
    (body.len() == len).then_some(body)
}
