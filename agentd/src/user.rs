//! The user that commands run as and that files belong to, where that is not the daemon's.

use serde::{Deserialize, Serialize};

/// A user of the system, by numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}
