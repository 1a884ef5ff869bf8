//! The table of workspaces and their current links.
//!
//! Guarded by one short mutex for the table and one per entry; neither is held across an await.
//! What an entry shows goes through a `watch` with a generation, so a reader can wait for "newer
//! than N" and never misses the last state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use shared::clock::Clock;
use shared::ids::{IdSource, WorkspaceId};
use shared::limits::STREAMS_TO_DAEMON;
use shared::protocol::close::CloseCode;
use shared::protocol::hello::Hello;
use shared::wire::OpenStreams;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acknowledge::Acknowledgements;
use super::client::WorkspaceLink;
use super::directory::Directory;
use super::presence::Presence;

/// Streams that may be held for long: followers, and waits for a process to end.
const LONG_READS_MAX: usize = STREAMS_TO_DAEMON as usize * 3 / 8;
/// Viewers that are attached to PTYs. Apart from the other long reads, because people hold them for
/// days: a wall of viewers must not keep a tool from its process.
pub(super) const ATTACHMENTS_MAX: usize = STREAMS_TO_DAEMON as usize / 4;
/// Streams of all other reads. What the daemon allows beyond the three stays free for operations,
/// so that *stop* never waits behind a wall of readers, nor a file list behind a wall of followers.
const SHORT_READS_MAX: usize = STREAMS_TO_DAEMON as usize * 3 / 16;

/// Every workspace that was asked for or has connected. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    entries: Mutex<HashMap<WorkspaceId, Arc<Entry>>>,
    changes: watch::Sender<u64>,
    directory: OnceLock<Directory>,
}

/// One workspace.
pub(super) struct Entry {
    pub(super) id: WorkspaceId,
    /// Names reads, for logs.
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) presence: watch::Sender<Presence>,
    pub(super) acknowledgements: Acknowledgements,
    current: Mutex<Option<Current>>,
}

/// The link that calls go over.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) streams: Arc<dyn OpenStreams>,
    pub(super) long_reads: Arc<Semaphore>,
    pub(super) attachments: Arc<Semaphore>,
    pub(super) short_reads: Arc<Semaphore>,
    pub(super) gone: CancellationToken,
    /// Calls in flight hold a token of it.
    pub(super) calls: TaskTracker,
    why: Arc<OnceLock<CloseCode>>,
    pub(super) epoch: u64,
    /// Whether the daemon is connected to this replica, and not to another one.
    is_here: bool,
}

impl Current {
    fn end(&self, why: CloseCode) {
        // The first reason stands.
        let _ = self.why.set(why);
        self.gone.cancel();
    }
}

/// A link that has said hello.
pub struct NewLink {
    /// By the certificate.
    pub workspace_id: WorkspaceId,
    /// Highest wins.
    pub epoch: u64,
    /// What the daemon said.
    pub hello: Hello,
    /// How to open calls.
    pub streams: Arc<dyn OpenStreams>,
}

