//! The private directory of a sandboxed process, in which alone it can write.
//!
//! Below `/tmp` and not below the state directory: the process may be another user's, who cannot go
//! through the latter. Its name is that of the process, so that a later daemon finds and removes it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use shared::ids::ProcessId;

use crate::user::Identity;

/// Where it is.
pub(in crate::process) fn path(process: ProcessId) -> PathBuf {
    Path::new("/tmp").join(format!("holdfast-{process}"))
}

/// Makes it for `owner`; none: for the daemon's own user.
pub(in crate::process) fn make(
    process: ProcessId,
    owner: Option<&Identity>,
) -> io::Result<PathBuf> {
    let path = path(process);
    // One that is there already is somebody else's: it is not used.
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    if let Some(owner) = owner {
        chown(&path, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(path)
}

/// Removes it with all that is in it, through no symbolic link. What is left is removed when the
/// keeper's directory is, at the next start.
pub(in crate::process) fn remove(process: ProcessId, owner: Option<&Identity>) {
    let path = path(process);
    let uid = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |owner| owner.uid);
    // Something else with its name was not made here, and stays.
    let is_ours = |meta: std::fs::Metadata| meta.is_dir() && meta.uid() == uid;
    if !std::fs::symlink_metadata(&path).is_ok_and(is_ours) {
        return;
    }
    if let Err(error) = std::fs::remove_dir_all(&path) {
        tracing::warn!(process.id = %process, %error, "a private directory was not removed");
    }
}
