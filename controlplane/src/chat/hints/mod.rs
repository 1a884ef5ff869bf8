//! Wake-ups: something *may* have changed; read the row.
//!
//! Every commit is followed by a hint, and losing any hint costs at most one poll interval: workers
//! poll each second, streams each ten. Hints carry no state, only where to look.
//!
//! Between replicas of one deployment hints travel by way of the [`Outbox`]; what comes from others
//! is [`apply`](Hints::apply)'d here and not sent on.

mod hint;
mod outbox;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use shared::ids::{ChatId, UserId, WorkspaceId};
use tokio::sync::watch;

pub use hint::{Hint, decode, encode};
pub use outbox::Outbox;

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
    links: Mutex<Links>,
    link_wake: watch::Sender<()>,
    outbox: OnceLock<Arc<Outbox>>,
}

/// Workspaces whose place in the directory may have changed, until somebody takes them.
#[derive(Default)]
struct Links {
    changed: BTreeSet<WorkspaceId>,
    all: bool,
}

/// Places of the directory to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNews {
    /// These.
    Some(BTreeSet<WorkspaceId>),
    /// Every one.
    All,
}

/// Places that wait to be looked at; more are all.
const LINKS_MAX: usize = 256;

impl Hints {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on hints are also collected for the other replicas.
    #[must_use]
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(self.inner.outbox.get_or_init(Arc::default))
    }

    /// No more hints will be sent to other replicas; those that wait still are.
    pub fn finish(&self) {
        if let Some(outbox) = self.inner.outbox.get() {
            outbox.finish();
        }
    }

    /// Wakes who is concerned here, and nobody elsewhere.
    pub fn apply(&self, hint: Hint) {
        match hint {
            Hint::Chat(chat) => self.wake_chat(chat),
            Hint::Asked(chat) => self.wake_asked(chat),
            Hint::List(owner, chat) => self.each_inbox(|inbox| inbox.note_chat(owner, chat)),
            Hint::Workspace(workspace) => self.each_inbox(|inbox| inbox.note_workspace(workspace)),
            Hint::Link(workspace) => self.note_links(|links| {
                links.changed.insert(workspace);
                links.all |= links.changed.len() > LINKS_MAX;
            }),
            Hint::Runnable => {
                self.inner.runnable.send_replace(());
            }
            Hint::Everything => self.wake_all(),
        }
    }

    fn say(&self, hint: Hint) {
        self.apply(hint);
        if let Some(outbox) = self.inner.outbox.get() {
            outbox.add(hint);
        }
    }

    /// The chat's row, messages or queue may have changed. Wakes its viewers and its runner.
    pub fn chat_changed(&self, chat: ChatId) {
        if shared::fault::rarely("hint: chat changed, lost") {
            return;
        }
        self.say(Hint::Chat(chat));
    }

    fn wake_chat(&self, chat: ChatId) {
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
        if shared::fault::rarely("hint: chat asked, lost") {
            return;
        }
        self.say(Hint::Asked(chat));
    }

    fn wake_asked(&self, chat: ChatId) {
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
        if shared::fault::rarely("hint: runnable, lost") {
            return;
        }
        self.say(Hint::Runnable);
    }

    /// Wakes when a chat may have work.
    #[must_use]
    pub fn runnable_wakes(&self) -> watch::Receiver<()> {
        self.inner.runnable.subscribe()
    }

    /// What `owner`'s lists show of `chat` may have changed.
    pub fn list_changed(&self, owner: UserId, chat: ChatId) {
        self.say(Hint::List(owner, chat));
    }

    /// What every list shows of `workspace` may have changed.
    pub fn workspace_changed(&self, workspace: WorkspaceId) {
        self.say(Hint::Workspace(workspace));
    }

    /// Another replica, or none, may hold the workspace's daemon now.
    pub fn link_changed(&self, workspace: WorkspaceId) {
        self.say(Hint::Link(workspace));
    }

    /// Waits until places of the directory may have changed. One listener. Cancel safe.
    pub async fn links_changed(&self) -> LinkNews {
        let mut wakes = self.inner.link_wake.subscribe();
        loop {
            wakes.borrow_and_update();
            let taken = std::mem::take(&mut *lock(&self.inner.links));
            if taken.all {
                return LinkNews::All;
            }
            if !taken.changed.is_empty() {
                return LinkNews::Some(taken.changed);
            }
            // The sender lives in the hints that this borrows.
            let _ = wakes.changed().await;
        }
    }

    fn note_links(&self, note: impl FnOnce(&mut Links)) {
        note(&mut lock(&self.inner.links));
        self.inner.link_wake.send_replace(());
    }

    /// Hints were lost: everybody looks again.
    fn wake_all(&self) {
        for chats in [&self.inner.chats, &self.inner.asked] {
            for sender in lock(chats).values() {
                sender.send_replace(());
            }
        }
        self.inner.runnable.send_replace(());
        self.each_inbox(Inbox::note_all);
        self.note_links(|links| links.all = true);
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

    #[tokio::test]
    async fn what_others_say_wakes_here_and_is_not_sent_on() {
        let ids: &dyn IdSource = &CountingIds::default();
        let hints = Hints::new();
        let outbox = hints.outbox();
        let (chat, workspace) = (ids.id(), ids.id());
        let wakes = hints.chat(chat);
        hints.apply(Hint::Chat(chat));
        assert!(wakes.has_changed().unwrap());
        hints.apply(Hint::Link(workspace));
        assert_eq!(hints.links_changed().await, LinkNews::Some([workspace].into()));
        hints.finish();
        assert_eq!(outbox.take().await, None);
    }

    #[tokio::test]
    async fn lost_hints_wake_everybody() {
        let ids: &dyn IdSource = &CountingIds::default();
        let hints = Hints::new();
        let (chat, runnable) = (hints.chat(ids.id()), hints.runnable_wakes());
        let mut asked = hints.asked(ids.id());
        hints.apply(Hint::Everything);
        assert!(chat.has_changed().unwrap() && runnable.has_changed().unwrap());
        asked.wait().await;
        assert_eq!(hints.links_changed().await, LinkNews::All);
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