impl Fleet {
    /// A fleet in which nobody is connected.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        let (changes, _) = watch::channel(0);
        Self {
            shared: Arc::new(Shared {
                clock,
                ids,
                entries: Mutex::default(),
                changes,
                directory: OnceLock::new(),
            }),
        }
    }

    /// The way to a workspace, connected or not. The caller has checked that it exists.
    #[must_use]
    pub fn workspace(&self, id: WorkspaceId) -> WorkspaceLink {
        WorkspaceLink::new(self.entry(id))
    }

    /// What is known of a workspace now. Never adds one to the table.
    #[must_use]
    pub fn presence(&self, id: WorkspaceId) -> Presence {
        lock(&self.shared.entries)
            .get(&id)
            .map(|entry| entry.presence.borrow().clone())
            .unwrap_or_default()
    }

    /// A counter that rises with every change of any workspace. A hint: read what you show again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Workspaces that changed after the counter stood at `generation`, in no order.
    #[must_use]
    pub fn changed_since(&self, generation: u64) -> Vec<WorkspaceId> {
        lock(&self.shared.entries)
            .values()
            .filter(|entry| entry.presence.borrow().generation > generation)
            .map(|entry| entry.id)
            .collect()
    }

    /// Daemons that are connected now.
    #[must_use]
    pub fn connected_count(&self) -> usize {
        lock(&self.shared.entries)
            .values()
            .filter(|entry| entry.presence.borrow().connected)
            .count()
    }

    /// Forgets a workspace that was deleted and ends its link.
    pub fn forget(&self, id: WorkspaceId) {
        self.revoke(id);
        lock(&self.shared.entries).remove(&id);
    }

    /// Ends the link of a daemon that is no longer the workspace's. Ways to the workspace stay
    /// good: they wait for the next daemon.
    pub fn revoke(&self, id: WorkspaceId) {
        let entry = lock(&self.shared.entries).get(&id).cloned();
        if let Some(entry) = entry {
            if let Some(current) = lock(&entry.current).take() {
                current.end(CloseCode::AuthFailed);
            }
            self.shared.show_lost(&entry);
        }
    }

    /// From now on links are claimed in a directory that other replicas read. Once.
    pub fn share_through(&self, directory: Directory) {
        let _ = self.shared.directory.set(directory);
    }

    /// Where links are claimed; none: nobody else needs to know them.
    pub(super) fn directory(&self) -> Option<&Directory> {
        self.shared.directory.get()
    }

    /// Whether the workspace's daemon is connected to this replica.
    #[must_use]
    pub fn is_here(&self, id: WorkspaceId) -> bool {
        self.link_epoch(id).is_some_and(|(_, is_here)| is_here)
    }

    /// Whether the workspace's daemon is connected, and to another replica.
    #[must_use]
    pub fn is_elsewhere(&self, id: WorkspaceId) -> bool {
        self.link_epoch(id).is_some_and(|(_, is_here)| !is_here)
    }

    /// The epoch of the current link, and whether it is this replica's.
    pub(super) fn link_epoch(&self, id: WorkspaceId) -> Option<(u64, bool)> {
        let entry = lock(&self.shared.entries).get(&id).cloned()?;
        let current = entry.current()?;
        Some((current.epoch, current.is_here))
    }

    /// Every current link: the workspace, the epoch, and whether it is this replica's.
    pub(super) fn links(&self) -> Vec<(WorkspaceId, u64, bool)> {
        let entries: Vec<Arc<Entry>> = lock(&self.shared.entries).values().cloned().collect();
        let of = |entry: Arc<Entry>| {
            entry.current().map(|current| (entry.id, current.epoch, current.is_here))
        };
        entries.into_iter().filter_map(of).collect()
    }

    /// The link of this replica with exactly this epoch.
    pub(super) fn here(&self, id: WorkspaceId, epoch: u64) -> Option<Current> {
        let entry = lock(&self.shared.entries).get(&id).cloned()?;
        entry.current().filter(|current| current.is_here && current.epoch == epoch)
    }

    /// Where to take what the daemon must be told, while its link is the one with this epoch.
    pub(super) fn acknowledgements(
        &self,
        id: WorkspaceId,
        epoch: u64,
    ) -> Option<(Arc<Entry>, Current)> {
        let entry = lock(&self.shared.entries).get(&id).cloned()?;
        let current = entry.current().filter(|current| current.epoch == epoch)?;
        Some((entry, current))
    }

    /// Ends the links of this replica's own, as [`CloseCode::Stopping`]: their daemons look for
    /// another one.
    pub(super) fn send_away(&self) {
        let entries: Vec<Arc<Entry>> = lock(&self.shared.entries).values().cloned().collect();
        for entry in entries {
            let mine = lock(&entry.current).take_if(|current| current.is_here);
            if let Some(current) = mine {
                current.end(CloseCode::Stopping);
                self.shared.show_lost(&entry);
            }
        }
    }

    /// As [`attach`](Self::attach), for a link that another replica holds.
    pub(super) fn attach_elsewhere(&self, link: NewLink) -> Option<Attachment> {
        self.attach_as(link, false)
    }

    /// Makes `link` the current one unless a newer one is. The older one is told to go.
    #[must_use]
    pub fn attach(&self, link: NewLink) -> Option<Attachment> {
        self.attach_as(link, true)
    }

    fn attach_as(&self, link: NewLink, is_here: bool) -> Option<Attachment> {
        let entry = self.entry(link.workspace_id);
        let newest = Current {
            streams: link.streams,
            long_reads: Arc::new(Semaphore::new(LONG_READS_MAX)),
            attachments: Arc::new(Semaphore::new(ATTACHMENTS_MAX)),
            short_reads: Arc::new(Semaphore::new(SHORT_READS_MAX)),
            gone: CancellationToken::new(),
            calls: TaskTracker::new(),
            why: Arc::default(),
            epoch: link.epoch,
            is_here,
        };
        {
            let mut current = lock(&entry.current);
            if current.as_ref().is_some_and(|current| current.epoch >= link.epoch) {
                return None;
            }
            if let Some(older) = current.replace(newest.clone()) {
                older.end(CloseCode::Displaced);
            }
        }
        let now_ms = self.shared.clock.now_ms();
        self.shared.show(&entry, |presence| {
            if !presence.connected {
                presence.connected = true;
                presence.since_ms = Some(now_ms);
            }
            presence.last_seen_ms = Some(now_ms);
            presence.clock_skew_ms = link.hello.now_ms.saturating_sub(now_ms);
            presence.hello = Some(Arc::new(link.hello));
        });
        let shared = Arc::clone(&self.shared);
        Some(Attachment { shared, entry, link: newest })
    }

    fn entry(&self, id: WorkspaceId) -> Arc<Entry> {
        let mut entries = lock(&self.shared.entries);
        Arc::clone(
            entries
                .entry(id)
                .or_insert_with(|| Arc::new(Entry::new(id, Arc::clone(&self.shared.ids)))),
        )
    }
}

