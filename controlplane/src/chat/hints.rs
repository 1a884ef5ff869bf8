//! Wake-ups: something *may* have changed; read the row.
//!
//! Every commit is followed by a hint, and losing any hint costs at most one poll interval: workers
//! poll each second, streams each ten. Hints carry no state, only where to look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shared::ids::{ChatId, UserId, WorkspaceId};
use tokio::sync::watch;

use super::list::Inbox;

/// Sends and receives hints. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Hints {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    chats: Mutex<HashMap<ChatId, watch::Sender<()>>>,
    asked: Mutex<HashMap<ChatId, watch::Sender<()>>>,
    runnable: watch::Sender<()>,
    inboxes: Mutex<Vec<Weak<Inbox>>>,
}

impl Hints {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chat's row, messages or queue may have changed. Wakes its viewers and its runner.
    pub fn chat_changed(&self, chat: ChatId) {
        let mut chats = lock(&self.inner.chats);
        if let Some(sender) = chats.get(&chat) {
            sender.send_replace(());
            if sender.receiver_count() == 0 {
                chats.remove(&chat);
            }
        }
    }

    /// Wakes when the chat may have changed. Subscribe first, then read the row.
    #[must_use]
    pub fn chat(&self, chat: ChatId) -> watch::Receiver<()> {
        lock(&self.inner.chats).entry(chat).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// A person asked something of the chat. Wakes its runner, which does not wake at its own
    /// commits.
    pub fn chat_asked(&self, chat: ChatId) {
        let asked = lock(&self.inner.asked);
        if let Some(sender) = asked.get(&chat) {
            sender.send_replace(());
        }
    }

    /// Wakes when a person asks something of the chat. One per chat: its runner's.
    pub(super) fn asked(&self, chat: ChatId) -> Asked {
        let sender = watch::Sender::new(());
        let wakes = sender.subscribe();
        lock(&self.inner.asked).insert(chat, sender);
        Asked { hints: self.clone(), chat, wakes }
    }

    /// A chat without an owner may have work.
    pub fn runnable(&self) {
        self.inner.runnable.send_replace(());
    }

    /// Wakes when a chat may have work.
    #[must_use]
    pub fn runnable_wakes(&self) -> watch::Receiver<()> {
        self.inner.runnable.subscribe()
    }

    /// What `owner`'s lists show of `chat` may have changed.
    pub fn list_changed(&self, owner: UserId, chat: ChatId) {
        self.each_inbox(|inbox| inbox.note_chat(owner, chat));
    }

    /// What every list shows of `workspace` may have changed.
    pub fn workspace_changed(&self, workspace: WorkspaceId) {
        self.each_inbox(|inbox| inbox.note_workspace(workspace));
    }

    pub(super) fn join_lists(&self, inbox: &Arc<Inbox>) {
        let mut inboxes = lock(&self.inner.inboxes);
        inboxes.retain(|it| it.strong_count() > 0);
        inboxes.push(Arc::downgrade(inbox));
    }

    fn each_inbox(&self, act: impl Fn(&Inbox)) {
        // Upgraded under the lock, told outside it: an inbox takes a lock of its own.
        let inboxes: Vec<Arc<Inbox>> =
            lock(&self.inner.inboxes).iter().filter_map(Weak::upgrade).collect();
        inboxes.iter().for_each(|inbox| act(inbox));
    }
}

/// A runner's wake-ups. Deregisters itself.
pub(super) struct Asked {
    hints: Hints,
    chat: ChatId,
    wakes: watch::Receiver<()>,
}

impl Asked {
    /// Waits for the next wake-up; for ever, if a newer runner took over. Cancel safe.
    pub(super) async fn wait(&mut self) {
        if self.wakes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut asked = lock(&self.hints.inner.asked);
        // Ours only: a newer runner may have put its own in its place.
        if asked.get(&self.chat).is_some_and(|it| it.subscribe().same_channel(&self.wakes)) {
            asked.remove(&self.chat);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    #[tokio::test]
    async fn a_hint_between_subscribing_and_waiting_is_not_missed() {
        let ids: &dyn IdSource = &CountingIds::default();
        let (hints, chat) = (Hints::new(), ids.id());
        let mut wakes = hints.chat(chat);
        hints.chat_changed(chat);
        hints.chat_changed(chat);
        wakes.changed().await.expect("the sender lives in the hints");
        assert!(!wakes.has_changed().unwrap(), "two hints before a wake are one wake");
    }

    #[test]
    fn a_chat_that_nobody_watches_any_more_is_forgotten() {
        let ids: &dyn IdSource = &CountingIds::default();
        let (hints, chat) = (Hints::new(), ids.id());
        drop(hints.chat(chat));
        hints.chat_changed(chat);
        assert!(lock(&hints.inner.chats).is_empty());
    }
}
