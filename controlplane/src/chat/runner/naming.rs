//! What of a turn is to be named, for the namer beside the turns. Never waits for a model.

use super::Runner;
use crate::chat::context::marks::{is_report, is_said, request};
use crate::store::chats::{MessageRow, TitleSource};

impl Runner {
    /// The message of a person that the turn answers; none: an agent's report or a wish began it,
    /// or the chat is an agent's, which nobody looks for in a list.
    fn answered(&self) -> Option<&MessageRow> {
        let begins = |row: &&MessageRow| is_said(row) || is_report(row) || request(row).is_some();
        let last = self.history.iter().rev().filter(|row| !row.removed).find(begins)?;
        (self.chat.parent_id.is_none() && is_said(last)).then_some(last)
    }

    /// The `seq` of the message whose turn is to be named at its end; none: nobody names it.
    pub(super) async fn to_be_named(&self) -> Option<i64> {
        let seq = self.answered()?.seq;
        self.shared.models.namer(self.chat.model_id).await.map(|_| seq)
    }

    /// A step was committed and the turn goes on: after the first of a chat its title can be made.
    pub(super) fn title_may_be_due(&self) {
        let first = self.chat.steps_in_turn == 1 && self.history.len() <= 2;
        if !first || self.chat.title_source != TitleSource::FirstWords {
            return;
        }
        if let Some(said) = self.answered() {
            self.shared.namer.title_due(&self.chat, said.seq);
        }
    }
}
