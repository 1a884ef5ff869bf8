//! The directory of daemons, as one replica keeps it: claims its own links, and stands in for the
//! links of others.
//!
//! ```text
//! hello ─► claim (the database, a higher epoch) ─► attached here ─► hint
//!                                                                    │ to all replicas
//!   heartbeat, hint ─► rows ─► compare ─► changes ◄──────────────────┘
//!                                  └► attach elsewhere │ let go │ end here │ release
//! ```
//!
//! The rows are the truth and [`compare`] is pure. A link that another replica holds is attached
//! like an own one, with streams that are opened at that replica: callers see no difference. When
//! this replica's lease is lost while others live, its daemons are sent to them.

mod compare;
mod elsewhere;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use shared::clock::Clock;
use shared::ids::{ReplicaId, WorkspaceId};
use shared::lifecycle::Lifecycle;
use shared::protocol::hello::Hello;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use self::compare::{Change, Mine, compare};
use self::elsewhere::{Elsewhere, acknowledge_elsewhere};
use super::peers::Peers;
use super::registry::{Attachment, Fleet, NewLink};
use crate::chat::hints::{Hints, LinkNews};
use crate::store::{LinkRow, LinkStore, ReplicaRow, ReplicaStore, StoreError};

/// How long a hello waits for this replica's own lease.
const LEASE_WAIT: Duration = Duration::from_secs(5);
/// Part of a lease after which the tables are read again without a hint.
const HEARTBEAT_TENTHS: u32 = 3;
/// Longest pause between two such reads.
const HEARTBEAT_MAX: Duration = Duration::from_secs(3);

/// What a replica shares with others. Cheap to clone.
#[derive(Clone)]
pub struct Directory(Arc<Parts>);

/// What the directory works with.
pub struct Parts {
    /// The table of links.
    pub links: LinkStore,
    /// The table of leases.
    pub replicas: ReplicaStore,
    /// The other replicas.
    pub peers: Peers,
    /// Tells them, and is told by them.
    pub hints: Hints,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long a lease is.
    pub lease: Duration,
}

/// Why a daemon's link cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    /// This replica has no lease: the daemon should try another one.
    #[error("this server has no lease now")]
    NoLease,
    /// The database.
    #[error("the database does not answer")]
    Store(#[source] StoreError),
}

impl Directory {
    /// Over `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Claims a daemon's link for this replica; its epoch.
    pub(super) async fn claim(
        &self,
        workspace: WorkspaceId,
        hello: &Hello,
    ) -> Result<u64, ClaimError> {
        let mut standings = self.0.peers.standings();
        let standing = standings.wait_for(Option::is_some);
        let replica = match timeout(LEASE_WAIT, standing).await {
            Ok(Ok(standing)) => (*standing).ok_or(ClaimError::NoLease)?,
            _ => return Err(ClaimError::NoLease),
        };
        match self.0.links.claim(workspace, replica, &shared::wire::encode(hello)).await {
            Ok(epoch) => Ok(u64::try_from(epoch).unwrap_or(0)),
            Err(StoreError::Fenced) => Err(ClaimError::NoLease),
            Err(error) => Err(ClaimError::Store(error)),
        }
    }

    /// The claimed link is attached: others may ask for it now.
    pub(super) fn attached(&self, workspace: WorkspaceId) {
        self.0.hints.link_changed(workspace);
    }

    /// The claimed link is gone.
    pub(super) async fn lost(&self, workspace: WorkspaceId, epoch: u64) {
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        if let Err(error) = self.0.links.release(workspace, epoch).await {
            tracing::debug!(workspace.id = %workspace, error = &error as &dyn std::error::Error,
                "a lost link stays in the directory until the next heartbeat");
        }
        self.0.hints.link_changed(workspace);
    }

    /// The daemon is no longer the workspace's, whoever holds its link.
    pub(super) async fn revoked(&self, workspace: WorkspaceId) -> Result<(), StoreError> {
        self.0.links.revoke(workspace).await?;
        self.0.hints.link_changed(workspace);
        Ok(())
    }

    /// Where daemons reach the living replicas, this one too; nothing: there are no others.
    pub(super) fn daemon_addresses(&self) -> Vec<String> {
        let living = self.0.peers.living();
        let mut addresses: Vec<String> =
            living.borrow().values().filter_map(|row| row.daemon_addr.clone()).collect();
        if addresses.is_empty() {
            return addresses;
        }
        addresses.extend(self.0.peers.own_daemon_address());
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// The living replicas as they change, for those who tell daemons of them.
    pub(super) fn living(
        &self,
    ) -> watch::Receiver<std::collections::BTreeMap<ReplicaId, ReplicaRow>> {
        self.0.peers.living()
    }

    /// Keeps `fleet` as the directory says, until the soft stop. One task.
    pub async fn run(self, fleet: Fleet, lifecycle: Lifecycle) {
        let soft = lifecycle.soft();
        let heartbeat = (self.0.lease * HEARTBEAT_TENTHS / 10).min(HEARTBEAT_MAX);
        let mut beats = tokio::time::interval_at(Instant::now(), heartbeat);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut standings = self.0.peers.standings();
        let mut last = None;
        let outbox = self.0.hints.outbox();
        let mut keeper = Keeper {
            parts: self.0,
            fleet,
            lifecycle,
            held: HashMap::new(),
            unsure: HashSet::new(),
        };
        loop {
            let read = tokio::select! {
                biased;
                () = soft.cancelled() => return,
                changed = standings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *standings.borrow_and_update();
                    keeper.stand(&mut last, now).await;
                    keeper.beat().await
                }
                news = keeper.parts.hints.links_changed() => match news {
                    LinkNews::Some(workspaces) => keeper.look(workspaces).await,
                    LinkNews::All => keeper.beat().await,
                },
                _ = beats.tick() => keeper.beat().await,
            };
            outbox.set_alone(keeper.parts.peers.living().borrow().is_empty());
            if let Err(error) = read {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the directory cannot be read now"
                );
            }
        }
    }
}

