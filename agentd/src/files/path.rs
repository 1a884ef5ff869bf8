//! Paths as people and models write them, taken apart once.
//!
//! A path becomes a list of components; every later decision compares components, never text, so
//! that `root-evil` is not taken for `root`. Names are bytes: Linux allows all but `/` and NUL.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use shared::limits::{NAME_MAX_BYTES, PATH_MAX_BYTES};
use shared::protocol::files::FilePath;

use super::error::FileError;

/// A path below the root, as it was asked for: symbolic links and `..` are not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskedPath {
    /// Components in order; may hold `.` and `..`. A trailing slash is a last `.`.
    pub components: Vec<OsString>,
    /// What was asked for, for messages.
    pub shown: String,
}

impl AskedPath {
    /// Takes `path` apart. An absolute path has to begin with the components of one of `roots`.
    pub fn parse(path: &FilePath, roots: &[&Path]) -> Result<Self, FileError> {
        let bytes = path.bytes.as_deref().unwrap_or(path.path.as_bytes());
        if bytes.is_empty() {
            return Err(FileError::InvalidPath { why: "it is empty" });
        }
        if bytes.contains(&0) {
            return Err(FileError::InvalidPath { why: "it contains a NUL byte" });
        }
        if bytes.len() > PATH_MAX_BYTES {
            return Err(FileError::NameTooLong { what: "path", limit: PATH_MAX_BYTES });
        }
        let shown = shown(bytes);
        let mut components = split(bytes);
        if bytes.starts_with(b"/") {
            let rest = roots.iter().find_map(|root| below(&components, root));
            components = rest.ok_or_else(|| FileError::PathEscape { path: shown.clone() })?;
        }
        if components.iter().any(|name| name.len() > NAME_MAX_BYTES) {
            return Err(FileError::NameTooLong { what: "name", limit: NAME_MAX_BYTES });
        }
        Ok(Self { components, shown })
    }

    /// The root itself.
    pub fn root() -> Self {
        Self { components: Vec::new(), shown: ".".to_owned() }
    }

    /// The components as one relative path; `.` for none.
    pub fn joined(&self) -> OsString {
        join(&self.components)
    }

    /// Whether the text says that a directory is meant (`a/`, `a/.`).
    pub fn names_a_directory(&self) -> bool {
        self.components.last().is_some_and(|last| last == "." || last == "..")
    }
}

/// Components of `bytes`; a trailing slash becomes a last `.`, as the kernel reads it.
pub(super) fn split(bytes: &[u8]) -> Vec<OsString> {
    let mut components: Vec<OsString> = bytes
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect();
    if bytes.ends_with(b"/") && !components.is_empty() {
        components.push(".".into());
    }
    components
}

/// What follows the components of `root`, if all of them are there.
pub(super) fn below(components: &[OsString], root: &Path) -> Option<Vec<OsString>> {
    let mut rest = components.iter().filter(|name| *name != ".");
    for component in root.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                if rest.next().map(OsString::as_os_str) != Some(name) {
                    return None;
                }
            }
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let mut left: Vec<OsString> = rest.cloned().collect();
    if components.last().is_some_and(|last| last == ".") && !left.is_empty() {
        left.push(".".into());
    }
    Some(left)
}

/// Joins components to a relative path; `.` for none.
pub(super) fn join<T: AsRef<OsStr>>(components: &[T]) -> OsString {
    let mut joined = Vec::new();
    for name in components {
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name.as_ref().as_bytes());
    }
    if joined.is_empty() { ".".into() } else { OsString::from_vec(joined) }
}

/// The wire form of exact bytes: readable text, and the bytes where the text is not exact.
pub(super) fn file_path(bytes: &[u8]) -> FilePath {
    let text = shown(bytes);
    let exact = text.as_bytes() == bytes;
    FilePath { path: text, bytes: (!exact).then(|| bytes.to_vec()) }
}

/// Text that is safe to show: control, direction and invalid bytes are escaped.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                text.push(character);
            } else {
                text.extend(character.escape_default());
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// False for what would change how the text around it is shown.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Vec<OsString>, FileError> {
        let roots = [Path::new("/srv/repo")];
        AskedPath::parse(&FilePath::from(path), &roots).map(|asked| asked.components)
    }

    #[test]
    fn an_absolute_path_is_inside_only_by_whole_components() {
        assert_eq!(parse("/srv/repo/a/b").unwrap(), ["a", "b"]);
        assert_eq!(parse("//srv/./repo//a/").unwrap(), ["a", "."]);
        assert!(parse("/srv/repo").unwrap().is_empty());
        for outside in ["/srv/repo-evil/a", "/srv", "/", "//", "/srv/../srv/repo/a", "/etc/passwd"]
        {
            assert!(matches!(parse(outside), Err(FileError::PathEscape { .. })), "{outside}");
        }
    }

    #[test]
    fn names_that_would_fool_a_reader_are_escaped_and_carry_their_bytes() {
        let cases: [(&[u8], &str); 5] = [
            (b"a\nb", "a\\nb"),
            (b"a\x1b[2J", "a\\u{1b}[2J"),
            (b"a\xff", "a\\xff"),
            ("a\u{202e}txt.exe".as_bytes(), "a\\u{202e}txt.exe"),
            (b"-rf", "-rf"),
        ];
        for (bytes, text) in cases {
            let path = file_path(bytes);
            assert_eq!(path.path, text);
            assert_eq!(path.bytes.as_deref().unwrap_or(path.path.as_bytes()), bytes);
        }
    }
}
