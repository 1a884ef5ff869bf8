//! Computes an edit of several files and stages it.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Instant;

use shared::limits::{EDIT_FILES_MAX, EDITS_PER_FILE_MAX, OUTCOME_MAX_BYTES};
use shared::protocol::files::{Edit, EditFiles, Edited, EditedFile, FileEdits};

use super::super::error::FileError;
use super::super::path::{AskedPath, file_path};
use super::super::prepared::{FileReply, Prepared, Staging};
use super::super::read::{hash_text, whole_content};
use super::super::root::Root;
use super::super::temp::TempNotes;
use super::super::text::{LineEnds, Sniffed, sniff};
use super::super::walk::{Found, Last, Missing, Place};
use super::super::write::{check_hash, check_size, open_old};
use super::difference::{Difference, difference};
use super::hints::hints;
use super::indent::adapt;
use super::matching::{Flat, Way, find};

/// Half of what the journal keeps as an answer goes to diffs; the rest is for the other fields.
const DIFFS_MAX_BYTES: usize = OUTCOME_MAX_BYTES / 2;
/// Line numbers shown when an old text is there several times.
const LINES_SHOWN: usize = 8;

/// Prepares an [`EditFiles`].
pub(in super::super) fn plan_edit(
    root: &Root,
    notes: &TempNotes,
    request: &EditFiles,
    started: Instant,
) -> Result<Prepared, FileError> {
    if request.files.is_empty() || request.files.len() > EDIT_FILES_MAX {
        let why = format!("an edit is of 1 to {EDIT_FILES_MAX} files, not {}", request.files.len());
        return Err(FileError::InvalidRequest(why));
    }
    let mut targets: Vec<Target> = Vec::new();
    for edits in &request.files {
        let target = Target::compute(root, edits, started)?;
        if let Some(twice) = targets.iter().find(|other| other.is_same_file(&target)) {
            let why = format!("{} and {} are one file", twice.path.shown, target.path.shown);
            return Err(FileError::InvalidRequest(why));
        }
        targets.push(target);
    }
    let mut left = DIFFS_MAX_BYTES;
    let files = targets.iter().map(|target| target.reply(&mut left)).collect();
    let mut staging = Staging::begin(notes)?;
    for target in targets {
        staging
            .replace(target.place, &target.content, Some(&target.file), None)
            .map_err(|errno| FileError::system(&target.path.shown, errno))?;
    }
    Ok(staging.finish(FileReply::Edited(Edited { files })))
}

/// One file with its new content.
struct Target {
    path: AskedPath,
    place: Place,
    file: OwnedFd,
    old_text: String,
    new_text: String,
    content: Vec<u8>,
}

impl Target {
    fn compute(root: &Root, edits: &FileEdits, started: Instant) -> Result<Self, FileError> {
        let path = root.parse(&edits.path)?;
        let place = match root.locate(&path, Last::Follow, Missing::Refuse)? {
            Found::Directory { .. } => return Err(FileError::IsADirectory { path: path.shown }),
            Found::Entry(place) => place,
            Found::Absent(_) => {
                return Err(FileError::system(&path.shown, rustix::io::Errno::NOENT));
            }
        };
        let old = open_old(&place, &path)?;
        let file = old.file.map_err(|errno| FileError::system(&path.shown, errno))?;
        let reader = file.try_clone().map_err(|error| FileError::io(&path.shown, &error))?;
        let content = whole_content(&reader.into(), &path, started)?;
        check_hash(&path, edits.expect_hash.as_ref(), content.as_deref())?;
        let Some(content) = content else {
            let size = place.stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
            check_size(&path, size.max(shared::limits::WRITE_BYTES_MAX as u64 + 1))?;
            return Err(FileError::InvalidRequest("the file grew while it was read".to_owned()));
        };
        let binary = |guess| FileError::Binary {
            path: path.shown.clone(),
            size: content.len() as u64,
            guess,
        };
        let encoding = match sniff(&content, true) {
            Sniffed::Text(encoding) => encoding,
            Sniffed::Binary(guess) => return Err(binary(guess)),
        };
        let old_text = encoding.decode(&content).ok_or_else(|| binary("damaged text"))?;
        let new_text = edited_text(&path.shown, &old_text, &edits.edits)?;
        let content = encoding.encode(&new_text).ok_or_else(|| FileError::InvalidEdit {
            path: path.shown.clone(),
            number: 1,
            why: format!("the file is stored as {}, the new text does not fit", encoding.name()),
        })?;
        check_size(&path, content.len() as u64)?;
        Ok(Self { path, place, file, old_text, new_text, content })
    }

