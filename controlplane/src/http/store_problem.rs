//! How failures of the services look from outside.

use std::time::Duration;

use super::code::Code;
use super::problem::Problem;
use crate::chat::machine::{ExecutionState, Refusal};
use crate::fleet::{CallError, UnknownReason};
use crate::store::StoreError;

/// Pause that is suggested while the database or a workspace is away.
const AWAY_PAUSE: Duration = Duration::from_secs(2);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found(),
            StoreError::Conflict => {
                Self::new(Code::Conflict, "it changed at the same moment, or its name is in use")
            }
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Unavailable(_) | StoreError::Contended(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the database is away");
                Self::new(Code::Unavailable, "the database does not answer; try again")
                    .retry_after(AWAY_PAUSE)
            }
            StoreError::DiskFull(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the disk is full");
                Self::new(Code::DiskFull, "the disk of the server is full; nothing was changed")
            }
            StoreError::Fenced | StoreError::Corrupt { .. } | StoreError::Broken(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                Self::internal("the store failed")
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::NotAllowed { state, .. } if state.is_runnable() => Code::ChatRunning,
            Refusal::NotAllowed { state: ExecutionState::A0 | ExecutionState::A1, .. } => {
                Code::ChatRequiresAction
            }
            Refusal::NotAllowed { .. } => Code::ChatNotRunning,
            Refusal::ActionNotFound => Code::ActionNotFound,
            Refusal::ActionResolved => Code::ActionResolved,
            Refusal::ActionMismatch => Code::ActionMismatch,
            Refusal::ClientResultUnexpected => Code::ClientResultUnexpected,
            Refusal::ClientResultDuplicate => Code::ClientResultDuplicate,
            Refusal::ClientResultMissing => Code::ClientResultMissing,
            Refusal::MessageNotFound => Code::MessageNotFound,
            Refusal::AttachmentNotFound => Code::AttachmentNotFound,
            Refusal::TooManyAttachments { max } => {
                let limit = *max;
                return Self::new(Code::TooManyAttachments, refusal.to_string())
                    .with("limit", limit);
            }
            Refusal::AttachmentSent => Code::InUse,
            Refusal::NotUserMessage => Code::MessageNotEditable,
            Refusal::NotRoot => Code::ChatNotRoot,
            Refusal::Invalid => Code::ChatStateInvalid,
            Refusal::Archived => Code::ChatArchived,
            Refusal::QueueFull { .. } => Code::QueueFull,
            Refusal::QueuedNotFound => return Self::not_found(),
            // Faults of this program; a person cannot cause them.
            _ => return Self::internal(refusal),
        };
        Self::new(code, refusal.to_string())
    }
}

/// The four ends of a call are told apart here as everywhere.
impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotConnected { since_ms } => {
                let detail = "the workspace's daemon is not connected; nothing was done";
                let problem = Self::new(Code::WorkspaceNotConnected, detail)
                    .hint("on the machine: agentd status")
                    .retry_after(AWAY_PAUSE);
                match since_ms {
                    Some(ms) => problem.with("since", crate::time::Timestamp(ms)),
                    None => problem,
                }
            }
            CallError::Refused(error) | CallError::Failed(error) => error.into(),
            CallError::Unknown { reason: UnknownReason::Lost(error) } => error.into(),
            CallError::Unknown { reason } => {
                let detail = format!("{reason}; nobody here knows whether it was done");
                Self::new(Code::OutcomeUnknown, detail)
                    .hint("look before you repeat it, or repeat it with the same Idempotency-Key")
            }
        }
    }
}
