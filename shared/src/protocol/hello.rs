//! The first message each way. Its bytes never change, in any version: a peer of any age can read
//! it and say why it does not go on.
//!
//! Bounds, in bytes unless said otherwise: version 64, os and arch 32, hostname 255, root 4,096,
//! 64 features of 64 each; no control characters anywhere.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, ReplicaId, WorkspaceId};

/// Begins the feature that says by which means the daemon can sandbox a process, for people:
/// `sandbox=landlock ABI 7, seccomp`. A daemon without it runs nothing in a sandbox.
pub const SANDBOX_FEATURE: &str = "sandbox=";

/// What the daemon says first. Identity comes from the certificate alone; nothing here is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest minor version the daemon speaks.
    pub minor_min: u32,
    /// Highest minor version the daemon speaks.
    pub minor_max: u32,
    /// Program version, such as `0.1.0`.
    pub version: String,
    /// New at every start of the daemon.
    pub instance_id: InstanceId,
    /// Names of what the daemon can do beyond the version, ascending.
    pub features: Vec<String>,
    /// Operating system and architecture as Rust names them, `linux` and `x86_64`.
    pub os: String,
    /// See [`Hello::os`].
    pub arch: String,
    /// The machine's name.
    pub hostname: String,
    /// Absolute path of the workspace's root.
    pub root: String,
    /// Unix milliseconds by the daemon's wall clock, so that a skew can be named.
    pub now_ms: i64,
}

impl Hello {
    /// By which means the daemon sandboxes processes; none: it cannot.
    #[must_use]
    pub fn sandbox(&self) -> Option<&str> {
        self.features.iter().find_map(|feature| feature.strip_prefix(SANDBOX_FEATURE))
    }
}

/// What the control plane answers, inside a [`Reply`](super::Reply): an error says why it does not
/// go on (`version_unsupported` with `supported_min` and `supported_max`, `invalid_hello` with
/// `field`, `daemon_auth_failed`) and is followed by the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The minor version both speak: the lower of the two maxima.
    pub minor: u32,
    /// Program version of the control plane.
    pub version: String,
    /// The replica at the other end.
    pub replica_id: ReplicaId,
    /// The workspace the certificate names.
    pub workspace_id: WorkspaceId,
    /// The workspace's name, for logs and `agentd status`.
    pub workspace_name: String,
    /// Raised at each accepted hello of this workspace; the higher link wins.
    pub link_epoch: u64,
    /// Unix milliseconds by the control plane's wall clock.
    pub now_ms: i64,
    /// `host:port` of every server of the deployment, this one too, at most 64; empty: only the
    /// address that the daemon knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}
