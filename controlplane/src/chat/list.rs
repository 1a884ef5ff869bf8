//! What the lists show, live: which chats and workspaces a viewer must look at again.
//!
//! A viewer of `/events` subscribes, is told `Ready`, reads its lists, and from then on is told
//! what may have changed; the subscription reads each named row itself. A viewer that is too slow
//! is told `Resync` and reads its lists again: the memory of one is bounded by
//! `PENDING_MAX` ids.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::ids::{ChatId, UserId, WorkspaceId};
use tokio::sync::watch;

use super::event::ChatHead;
use super::hints::Hints;
use super::reader::{ChatReader, ReadError};

/// Ids that wait to be read for one viewer; more are a resync.
const PENDING_MAX: usize = 1_024;
/// Rows read for one batch.
const BATCH_MAX: usize = 64;
/// Silence after which a ping is sent.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Something that a list shows.
#[derive(Clone, Debug, PartialEq)]
pub enum ListChange {
    /// Subscribed: read the lists now, changes from here on are told.
    Ready,
    /// A chat as it is now.
    Chat(Box<ChatHead>),
    /// A chat that is gone, or no longer the viewer's.
    ChatRemoved(ChatId),
    /// A workspace that may have changed; read it.
    Workspace(WorkspaceId),
    /// Too much changed at once: read the lists again.
    Resync,
    /// Keep-alive.
    Ping,
}

/// Hands out [`ListSubscription`]s. Cheap to clone.
#[derive(Clone)]
pub struct ListHub {
    hints: Hints,
    reader: Arc<dyn ChatReader>,
}

impl ListHub {
    /// Over `reader`, woken by `hints`.
    #[must_use]
    pub fn new(hints: Hints, reader: Arc<dyn ChatReader>) -> Self {
        Self { hints, reader }
    }

    /// Begins to collect what changes in the lists of `owner`.
    #[must_use]
    pub fn subscribe(&self, owner: UserId) -> ListSubscription {
        let inbox = Arc::new(Inbox::new(owner));
        self.hints.join_lists(&inbox);
        let wakes = inbox.wake.subscribe();
        ListSubscription {
            inbox,
            wakes,
            reader: Arc::clone(&self.reader),
            begun: false,
            taken: Pending::default(),
        }
    }
}

/// One viewer of the lists.
pub struct ListSubscription {
    inbox: Arc<Inbox>,
    wakes: watch::Receiver<()>,
    reader: Arc<dyn ChatReader>,
    begun: bool,
    /// Taken from the inbox and not yet told.
    taken: Pending,
}

impl ListSubscription {
    /// The next changes, at least one. Cancel safe. The first answer is `Ready`.
    ///
    /// # Errors
    /// When rows cannot be read; the viewer should reconnect.
    pub async fn next(&mut self) -> Result<Vec<ListChange>, ReadError> {
        if !self.begun {
            self.begun = true;
            return Ok(vec![ListChange::Ready]);
        }
        loop {
            if self.taken.is_empty() {
                self.taken = self.inbox.take();
            }
            let changes = self.read().await?;
            // Only now: a future that is dropped during the read must not lose what it took.
            self.taken = Pending::default();
            if !changes.is_empty() {
                return Ok(changes);
            }
            if tokio::time::timeout(PING_INTERVAL, self.wakes.changed()).await.is_err() {
                return Ok(vec![ListChange::Ping]);
            }
        }
    }

    async fn read(&self) -> Result<Vec<ListChange>, ReadError> {
        let pending = &self.taken;
        if pending.overflowed {
            return Ok(vec![ListChange::Resync]);
        }
        let mut changes: Vec<ListChange> =
            pending.workspaces.iter().copied().map(ListChange::Workspace).collect();
        for chat in &pending.chats {
            changes.push(match self.reader.head(*chat, self.inbox.owner).await? {
                Some(head) => ListChange::Chat(Box::new(head)),
                None => ListChange::ChatRemoved(*chat),
            });
        }
        Ok(changes)
    }
}

/// What waits to be read for one viewer.
pub(super) struct Inbox {
    owner: UserId,
    pending: Mutex<Pending>,
    wake: watch::Sender<()>,
}

#[derive(Clone, Default)]
struct Pending {
    chats: BTreeSet<ChatId>,
    workspaces: BTreeSet<WorkspaceId>,
    overflowed: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.overflowed && self.chats.is_empty() && self.workspaces.is_empty()
    }
}

