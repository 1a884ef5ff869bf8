//! A link that another replica holds, as calls see it: streams that are opened over there.

use std::io;
use std::sync::Arc;

use shared::ids::{ReplicaId, WorkspaceId};
use shared::wire::io::Opening;
use shared::wire::{BULK_PRIORITY, GivingWay, OpenStreams, ReadHalf, WriteHalf};

use crate::fleet::acknowledge::Acknowledgements;
use crate::fleet::peers::{PeerAsk, Peers};
use crate::fleet::registry::{Current, Entry};

/// See the module's text.
pub(super) struct Elsewhere {
    peers: Peers,
    replica: ReplicaId,
    workspace: WorkspaceId,
    epoch: u64,
}

impl Elsewhere {
    pub(super) const fn new(
        peers: Peers,
        replica: ReplicaId,
        workspace: WorkspaceId,
        epoch: u64,
    ) -> Self {
        Self { peers, replica, workspace, epoch }
    }
}

impl OpenStreams for Elsewhere {
    /// Ready only when the other replica has opened the daemon's stream: an error means that nothing
    /// was sent to the daemon.
    fn open(&self) -> Opening<'_> {
        Box::pin(async {
            let ask = PeerAsk::Forward { workspace: self.workspace, epoch: self.epoch };
            let stream = self.peers.ask(self.replica, ask).await.map_err(io::Error::other)?;
            let write: WriteHalf = Box::new(GivingWay::new(stream.send, |send| {
                // A closed stream has no priority any more.
                let _ = send.set_priority(BULK_PRIORITY);
            }));
            let read: ReadHalf = Box::new(stream.receive);
            Ok((write, read))
        })
    }
}

/// Passes on to the holder which outcomes are committed, until the link is another one. A hint: what
/// is lost is acknowledged again when the daemon connects.
pub(super) async fn acknowledge_elsewhere(
    link: Option<(Arc<Entry>, Current)>,
    peers: Peers,
    replica: ReplicaId,
    workspace: WorkspaceId,
) {
    let Some((entry, current)) = link else { return };
    let acknowledgements: &Acknowledgements = &entry.acknowledgements;
    let passing = async {
        loop {
            let op_ids = acknowledgements.take().await;
            if let Err(error) = peers.ask(replica, PeerAsk::Acknowledge { workspace, op_ids }).await
            {
                tracing::debug!(workspace.id = %workspace, error = &error as &dyn std::error::Error,
                    "acknowledgements were not passed on");
            }
        }
    };
    current.gone.run_until_cancelled(passing).await;
}
