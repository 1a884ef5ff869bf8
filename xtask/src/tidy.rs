//! `cargo xtask tidy`: the house rules that no linter knows.
//!
//! Who may use whom is a table ([`LAYERS`]); everything else is a line of text to look for. The
//! rules read the source as text: they are meant to catch drift, not to outwit anybody.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Lines a file may have without its tests before it must be split.
const FILE_LINES_MAX: usize = 800;
/// Names that say nothing about what a file owns.
const VAGUE_NAMES: &[&str] = &["utils.rs", "helpers.rs", "common.rs", "misc.rs", "types.rs"];

/// Folder of a program, and the sibling modules it may use.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "controlplane/src/store",
        &[
            "store",
            "chat::machine",
            "chat::content",
            "chat::event",
            "chat::edit_check",
            "chat::family",
            "secrets",
            "text_enum",
            "time",
        ],
    ),
    ("controlplane/src/llm", &["llm", "chat::content", "store", "secrets", "time"]),
    (
        "controlplane/src/tools",
        &["tools", "fleet", "llm", "chat::content", "chat::event", "store", "time"],
    ),
    ("controlplane/src/fleet", &["fleet", "store", "chat", "secrets", "time"]),
    (
        "controlplane/src/chat",
        &["chat", "tools", "llm", "store", "fleet", "text_enum", "time", "secrets"],
    ),
    ("agentd/src/records", &["records", "resident"]),
    ("agentd/src/journal", &["journal", "records"]),
    ("agentd/src/process", &["process", "files", "records", "file_lock", "user", "resident"]),
    ("agentd/src/pty", &["pty", "process"]),
    ("agentd/src/files", &["files", "journal", "user"]),
    ("agentd/src/link", &["link", "dispatch", "identity"]),
];

/// Text that may stand only below a folder, and why.
const ONLY_IN: &[(&str, &str, &str)] = &[
    ("sqlx::", "controlplane/src/store/", "SQL and its driver stay in the store"),
    ("reqwest::", "controlplane/src/llm/", "outgoing HTTP has one client"),
    ("quinn::", "controlplane/src/fleet/", "the server's QUIC stays in the fleet"),
];

/// Reads every source file of the programs and reports every breach at once.
pub fn run(root: &Path) -> Result<()> {
    let mut breaches = String::new();
    let mut files = 0;
    for program in ["shared", "agentd", "controlplane", "xtask"] {
        for path in rust_files(&root.join(program).join("src"))? {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("could not read {}", path.display()))?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            check_file(&name, &text, &mut breaches);
            files += 1;
        }
    }
    migrations(root, &mut breaches)?;
    regressions(root, &mut breaches)?;
    if breaches.is_empty() {
        println!("tidy: {files} files keep the house rules");
        return Ok(());
    }
    bail!("house rules are broken:\n{breaches}")
}

/// Every test that `docs/regressions.md` names is one.
fn regressions(root: &Path, breaches: &mut String) -> Result<()> {
    let page = root.join("docs/regressions.md");
    let page = std::fs::read_to_string(&page)
        .with_context(|| format!("could not read {}", page.display()))?;
    let mut sources = String::new();
    for program in ["shared", "agentd", "controlplane", "tests"] {
        for path in rust_files(&root.join(program))? {
            sources.push_str(&std::fs::read_to_string(path)?);
        }
    }
    for name in named_tests(&page).filter(|name| !sources.contains(&format!("fn {name}("))) {
        let _ = writeln!(breaches, "  docs/regressions.md: no test is named {name}");
    }
    Ok(())
}

/// Words in backticks that look like the name of a test.
fn named_tests(page: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.matches('_').count() >= 3
            && word
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    page.split('`').skip(1).step_by(2).filter(is_name)
}

