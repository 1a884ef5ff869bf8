//! Which kind of file system a path is on.

use std::path::Path;

/// File systems over a network, on which SQLite's shared memory and locks do not hold.
const NETWORK: &[&str] =
    &["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs"];

/// The kind of network file system that `folder` (absolute, without links) is on; none: it is
/// local, or the system does not say.
pub(super) fn network_file_system(folder: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    kind_of(&mounts, folder).filter(|kind| NETWORK.contains(&kind.as_str()))
}

/// The kind of the mount with the longest path over `folder`; of two with one path, the later.
fn kind_of(mounts: &str, folder: &Path) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        // `36 35 98:0 /root /mount/point options … - type source options`
        let Some((mount, rest)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4) else { continue };
        let Some(kind) = rest.split(' ').next() else { continue };
        let point = point.replace("\\040", " ");
        let longer = best.as_ref().is_none_or(|(length, _)| point.len() >= *length);
        if folder.starts_with(&point) && longer {
            best = Some((point.len(), kind.to_owned()));
        }
    }
    best.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:40 / /home rw,relatime shared:2 - nfs4 nas:/home rw,vers=4.2
37 36 8:2 / /home/ada/local\\040disk rw - ext4 /dev/sdb1 rw
";

    #[test]
    fn the_longest_mount_over_a_folder_counts() {
        let kind = |path: &str| kind_of(MOUNTS, Path::new(path));
        assert_eq!(kind("/var/lib").as_deref(), Some("ext4"));
        assert_eq!(kind("/home/ada").as_deref(), Some("nfs4"));
        assert_eq!(kind("/home/ada/local disk/x").as_deref(), Some("ext4"));
        assert_eq!(kind("/homeless").as_deref(), Some("ext4"));
    }
}
