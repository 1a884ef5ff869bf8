//! Where the hierarchies are mounted, and where this process is in each.

use std::fs;
use std::path::{Path, PathBuf};

/// This process's directory in each hierarchy that it can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Of version 2.
    pub(super) unified: Option<OwnDirectory>,
    /// Of version 1, by controller: `memory`, `pids`, `cpu`.
    pub(super) legacy: Vec<(String, PathBuf)>,
}

/// This process's directory in the unified hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnDirectory {
    /// Where the hierarchy is mounted.
    pub(super) mount: PathBuf,
    /// Below it or the same.
    pub(super) own: PathBuf,
}

impl Hierarchies {
    /// Of this process.
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some(mount) = Mount::parse(line) else { continue };
            if mount.is_unified && found.unified.is_none() {
                let own = path_of(cgroup, |controllers| controllers.is_empty());
                found.unified = own.and_then(|path| {
                    let own = mount.directory(path)?;
                    Some(OwnDirectory { mount: mount.point.into(), own })
                });
            }
            if !mount.is_unified {
                for controller in ["memory", "pids", "cpu"] {
                    let has = |list: &str| list.split(',').any(|name| name == controller);
                    let is_known = found.legacy.iter().any(|(name, _)| name == controller);
                    if !has(mount.options) || is_known {
                        continue;
                    }
                    let own = path_of(cgroup, has).and_then(|path| mount.directory(path));
                    found.legacy.extend(own.map(|own| (controller.to_owned(), own)));
                }
            }
        }
        found
    }
}

struct Mount<'a> {
    /// The directory of the hierarchy that is mounted.
    root: &'a str,
    point: &'a str,
    is_unified: bool,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 0:30 / /sys/fs/cgroup/memory rw,… - cgroup cgroup rw,memory`
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let is_unified = match right.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        Some(Self { root, point, is_unified, options: right.nth(1).unwrap_or_default() })
    }

    /// Where `path` of the hierarchy is seen; none: outside of what is mounted.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let inner = Path::new(path).strip_prefix(self.root).ok()?;
        let point = Path::new(self.point);
        Some(if inner.as_os_str().is_empty() { point.to_owned() } else { point.join(inner) })
    }
}

/// `4:memory:/a/b`; a path that begins with `/..` is above what this process may see.
fn path_of(cgroup: &str, is_wanted: impl Fn(&str) -> bool) -> Option<&str> {
    let mut lines = cgroup.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let found = lines.find(|(controllers, _)| is_wanted(controllers));
    found.map(|(_, path)| path).filter(|path| !path.starts_with("/.."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_has_both() {
        let mountinfo = "\
22 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw
30 22 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 22 0:26 /pod /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 22 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 22 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let cgroup = "9:name=systemd:/\n4:memory:/pod/a\n1:cpu,cpuacct:/b\n0::/c\n";
        let found = Hierarchies::parse(mountinfo, cgroup);
        let unified = found.unified.unwrap();
        assert_eq!(unified.own, Path::new("/sys/fs/cgroup/unified/c"));
        assert_eq!(unified.mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(
            found.legacy,
            [
                ("cpu".to_owned(), "/sys/fs/cgroup/cpu,cpuacct/b".into()),
                ("memory".to_owned(), "/sys/fs/cgroup/memory/a".into()),
            ]
        );
    }

    #[test]
    fn what_is_outside_of_a_mount_or_a_namespace_is_not_there() {
        let line = "33 22 0:28 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(Hierarchies::parse(line, "0::/system.slice/x\n").unified, None);
        let line = "33 22 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(Hierarchies::parse(line, "0::/../other\n").unified, None);
        assert_eq!(Hierarchies::parse("", "").unified, None);
        assert_eq!(Hierarchies::parse("nonsense\n - \n", "0:"), Hierarchies::default());
    }
}
