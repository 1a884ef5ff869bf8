//! Which terminals the machine knows: a name without an entry makes full-screen programs fail.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What every machine with a terminal library knows.
const FALLBACK: &str = "dumb";
/// Where entries are, beside what the environment says.
const PLACES: &[&str] = &[
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/lib/terminfo",
    "/usr/local/share/terminfo",
    "/run/current-system/sw/share/terminfo",
];

/// `term` when the machine has an entry for it, else `dumb`. A machine that has no entries at all
/// has no programs that read them: there the name stays. Blocks for a few lookups.
pub(super) fn known(term: String, env: &BTreeMap<OsString, OsString>) -> String {
    let Some(first) = term.chars().next() else { return FALLBACK.to_owned() };
    let is_name = term.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
    if !is_name || term.starts_with('.') {
        return FALLBACK.to_owned();
    }
    let places = places(env);
    // By its first letter, or by that letter's number where names have no case.
    let folders = [first.to_string(), format!("{:x}", u32::from(first))];
    let has = places
        .iter()
        .any(|place| folders.iter().any(|folder| place.join(folder).join(&term).exists()));
    if has || !places.iter().any(|place| place.is_dir()) { term } else { FALLBACK.to_owned() }
}

fn places(env: &BTreeMap<OsString, OsString>) -> Vec<PathBuf> {
    let value = |name: &str| env.get(OsStr::new(name)).filter(|value| !value.is_empty());
    let mut places: Vec<PathBuf> = PLACES.iter().map(PathBuf::from).collect();
    places.extend(value("TERMINFO").map(PathBuf::from));
    places.extend(value("HOME").map(|home| PathBuf::from(home).join(".terminfo")));
    let dirs = value("TERMINFO_DIRS").map(|dirs| std::env::split_paths(dirs).collect::<Vec<_>>());
    places.extend(dirs.into_iter().flatten());
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_the_machine_does_not_know_is_a_dumb_one() {
        let dir = tempfile::tempdir().unwrap();
        let entry = dir.path().join("m");
        std::fs::create_dir(&entry).unwrap();
        std::fs::write(entry.join("my-term"), "").unwrap();
        let env = BTreeMap::from([("TERMINFO".into(), dir.path().into())]);
        assert_eq!(known("my-term".to_owned(), &env), "my-term");
        for unknown in ["my-other", "", "../m/my-term", "m/my-term", "\u{1b}[2J"] {
            assert_eq!(known(unknown.to_owned(), &env), "dumb", "{unknown:?}");
        }
    }
}