/// The task's own.
struct Keeper {
    parts: Arc<Parts>,
    fleet: Fleet,
    lifecycle: Lifecycle,
    /// Links of other replicas that are attached here.
    held: HashMap<WorkspaceId, Attachment>,
    /// Own rows without a link, at the last full read: a hello may be under way.
    unsure: HashSet<(WorkspaceId, i64)>,
}

impl Keeper {
    /// The lease changed.
    async fn stand(&mut self, last: &mut Option<ReplicaId>, now: Option<ReplicaId>) {
        match (now, *last) {
            (None, _) => {
                // Who was seen last may be old news: without the database nothing newer is known.
                if self.parts.peers.had_others() {
                    tracing::warn!("without a lease this server sends its daemons to others");
                    self.fleet.send_away();
                }
            }
            (Some(new), Some(old)) if old != new => {
                // Whoever stayed meanwhile goes on here.
                if let Err(error) = self.parts.links.move_to(old, new).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "daemons are not in the directory until they connect again"
                    );
                }
            }
            (Some(_), _) => {}
        }
        *last = now.or(*last);
    }

    /// Reads everything.
    async fn beat(&mut self) -> Result<(), StoreError> {
        self.parts.peers.set_living(self.parts.replicas.live().await?);
        let rows = self.parts.links.all().await?;
        let own = self.parts.peers.standing();
        let unsure: HashSet<(WorkspaceId, i64)> = rows
            .iter()
            .filter(|row| row.replica.is_some() && row.replica == own)
            .filter(|row| !self.fleet.is_here(row.workspace))
            .map(|row| (row.workspace, row.epoch))
            .collect();
        // Twice in a row: no hello takes that long.
        for (workspace, epoch) in unsure.intersection(&self.unsure) {
            self.parts.links.release(*workspace, *epoch).await?;
        }
        self.unsure = unsure;
        let mine =
            self.fleet.links().into_iter().map(|(id, epoch, is_here)| Mine { id, epoch, is_here });
        for change in compare(mine, &rows, own) {
            self.apply(change).await?;
        }
        Ok(())
    }

    /// Reads some places.
    async fn look(
        &mut self,
        workspaces: std::collections::BTreeSet<WorkspaceId>,
    ) -> Result<(), StoreError> {
        let own = self.parts.peers.standing();
        for workspace in workspaces {
            let row = self.parts.links.one(workspace).await?;
            let holder = row.and_then(|row| row.replica);
            if holder.is_some_and(|id| {
                Some(id) != own && !self.parts.peers.living().borrow().contains_key(&id)
            }) {
                // It has just begun.
                self.parts.peers.set_living(self.parts.replicas.live().await?);
            }
            let mine = self.fleet.link_epoch(workspace);
            let mine = mine.map(|(epoch, is_here)| Mine { id: workspace, epoch, is_here });
            for change in compare(mine.into_iter(), row.as_slice(), own) {
                self.apply(change).await?;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Attach(LinkRow { workspace, replica: Some(replica), epoch, .. }) => {
                self.attach(workspace, replica, epoch).await?;
            }
            Change::Attach(_) => {}
            Change::LetGo(workspace) => drop(self.held.remove(&workspace)),
            Change::End(workspace) => self.fleet.revoke(workspace),
        }
        Ok(())
    }

    async fn attach(
        &mut self,
        workspace: WorkspaceId,
        replica: ReplicaId,
        epoch: i64,
    ) -> Result<(), StoreError> {
        let Some(hello) = self.parts.links.hello(workspace, epoch).await? else { return Ok(()) };
        let Ok(hello) = shared::wire::decode::<Hello>(&hello) else {
            tracing::warn!(workspace.id = %workspace, "a hello in the directory is damaged");
            return Ok(());
        };
        let Ok(epoch) = u64::try_from(epoch) else { return Ok(()) };
        let streams = Elsewhere::new(self.parts.peers.clone(), replica, workspace, epoch);
        let link = NewLink { workspace_id: workspace, epoch, hello, streams: Arc::new(streams) };
        let Some(attachment) = self.fleet.attach_elsewhere(link) else { return Ok(()) };
        let telling = acknowledge_elsewhere(
            self.fleet.acknowledgements(workspace, epoch),
            self.parts.peers.clone(),
            replica,
            workspace,
        );
        self.lifecycle.spawn_serving("fleet.acknowledge", telling);
        // The older one of another replica is displaced by then; dropping it changes nothing more.
        self.held.insert(workspace, attachment);
        Ok(())
    }
}
