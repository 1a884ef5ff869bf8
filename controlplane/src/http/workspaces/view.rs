//! What a workspace looks like from outside: its row, and what its link says now.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::ids::WorkspaceId;
use utoipa::ToSchema;

use crate::app::App;
use crate::chat::edit_check::EditCheck;
use crate::fleet::{Presence, WorkspaceLink};
use crate::http::problem::Problem;
use crate::store::WorkspaceRow;
use crate::time::Timestamp;

/// Whether a workspace can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceStatus {
    /// No daemon has joined yet.
    Pending,
    /// A probe has just gone to the daemon and back.
    Connected,
    /// A daemon has joined, and its link is gone.
    Unreachable,
}

/// A workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WorkspaceView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: WorkspaceId,
    /// Unique.
    pub name: String,
    /// For people and rules.
    pub labels: BTreeMap<String, String>,
    /// Whether it can be reached.
    pub status: WorkspaceStatus,
    /// Since when not; only while it is unreachable.
    pub unreachable_since: Option<Timestamp>,
    /// Of the daemon, as it last said.
    pub version: Option<String>,
    /// As the daemon last said.
    pub os: Option<String>,
    /// As the daemon last said.
    pub arch: Option<String>,
    /// As the daemon last said.
    pub hostname: Option<String>,
    /// The folder that the agent works in.
    pub root: Option<String>,
    /// By which means its daemon keeps commands of plan mode from changing anything, such as `landlock
    /// ABI 7, seccomp`; none: it cannot, and refuses them.
    pub sandbox: Option<String>,
    /// Of the last probe to the daemon and back, in milliseconds; only while it is connected.
    pub rtt_ms: Option<f64>,
    /// When a link of the daemon was last alive.
    pub last_seen_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What is run after edits; none: nothing.
    pub edit_check: Option<EditCheck>,
}

impl WorkspaceView {
    /// Joins the row with what the link says.
    #[must_use]
    pub fn new(row: WorkspaceRow, presence: &Presence) -> Self {
        let hello = presence.hello.as_deref();
        let status = match (presence.connected, row.device_spki.is_some()) {
            (true, _) => WorkspaceStatus::Connected,
            (false, true) => WorkspaceStatus::Unreachable,
            (false, false) => WorkspaceStatus::Pending,
        };
        let last_seen_ms = presence.last_seen_ms.max(row.last_seen_at_ms);
        let unreachable_since = match status {
            WorkspaceStatus::Unreachable => presence.since_ms.or(last_seen_ms).map(Timestamp),
            _ => None,
        };
        let rtt = presence.rtt.filter(|_| presence.connected);
        Self {
            id: row.id,
            name: row.name,
            labels: row.labels,
            status,
            unreachable_since,
            version: hello.map(|hello| hello.version.clone()).or(row.version),
            os: hello.map(|hello| hello.os.clone()).or(row.os),
            arch: hello.map(|hello| hello.arch.clone()).or(row.arch),
            hostname: hello.map(|hello| hello.hostname.clone()).or(row.hostname),
            root: hello.map(|hello| hello.root.clone()).or(row.root),
            sandbox: hello.and_then(|hello| hello.sandbox()).map(str::to_owned),
            rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 100_000.0).round() / 100.0),
            last_seen_at: last_seen_ms.map(Timestamp),
            created_at: Timestamp(row.created_at_ms),
            edit_check: row.edit_check,
        }
    }

    pub(super) fn of(app: &App, row: WorkspaceRow) -> Self {
        let presence = app.fleet.presence(row.id);
        Self::new(row, &presence)
    }
}

/// The way to a workspace that exists.
///
/// # Errors
///
/// `not_found`.
pub async fn link(app: &App, id: WorkspaceId) -> Result<WorkspaceLink, Problem> {
    match app.store.workspaces.workspace(id).await? {
        Some(_) => Ok(app.fleet.workspace(id)),
        None => Err(Problem::not_found()),
    }
}
