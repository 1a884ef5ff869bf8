//! The bytes of the files that a prompt shows, and what happens when a provider refuses one.
//!
//! They are read once and kept as long as the prompts show them, at most the bytes of one request
//! ([`FileBudget`](crate::llm::FileBudget)). A refused file must not stop its chat: all files so far
//! become stubs by a mark in the history, and the model is asked again.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::{Flow, Leave, Runner, TROUBLE_PAUSE};
use crate::chat::content::{Compaction, CompactionMethod, CompactionReason, FileRef, Part};
use crate::chat::context::files::{STUB_BYTES, tokens};
use crate::chat::context::plan::BYTES_PER_TOKEN;
use crate::chat::machine::AssistantMessage;
use crate::llm::{Prompt, ProviderError, ProviderErrorKind, names_a_file};
use crate::store::StoreError;

impl Runner {
    /// The prompt with the bytes of its files; none: the database is away, and the chat is to be
    /// looked at again.
    pub(super) async fn with_files(&mut self, prompt: Prompt) -> Result<Option<Prompt>, Leave> {
        let mut bytes: BTreeMap<String, Bytes> = BTreeMap::new();
        for file in files_of(&prompt) {
            if bytes.contains_key(&file.hash) {
                continue;
            }
            let known = self.files.get(file).cloned();
            let loaded = match known {
                Some(known) => Ok(Some(known)),
                None => self.load(file).await,
            };
            match loaded {
                Ok(Some(loaded)) => drop(bytes.insert(file.hash.clone(), loaded)),
                // Providers are then told that there was one.
                Ok(None) => tracing::warn!(chat.id = %self.id, file.id = %file.attachment_id,
                    "an attached file is gone"),
                Err(StoreError::Unavailable(_) | StoreError::Contended(_)) => {
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                    self.look_again().await?;
                    return Ok(None);
                }
                Err(error) => return Err(Leave::Broken(error)),
            }
        }
        self.files = bytes.into_iter().collect();
        Ok(Some(Prompt { files: self.files.clone(), ..prompt }))
    }

    async fn load(&self, file: &FileRef) -> Result<Option<Bytes>, StoreError> {
        let store = &self.shared.attachments;
        let Some(row) = store.find(file.attachment_id).await? else { return Ok(None) };
        let mut whole = BytesMut::with_capacity(usize::try_from(row.file.size).unwrap_or(0));
        let mut ordinal = 0;
        while let Some(chunk) = store.chunk(row.blob_id, ordinal).await? {
            whole.extend_from_slice(&chunk);
            ordinal += 1;
        }
        Ok(Some(whole.freeze()))
    }

    /// Whether a model call failed because of a file that its prompt showed.
    pub(super) fn refuses_files(&self, error: &ProviderError) -> bool {
        // Some servers answer 500 to an image that their model cannot see.
        let kind = matches!(error.kind, ProviderErrorKind::Config | ProviderErrorKind::Server);
        kind && !self.files.is_empty() && names_a_file(&error.message)
    }

    /// Leaves all files so far out of the prompts of this chat.
    pub(super) async fn leave_files_out(&mut self) -> Flow {
        let Some(last) = self.history.last() else { return Ok(()) };
        let shown = self.history.iter().filter(|row| !row.removed).flat_map(|row| &row.content);
        let files: Vec<&FileRef> = shown
            .filter_map(|stored| match &stored.part {
                Part::File { file } => Some(file),
                _ => None,
            })
            .collect();
        let mark = Compaction {
            method: CompactionMethod::Files,
            reason: CompactionReason::Refused,
            through_seq: last.seq,
            summary: String::new(),
            tokens_before: files.iter().map(|file| tokens(file)).sum(),
            tokens_after: files.len() as u64 * (STUB_BYTES as u64 / BYTES_PER_TOKEN),
        };
        self.keep(mark, AssistantMessage::default()).await
    }
}

/// The files that a prompt shows.
fn files_of(prompt: &Prompt) -> Vec<&FileRef> {
    let parts = prompt.messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|stored| match &stored.part {
            Part::File { file } => Some(file),
            _ => None,
        })
        .collect()
}