impl Shared {
    /// Changes what an entry shows, under a new generation, and wakes who waits.
    fn show(&self, entry: &Entry, change: impl FnOnce(&mut Presence)) {
        // The table's counter is raised while the entry's value is locked, so that whoever sees
        // the counter also sees the value.
        entry.presence.send_modify(|presence| {
            change(presence);
            self.changes.send_modify(|generation| {
                *generation += 1;
                presence.generation = *generation;
            });
        });
    }

    fn show_lost(&self, entry: &Entry) {
        let now_ms = self.clock.now_ms();
        self.show(entry, |presence| {
            if presence.connected {
                presence.connected = false;
                presence.since_ms = Some(now_ms);
            }
            presence.rtt = None;
        });
    }
}

impl Entry {
    fn new(id: WorkspaceId, ids: Arc<dyn IdSource>) -> Self {
        let (presence, _) = watch::channel(Presence::default());
        let acknowledgements = Acknowledgements::default();
        Self { id, ids, presence, acknowledgements, current: Mutex::new(None) }
    }

    pub(super) fn current(&self) -> Option<Current> {
        lock(&self.current).clone()
    }
}

/// Holds a link in the table; dropping it takes the link out, unless a newer one is there.
pub struct Attachment {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    link: Current,
}

impl Attachment {
    /// Waits until a newer link took over or the workspace was forgotten; says which. Cancel-safe.
    pub async fn displaced(&self) -> CloseCode {
        self.link.gone.cancelled().await;
        self.link.why.get().copied().unwrap_or(CloseCode::Done)
    }

    /// Waits until no call is in flight. New calls are still taken. Cancel-safe.
    pub async fn calls_done(&self) {
        self.link.calls.close();
        self.link.calls.wait().await;
    }

    /// Notes a proven round trip. Wakes readers only when what is shown changes by something that
    /// matters: thousands of daemons are probed all the time.
    pub fn saw_round_trip(&self, rtt: Duration) {
        if !self.is_current() {
            return;
        }
        let now_ms = self.shared.clock.now_ms();
        let matters = {
            let presence = self.entry.presence.borrow();
            !presence.connected || presence.rtt.is_none_or(|shown| differs(shown, rtt))
        };
        if matters {
            self.shared.show(&self.entry, |presence| {
                if !presence.connected {
                    presence.connected = true;
                    presence.since_ms = Some(now_ms);
                }
                presence.rtt = Some(rtt);
                presence.last_seen_ms = Some(now_ms);
            });
        } else {
            self.entry.presence.send_if_modified(|presence| {
                presence.last_seen_ms = Some(now_ms);
                false
            });
        }
    }

    /// Notes that nothing has come back for too long; the link itself may still recover.
    pub fn missed_round_trips(&self) {
        if self.is_current() {
            self.shared.show_lost(&self.entry);
        }
    }

    /// The link's epoch.
    #[must_use]
    pub(super) fn epoch(&self) -> u64 {
        self.link.epoch
    }

    /// Waits for operations to acknowledge and takes up to 1,000 of them. Cancel-safe.
    pub async fn next_acknowledgements(&self) -> Vec<shared::ids::OpId> {
        self.entry.acknowledgements.take().await
    }

    fn is_current(&self) -> bool {
        lock(&self.entry.current).as_ref().is_some_and(|current| current.epoch == self.link.epoch)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let was_current = {
            let mut current = lock(&self.entry.current);
            let mine = current.as_ref().is_some_and(|current| current.epoch == self.link.epoch);
            mine.then(|| current.take()).flatten()
        };
        if let Some(current) = was_current {
            current.end(CloseCode::Done);
            self.shared.show_lost(&self.entry);
        }
    }
}

/// A round trip that people would see as another one: by a fifth, and by a millisecond.
fn differs(shown: Duration, now: Duration) -> bool {
    let change = shown.abs_diff(now);
    change >= Duration::from_millis(1) && change * 5 >= shown
}

/// A poisoned lock is taken all the same: every section here leaves the data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
