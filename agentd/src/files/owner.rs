//! Whose the files are, where commands do not run as the daemon's user.
//!
//! Linux checks files against a user of the *thread*. A job on files enters that user, with its
//! groups and without the daemon's rights, and leaves it at its end, also by a panic. The daemon's
//! own notes are written in between as the daemon.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use crate::user::Identity;

thread_local! {
    /// Whom this thread has entered.
    static ENTERED: RefCell<Option<Arc<Identity>>> = const { RefCell::new(None) };
}

/// Whose the files are. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    /// None: the daemon's user's.
    identity: Option<Arc<Identity>>,
}

impl Owner {
    pub(super) fn new(identity: Option<Identity>) -> Self {
        Self { identity: identity.map(Arc::new) }
    }

    /// Runs `job` as the owner of the files. Errors: this thread may not become that user.
    pub(super) fn run<T>(&self, job: impl FnOnce() -> T) -> io::Result<T> {
        let Some(identity) = &self.identity else { return Ok(job()) };
        let _inside = Inside::enter(identity)?;
        Ok(job())
    }
}

/// Runs `job` as the daemon, also inside of [`Owner::run`].
pub(super) fn as_daemon<T>(job: impl FnOnce() -> T) -> T {
    let entered = ENTERED.with_borrow(Clone::clone);
    let Some(identity) = entered else { return job() };
    leave();
    let result = job();
    // It was possible before, so it is now; if not, the rest of the job has no rights at all.
    if Inside::enter(&identity).map(std::mem::forget).is_err() {
        tracing::error!("a thread could not become the owner of the files again");
    }
    result
}

/// While it lives, this thread is somebody else.
struct Inside;

impl Inside {
    fn enter(identity: &Arc<Identity>) -> io::Result<Self> {
        let inside = Self;
        set_groups(&identity.groups)?;
        set_fs_ids(identity.uid, identity.gid)?;
        ENTERED.set(Some(Arc::clone(identity)));
        Ok(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        leave();
    }
}

/// Back to the daemon's own. The rights over files come back with the user.
fn leave() {
    ENTERED.set(None);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = own_groups();
    if set_fs_ids(uid, gid).and_then(|()| set_groups(own)).is_err() {
        // Its jobs fail from now on, which is better than doing them as somebody else.
        tracing::error!("a thread could not become the daemon's user again");
    }
}

/// The daemon's own groups, as they were before the first job.
fn own_groups() -> &'static [u32] {
    static OWN: std::sync::OnceLock<Vec<u32>> = std::sync::OnceLock::new();
    OWN.get_or_init(|| {
        let groups = rustix::process::getgroups().unwrap_or_default();
        groups.into_iter().map(rustix::process::Gid::as_raw).collect()
    })
}

/// Of this thread alone: the C library's function is for all threads of the process.
fn set_groups(groups: &[u32]) -> io::Result<()> {
    own_groups();
    #[expect(unsafe_code, reason = "the thread's groups")]
    // SAFETY: the kernel reads as many numbers as it is told, from a slice that lives.
    let set =
        unsafe { nix::libc::syscall(nix::libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The group first: without the user's rights it could not be changed.
fn set_fs_ids(uid: u32, gid: u32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the thread's user for files")]
    // SAFETY: two numbers; no memory is touched. The calls answer what was before, and the impossible
    // id only asks.
    let now = unsafe {
        nix::libc::setfsgid(gid);
        nix::libc::setfsuid(uid);
        (nix::libc::setfsuid(u32::MAX), nix::libc::setfsgid(u32::MAX))
    };
    if now == (uid.cast_signed(), gid.cast_signed()) {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_job_is_the_owners_and_what_comes_after_is_not() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can become another user");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(path("secret"), "s").unwrap();
        std::fs::set_permissions(path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let identity = Identity { uid: 65_534, gid: 65_534, groups: vec![65_534] };
        let owner = Owner::new(Some(identity));
        owner
            .run(|| {
                std::fs::write(path("theirs"), "t").unwrap();
                let refused = std::fs::read(path("secret")).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
                assert_eq!(as_daemon(|| std::fs::read(path("secret"))).unwrap(), b"s");
                std::fs::read(path("secret")).unwrap_err();
            })
            .unwrap();
        assert_eq!(std::fs::metadata(path("theirs")).unwrap().uid(), 65_534);
        assert_eq!(std::fs::read(path("secret")).unwrap(), b"s");
        let panicked = std::panic::catch_unwind(|| owner.run(|| panic!("a job")));
        assert!(panicked.is_err());
        std::fs::write(path("ours"), "o").unwrap();
        assert_eq!(std::fs::metadata(path("ours")).unwrap().uid(), 0);
    }
}