    fn is_same_file(&self, other: &Self) -> bool {
        let inode = |place: &Place| place.stat.map(|stat| (stat.st_dev, stat.st_ino));
        inode(&self.place) == inode(&other.place)
    }

    fn reply(&self, left: &mut usize) -> EditedFile {
        let path = file_path(self.place.path().as_encoded_bytes());
        let Difference { text, added, removed } =
            difference(&path.path, &self.old_text, &self.new_text, *left);
        *left = left.saturating_sub(text.len());
        let hash = hash_text(blake3::hash(&self.content));
        EditedFile { path, hash, diff: text, added, removed }
    }
}

/// One piece of the original that is replaced.
struct Splice {
    range: Range<usize>,
    text: String,
    number: usize,
}

/// The text after all `edits`, each of which was searched in `original`.
pub(in super::super) fn edited_text(
    shown: &str,
    original: &str,
    edits: &[Edit],
) -> Result<String, FileError> {
    if edits.is_empty() || edits.len() > EDITS_PER_FILE_MAX {
        let why = format!("a file takes 1 to {EDITS_PER_FILE_MAX} edits, not {}", edits.len());
        return Err(FileError::InvalidRequest(why));
    }
    let flat = Flat::of(original);
    let ends = LineEnds::of(original);
    let mut splices = Vec::new();
    for (index, edit) in edits.iter().enumerate() {
        let number = index + 1;
        let (way, ranges) = places(shown, original, &flat, edit, number)?;
        for range in ranges {
            let replaced = &original[range.clone()];
            let text = adapt(way, &edit.old_text, &edit.new_text, replaced, &flat, ends);
            splices.push(Splice { range, text, number });
        }
    }
    splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
    for pair in splices.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            let path = shown.to_owned();
            let (first, second) = (pair[0].number, pair[1].number);
            return Err(FileError::Overlap { path, first, second });
        }
    }
    let mut text = String::with_capacity(original.len());
    let mut from = 0;
    for splice in splices {
        text.push_str(&original[from..splice.range.start]);
        text.push_str(&splice.text);
        from = splice.range.end;
    }
    text.push_str(&original[from..]);
    Ok(text)
}

/// Where one edit applies.
fn places(
    shown: &str,
    original: &str,
    flat: &Flat,
    edit: &Edit,
    number: usize,
) -> Result<(Way, Vec<Range<usize>>), FileError> {
    let path = || shown.to_owned();
    let invalid = |why: &str| FileError::InvalidEdit { path: path(), number, why: why.to_owned() };
    if edit.old_text.is_empty() {
        return Err(invalid("the old text is empty; write the file to fill an empty one"));
    }
    if edit.old_text == edit.new_text {
        return Err(invalid("old and new text are equal"));
    }
    let Some(matches) = find(original, flat, &edit.old_text) else {
        let hints = hints(flat, &edit.old_text, &edit.new_text);
        return Err(FileError::NoMatch { path: path(), number, hints });
    };
    if edit.replace_all {
        return Ok((matches.way, without_overlap(matches.ranges)));
    }
    if matches.ranges.len() > 1 {
        let count = matches.ranges.len();
        let shown_lines = matches.ranges.iter().take(LINES_SHOWN);
        let mut lines: Vec<String> =
            shown_lines.map(|range| flat.line_at(range.start).to_string()).collect();
        if count > LINES_SHOWN {
            lines.push("…".to_owned());
        }
        return Err(FileError::Ambiguous { path: path(), number, count, lines: lines.join(", ") });
    }
    Ok((matches.way, matches.ranges))
}

/// Of ranges that overlap each other, the first.
fn without_overlap(ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut kept: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if kept.last().is_none_or(|last| last.end <= range.start) {
            kept.push(range);
        }
    }
    kept
}
