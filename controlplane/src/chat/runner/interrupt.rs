//! A person stopped the turn: stop what runs, keep what was said, once.

use std::time::Duration;

use futures_util::future::join_all;

use super::tools::key_of;
use super::{Flow, Leave, Runner};
use crate::chat::content::{Part, StoredPart};
use crate::chat::machine::AssistantMessage;
use crate::chat::ports::Told;

/// Longest time that the daemon has to stop what runs.
const STOP_WAIT: Duration = Duration::from_secs(5);

impl Runner {
    /// Stops the open operations and ends the interruption with the partial answer.
    ///
    /// The partial answer is what this runner streamed, or what the former one checkpointed. The
    /// commit is fenced by the history version, so it is kept once.
    pub(super) async fn interrupt(&mut self) -> Flow {
        if self.chat.unanswered > 0 {
            self.load_operations().await?;
            if !self.stop_told {
                self.stop_operations().await;
            }
        }
        let partial = match self.partial.take() {
            Some(said) => Some(said),
            None if self.has_asked => None,
            None => self.checkpointed().await?,
        };
        let partial = partial.filter(|said| !said.content.is_empty()).map(with_notice);
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let finished =
            self.write(|| store.finish_interruption(id, &fence, partial.as_ref())).await?;
        self.finished(finished);
        self.note_acknowledged().await;
        Ok(())
    }

    /// Tells the daemon to stop every operation of the open batch, at most for five seconds.
    /// Whether it heard any of it.
    pub(super) async fn stop_operations(&self) -> Told {
        let open = self.operations.iter().flatten();
        let stops = open.filter(|row| row.is_open()).filter_map(|row| {
            let workspace = row.workspace_id?;
            let key = key_of(row, &self.fence, &*self.shared.ids);
            Some(async move { self.shared.tools.stop(workspace, &key).await })
        });
        let told = tokio::time::timeout(STOP_WAIT, join_all(stops)).await.unwrap_or_default();
        if told.contains(&Told::Heard) { Told::Heard } else { Told::Unheard }
    }

    pub(super) async fn load_operations(&mut self) -> Flow {
        if self.operations.is_none() || shared::fault::rarely("runner: operations read again") {
            let (id, store) = (self.id, self.shared.store.clone());
            self.operations = Some(self.read(|| store.open_operations(id)).await?);
        }
        Ok(())
    }

    /// What a former runner's model had said, if it belongs to this history.
    async fn checkpointed(&self) -> Result<Option<AssistantMessage>, Leave> {
        let (id, store) = (self.id, self.shared.store.clone());
        let found = self.read(|| store.load_checkpoint(id)).await?;
        let Some(found) = found else { return Ok(None) };
        if (found.history_version, found.attempt)
            != (self.fence.history_version, self.fence.attempt)
        {
            return Ok(None);
        }
        let parts: Option<Vec<StoredPart>> =
            found.parts.as_str().and_then(|text| serde_json::from_str(text).ok());
        Ok(parts.map(|content| AssistantMessage {
            // Without the kind, nothing of it goes back as a provider's own block.
            content: content.into_iter().map(|stored| stored.part.into()).collect(),
            ..AssistantMessage::default()
        }))
    }
}

/// What is kept of a running answer: its parts as JSON text.
pub(super) fn checkpoint(parts: &[StoredPart]) -> serde_json::Value {
    serde_json::to_string(parts).unwrap_or_default().into()
}

/// A remark of the system.
pub(super) fn notice(code: &str, text: &str) -> StoredPart {
    Part::Notice { code: code.to_owned(), text: text.to_owned() }.into()
}

fn with_notice(mut said: AssistantMessage) -> AssistantMessage {
    said.content.push(notice("interrupted", "The user stopped the answer here."));
    said
}
