//! The tools of the native agent: a [`Catalogue`] of name, schema, mode rule, deadline and body.
//!
//! ```text
//! model asks ──► Catalogue::run ──► arguments checked ──► one body per tool ──► Workspace (a link) ──► daemon
//!                     │                   │ bad                                    │
//!                     │                   ▼                                        ├─ done, refused, failed ─► ToolOutcome
//!                     └──────────► ToolOutcome{is_error}                           └─ unknown, unavailable ──► ToolError
//! ```
//!
//! A [`ToolOutcome`] is an answer for the model, good or bad. A [`ToolError`] is no answer: the
//! driver of the turn waits (or stops) and asks again with the same operation id, and the daemon's
//! journal makes sure that nothing runs twice. Bodies are thin over the daemon's methods, keep no
//! state, and may be dropped at any await: what they started is found again by the operation id.

pub mod advisor;
pub mod agents;
mod arguments;
mod catalogue;
mod context;
mod edit;
mod errors;
mod execute;
mod find;
mod people;
mod process;
mod read;
mod standing;
mod text;
mod workspace;

#[cfg(test)]
mod tests;

pub use advisor::AdvisorTool;
pub use agents::AgentTools;
pub use arguments::is_schema;
pub use catalogue::{Catalogue, ToolKind};
pub use context::{LiveOutput, OperationKey, ToolContext, ToolError, ToolOutcome};
pub use workspace::{Following, Workspace};
