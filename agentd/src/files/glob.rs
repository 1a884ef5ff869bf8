//! Paths that match a glob, newest first.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use globset::{GlobBuilder, GlobMatcher};
use ignore::WalkState;
use shared::limits::{LIST_ENTRIES_MAX, PATTERN_MAX_BYTES};
use shared::protocol::files::{GlobFiles, GlobResult};

use super::error::FileError;
use super::ignored::{Budget, Start, asked};
use super::path::file_path;
use super::read::modified_at_ms;
use super::root::Root;

/// Paths answered when the request names no number.
const LIMIT_DEFAULT: usize = 200;
/// Matches kept before the oldest are dropped; bounds memory in a huge tree.
const KEPT_MAX: usize = 100_000;

/// Compiles a glob. `*` does not cross a slash; a pattern without a slash matches in any directory.
pub(super) fn compile_glob(pattern: &str) -> Result<GlobMatcher, FileError> {
    if pattern.len() > PATTERN_MAX_BYTES {
        return Err(FileError::PatternTooLong { len: pattern.len(), limit: PATTERN_MAX_BYTES });
    }
    let pattern = pattern.trim_start_matches("./");
    let anywhere = if pattern.contains('/') { pattern.into() } else { format!("**/{pattern}") };
    GlobBuilder::new(anywhere.trim_start_matches('/'))
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| FileError::InvalidPattern(error.to_string()))
}

/// Answers [`GlobFiles`]. Patterns are matched against the path from where the walk begins.
pub(super) fn glob(
    root: &Root,
    request: &GlobFiles,
    started: Instant,
) -> Result<GlobResult, FileError> {
    let limit = request.limit.map_or(LIMIT_DEFAULT, |limit| limit as usize);
    let limit = limit.clamp(1, LIST_ENTRIES_MAX);
    let matcher = compile_glob(&request.pattern)?;
    let start = Start::find(root, request.path.as_ref())?;
    if !start.is_directory {
        let path = request.path.as_ref().map_or_else(String::new, |path| path.path.clone());
        return Err(FileError::system(&path, rustix::io::Errno::NOTDIR));
    }
    let found = walk(root, &start, &matcher, started);
    let mut matches = found.matches.into_inner().unwrap_or_else(PoisonError::into_inner);
    matches.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let truncated = found.truncated.into_inner() || matches.len() > limit;
    matches.truncate(limit);
    let paths = matches.iter().map(|(_, path)| file_path(path)).collect();
    Ok(GlobResult { paths, truncated })
}

#[derive(Default)]
struct FoundPaths {
    matches: Mutex<Vec<(i64, Vec<u8>)>>,
    truncated: AtomicBool,
}

fn walk(root: &Root, start: &Start, matcher: &GlobMatcher, started: Instant) -> FoundPaths {
    let found = FoundPaths::default();
    let budget = Budget::new(started);
    start.walker().build_parallel().run(|| {
        Box::new(|entry| {
            if budget.is_over() {
                found.truncated.store(true, Ordering::Relaxed);
                return WalkState::Quit;
            }
            let Ok(entry) = entry else { return WalkState::Continue };
            let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
            let below = entry.path().strip_prefix(&start.absolute).unwrap_or(entry.path());
            if !is_directory && matcher.is_match(Path::new(below)) {
                found.take(root, start.relative(entry.path()));
            }
            WalkState::Continue
        })
    });
    found
}

impl FoundPaths {
    /// Keeps a path if it can be reached by the confined way.
    fn take(&self, root: &Root, relative: &Path) {
        let modified = match root.stat_entry(&asked(relative)) {
            Ok(stat) => modified_at_ms(&stat),
            Err(_) => return,
        };
        let bytes = AsRef::<OsStr>::as_ref(relative).as_bytes().to_vec();
        let mut matches = self.matches.lock().unwrap_or_else(PoisonError::into_inner);
        matches.push((modified, bytes));
        if matches.len() >= KEPT_MAX {
            matches.sort_unstable_by_key(|(modified, _)| std::cmp::Reverse(*modified));
            matches.truncate(KEPT_MAX / 2);
            self.truncated.store(true, Ordering::Relaxed);
        }
    }
}