fn check_file(name: &str, text: &str, breaches: &mut String) {
    let mut breach = |line: usize, what: &str| {
        let _ = writeln!(breaches, "  {name}:{line}: {what}");
    };
    if !text.starts_with("//!") {
        breach(1, "the file does not begin with what it owns (//!)");
    }
    let file = name.rsplit('/').next().unwrap_or(name);
    if VAGUE_NAMES.contains(&file) {
        breach(1, "the file's name says nothing about what it owns");
    }
    let is_test_file =
        file.ends_with("tests.rs") || name.contains("/testing/") || name.contains("/tests/");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = code.lines().count();
    if lines > FILE_LINES_MAX && !is_test_file {
        breach(1, &format!("{lines} lines without tests; split it at {FILE_LINES_MAX}"));
    }
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let marker = ["TO", "DO"].concat();
        if line.contains(&marker)
            && !line.contains(&format!("{marker}(#"))
            && !name.starts_with("xtask/")
        {
            breach(number, "a to-do needs an issue number");
        }
    }
    for (number, line) in code.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        for (needle, folder, why) in ONLY_IN {
            let program = folder.split('/').next().unwrap_or(folder);
            if line.contains(needle)
                && name.starts_with(program)
                && !name.starts_with(folder)
                && !is_test_file
            {
                breach(number, &format!("{needle} outside {folder}: {why}"));
            }
        }
        if let Some(used) = uses(line) {
            for (folder, allowed) in LAYERS {
                let inside = name.starts_with(&format!("{folder}/"));
                if inside
                    && !is_test_file
                    && !allowed.iter().any(|a| used == *a || used.starts_with(&format!("{a}::")))
                {
                    breach(number, &format!("{folder} may not use crate::{used}"));
                }
            }
        }
    }
}

/// What a `use crate::…` line names, down to two segments.
fn uses(line: &str) -> Option<String> {
    let rest = line.strip_prefix("use crate::").or_else(|| line.strip_prefix("pub use crate::"))?;
    let path: Vec<&str> = rest
        .split(['{', ';', ',', ' '])
        .next()?
        .split("::")
        .filter(|s| !s.is_empty())
        .take(3)
        .collect();
    Some(path.join("::"))
}

/// The two migration sets have the same numbers.
fn migrations(root: &Path, breaches: &mut String) -> Result<()> {
    let names = |folder: &str| -> Result<Vec<String>> {
        let path = root.join("migrations").join(folder);
        let mut names: Vec<String> = std::fs::read_dir(&path)
            .with_context(|| format!("could not read {}", path.display()))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    };
    let (sqlite, postgres) = (names("sqlite")?, names("postgres")?);
    if sqlite != postgres {
        let _ =
            writeln!(breaches, "  migrations: sqlite has {sqlite:?}, postgres has {postgres:?}");
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)
            .with_context(|| format!("could not read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{check_file, named_tests};

    #[test]
    fn names_of_tests_are_told_from_other_words_in_backticks() {
        let page = "| `running` was told (x) | `a_stop_is_kept_once`, `B07`, `cargo xtask tidy` |\n`p20_it_is_so`";
        let names: Vec<&str> = named_tests(page).collect();
        assert_eq!(names, ["a_stop_is_kept_once", "p20_it_is_so"]);
    }

    fn breaches(name: &str, text: &str) -> String {
        let mut out = String::new();
        check_file(name, text, &mut out);
        out
    }

    #[test]
    fn a_clean_file_has_no_breach() {
        assert_eq!(
            breaches("agentd/src/files/read.rs", "//! Reads.\nuse crate::files::root;\n"),
            ""
        );
    }

    #[test]
    fn a_sideways_use_is_named_with_its_line() {
        let found =
            breaches("controlplane/src/store/chats.rs", "//! Rows.\nuse crate::http::problem;\n");
        assert!(
            found.contains("chats.rs:2: controlplane/src/store may not use crate::http::problem"),
            "{found}"
        );
    }

    #[test]
    fn sql_outside_the_store_is_named() {
        let found =
            breaches("controlplane/src/http/me.rs", "//! Me.\nlet x = sqlx::query(\"\");\n");
        assert!(found.contains("sqlx:: outside controlplane/src/store/"), "{found}");
    }
}
