//! A viewer's hold on the relay of its chat's preview, where several replicas share the chats.

use shared::ids::ChatId;
use tokio::sync::watch;

/// Brings previews from the replicas that drive chats to this one.
pub trait Relays: Send + Sync + 'static {
    /// Fills the chat's channel for as long as the answer lives. Never waits.
    fn follow(&self, chat: ChatId) -> Following;
}

/// Keeps a relay going; see [`Relays::follow`].
pub struct Following {
    caught_up: watch::Receiver<bool>,
    _hold: Box<dyn Send + Sync>,
}

impl Following {
    /// `caught_up` turns true when the channel holds all that was said before. Dropping `hold` ends
    /// the following.
    #[must_use]
    pub fn new(caught_up: watch::Receiver<bool>, hold: Box<dyn Send + Sync>) -> Self {
        Self { caught_up, _hold: hold }
    }

    pub(super) fn has_caught_up(&self) -> bool {
        *self.caught_up.borrow()
    }

    /// Waits until it has; for ever, if nobody will say so. Cancel safe.
    pub(super) async fn caught_up(&mut self) {
        if self.caught_up.wait_for(|caught_up| *caught_up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