impl Inbox {
    fn new(owner: UserId) -> Self {
        Self { owner, pending: Mutex::default(), wake: watch::Sender::new(()) }
    }

    pub(super) fn note_chat(&self, owner: UserId, chat: ChatId) {
        if owner == self.owner {
            self.note(|pending| {
                pending.chats.insert(chat);
            });
        }
    }

    pub(super) fn note_workspace(&self, workspace: WorkspaceId) {
        self.note(|pending| {
            pending.workspaces.insert(workspace);
        });
    }

    /// Hints were lost.
    pub(super) fn note_all(&self) {
        self.note(|pending| pending.overflowed = true);
    }

    fn note(&self, add: impl FnOnce(&mut Pending)) {
        {
            let mut pending = self.lock();
            add(&mut pending);
            if pending.chats.len() + pending.workspaces.len() > PENDING_MAX {
                pending.chats.clear();
                pending.workspaces.clear();
                pending.overflowed = true;
            }
        }
        self.wake.send_replace(());
    }

    /// Takes the next batch.
    fn take(&self) -> Pending {
        let mut pending = self.lock();
        let mut taken = Pending { overflowed: pending.overflowed, ..Pending::default() };
        pending.overflowed = false;
        while taken.chats.len() < BATCH_MAX
            && let Some(chat) = pending.chats.pop_first()
        {
            taken.chats.insert(chat);
        }
        taken.workspaces = std::mem::take(&mut pending.workspaces);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::event::ChatStatus;
    use crate::chat::reader::ChatState;
    use crate::time::Timestamp;
    use async_trait::async_trait;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    /// Every chat is the owner's and waits.
    struct Chats;

    #[async_trait]
    impl ChatReader for Chats {
        async fn changes(&self, _: ChatId, _: i64) -> Result<Option<ChatState>, ReadError> {
            Ok(None)
        }

        async fn newest(&self, _: ChatId, _: u32) -> Result<Option<ChatState>, ReadError> {
            Ok(None)
        }

        async fn head(&self, id: ChatId, _: UserId) -> Result<Option<ChatHead>, ReadError> {
            tokio::task::yield_now().await;
            Ok(Some(ChatHead {
                id,
                title: String::new(),
                label: None,
                mode: "auto".into(),
                model_id: None,
                fallback_model_id: None,
                effort: None,
                plan: None,
                workspace_id: None,
                status: ChatStatus::Waiting,
                archived: false,
                queue_position: None,
                snapshot_version: 1,
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
                family: Default::default(),
            }))
        }
    }

    async fn subscribed() -> (CountingIds, Hints, UserId, ListSubscription) {
        let ids = CountingIds::default();
        let owner: UserId = (&ids as &dyn IdSource).id();
        let hints = Hints::new();
        let mut list = ListHub::new(hints.clone(), Arc::new(Chats)).subscribe(owner);
        assert_eq!(list.next().await.unwrap(), [ListChange::Ready]);
        (ids, hints, owner, list)
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_is_told_of_its_own_chats_and_of_every_workspace() {
        let (ids, hints, owner, mut list) = subscribed().await;
        let ids: &dyn IdSource = &ids;
        let (mine, theirs, workspace) = (ids.id(), ids.id(), ids.id());
        hints.list_changed(ids.id(), theirs);
        hints.list_changed(owner, mine);
        hints.list_changed(owner, mine);
        hints.workspace_changed(workspace);
        let told = list.next().await.unwrap();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], ListChange::Workspace(workspace));
        assert!(matches!(&told[1], ListChange::Chat(head) if head.id == mine));
        assert_eq!(list.next().await.unwrap(), [ListChange::Ping], "and of nothing else");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_read_loses_nothing() {
        let (ids, hints, owner, mut list) = subscribed().await;
        hints.list_changed(owner, (&ids as &dyn IdSource).id());
        {
            let mut next = std::pin::pin!(list.next());
            assert!(futures_util::poll!(&mut next).is_pending(), "in the middle of the read");
        }
        assert!(matches!(list.next().await.unwrap()[..], [ListChange::Chat(_)]));
    }

    #[tokio::test(start_paused = true)]
    async fn too_much_at_once_is_one_resync() {
        let (ids, hints, owner, mut list) = subscribed().await;
        for _ in 0..=PENDING_MAX {
            hints.list_changed(owner, (&ids as &dyn IdSource).id());
        }
        assert_eq!(list.next().await.unwrap(), [ListChange::Resync]);
        assert_eq!(list.next().await.unwrap(), [ListChange::Ping]);
    }
}
