//! Another model where the one that was chosen cannot answer: for the rest of the turn, and said so.
//!
//! ```text
//! refused for good, overloaded ──┐
//! failed three times ────────────┴► a fallback is named, and was not asked yet?
//!                                     ├ yes ► one commit: who answers, why, one more attempt ► call it
//!                                     └ no ─► retry, or the turn ends with the error
//! ```
//!
//! Who answers is in the row, so a runner that takes the chat over asks the same model. The next turn
//! begins with the chosen model again.

use super::{Flow, Runner};
use crate::chat::content::{Part, StoredPart};
use crate::chat::event::ChatErrorView;
use crate::chat::machine::FallbackState;
use crate::llm::ProviderErrorKind;
use shared::ids::ModelId;

use super::decide::ATTEMPTS_MAX;
use super::interrupt::notice;

/// Failed attempts at a step after which waiting is given up for another model.
const TRIES: i64 = 3;

/// Whether another model may help, after `attempt` attempts at the step.
fn may_help(kind: ProviderErrorKind, attempt: i64) -> bool {
    match kind {
        ProviderErrorKind::Overloaded
        | ProviderErrorKind::Auth
        | ProviderErrorKind::Quota
        | ProviderErrorKind::Config
        | ProviderErrorKind::MissingKey => attempt < ATTEMPTS_MAX,
        ProviderErrorKind::RateLimited
        | ProviderErrorKind::Timeout
        | ProviderErrorKind::StreamSilent
        | ProviderErrorKind::BadResponse
        | ProviderErrorKind::Unreachable
        | ProviderErrorKind::Server => (TRIES..ATTEMPTS_MAX).contains(&attempt),
        // A shorter history helps, and is tried first.
        ProviderErrorKind::ContextExceeded => false,
    }
}

impl Runner {
    /// Who is asked now; none: the default model.
    pub(super) fn asked_model(&self) -> Option<ModelId> {
        let fallback = self.chat.fallback.as_ref().map(|fallback| fallback.model_id);
        fallback.or(self.chat.model_id)
    }

    /// Falls back from `selected`, whose call failed. False: nobody is there to fall back to.
    pub(super) async fn fell_back(
        &mut self,
        selected: &str,
        kind: ProviderErrorKind,
        error: &ChatErrorView,
    ) -> Result<bool, super::Leave> {
        if !may_help(kind, self.fence.attempt) {
            return Ok(false);
        }
        self.fell_back_for(selected, error).await
    }

    /// Falls back from a model that cannot be asked at all. False: nobody is there to fall back to.
    pub(super) async fn fell_back_for(
        &mut self,
        selected: &str,
        error: &ChatErrorView,
    ) -> Result<bool, super::Leave> {
        if self.chat.fallback.is_some() {
            return Ok(false);
        }
        let named = match self.chat.fallback_model_id {
            Some(id) => Some(id),
            None => self.shared.models.fallback(self.chat.model_id).await,
        };
        let Some(model_id) = named.filter(|id| Some(*id) != self.chat.model_id) else {
            return Ok(false);
        };
        let Ok(choice) = self.shared.models.choose(Some(model_id)).await else { return Ok(false) };
        let state = FallbackState {
            model_id,
            selected_model: selected.to_owned(),
            answered_by: choice.model,
            error: error.clone(),
        };
        self.fall_back(&state).await?;
        Ok(true)
    }

    async fn fall_back(&mut self, state: &FallbackState) -> Flow {
        tracing::info!(chat.id = %self.id, code = %state.error.code, "another model answers");
        shared::fault::pass("w0 fallback").await;
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let Some((chat, fence)) = self.write(|| store.fall_back(id, &fence, state)).await? else {
            return Ok(());
        };
        shared::fault::pass("w0 fallback committed").await;
        (self.chat, self.fence) = (chat, fence);
        self.attempt_begun = true;
        self.preview = None;
        self.tell();
        Ok(())
    }

    /// A remark on the first answer of another model than the one that was chosen.
    pub(super) fn answered_for(&self) -> Option<StoredPart> {
        let FallbackState { selected_model, answered_by, error, .. } =
            self.chat.fallback.as_ref()?;
        let remarked =
            |part: &Part| matches!(part, Part::Notice { code, .. } if code == "fallback");
        let turn = self.history.iter().rev().take(self.steps_of_turn());
        if turn.flat_map(|row| &row.content).any(|stored| remarked(&stored.part)) {
            return None;
        }
        let text = format!(
            "{selected_model} was asked and could not answer ({}): {answered_by} answers for the \
             rest of the turn.",
            error.code
        );
        Some(notice("fallback", &text))
    }

    /// Rows since the turn began, at most.
    fn steps_of_turn(&self) -> usize {
        usize::try_from(self.chat.steps_in_turn).unwrap_or(0).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_cannot_mend_falls_back_at_once_and_the_rest_after_three_tries() {
        use ProviderErrorKind as K;
        for kind in [K::Overloaded, K::Auth, K::Quota, K::Config, K::MissingKey] {
            assert!(may_help(kind, 1), "{kind:?}");
        }
        for kind in [K::RateLimited, K::Timeout, K::StreamSilent, K::Unreachable, K::Server] {
            assert!(!may_help(kind, 2) && may_help(kind, 3), "{kind:?}");
        }
        assert!(!may_help(K::ContextExceeded, 1));
        assert!(!may_help(K::Server, ATTEMPTS_MAX), "the count of attempts holds for both");
    }
}
