//! Listing a directory, page by page. Memory is bounded by the page, not by the directory.

use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType};
use shared::limits::LIST_ENTRIES_MAX;
use shared::protocol::files::{DirectoryEntry, DirectoryPage, ListDirectory};

use super::error::FileError;
use super::path::{AskedPath, file_path, shown};
use super::read::modified_at_ms;
use super::root::Root;

/// Answers [`ListDirectory`].
pub(super) fn list(root: &Root, request: &ListDirectory) -> Result<DirectoryPage, FileError> {
    let limit = request.limit.map_or(LIST_ENTRIES_MAX, |limit| limit as usize);
    let limit = limit.clamp(1, LIST_ENTRIES_MAX);
    let path = root.parse(&request.path)?;
    let directory = root.open_directory(&path)?;
    let after = request.after.as_ref().map(|after| match &after.bytes {
        Some(bytes) => bytes.as_slice(),
        None => after.path.as_bytes(),
    });
    let (names, more) = lowest_names(&directory, &path, after, limit)?;
    let entries = names.iter().filter_map(|name| entry(&directory, name)).collect();
    Ok(DirectoryPage { path: file_path(path.joined().as_encoded_bytes()), entries, more })
}

/// The `limit` lowest names after `after`, in byte order, and whether there are more.
fn lowest_names(
    directory: &OwnedFd,
    path: &AskedPath,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<Vec<u8>>, bool), FileError> {
    let refused = |errno| FileError::system(&path.shown, errno);
    let mut lowest = BinaryHeap::with_capacity(limit + 1);
    let mut more = false;
    for entry in Dir::read_from(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || after.is_some_and(|after| name <= after) {
            continue;
        }
        if lowest.len() < limit {
            lowest.push(name.to_vec());
            continue;
        }
        more = true;
        if lowest.peek().is_some_and(|highest: &Vec<u8>| name < highest.as_slice()) {
            lowest.pop();
            lowest.push(name.to_vec());
        }
    }
    Ok((lowest.into_sorted_vec(), more))
}

/// One entry; none if it is gone by now.
fn entry(directory: &OwnedFd, name: &[u8]) -> Option<DirectoryEntry> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        _ => "device",
    };
    let target = (kind == "symlink")
        .then(|| rustix::fs::readlinkat(directory, name, Vec::new()).ok())
        .flatten()
        .map(|target| shown(target.as_bytes()));
    Some(DirectoryEntry {
        name: file_path(name),
        kind: kind.to_owned(),
        size: if kind == "file" { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        modified_at_ms: modified_at_ms(&stat),
        target,
    })
}
