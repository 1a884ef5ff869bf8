//! What reads, lists, globs and searches answer.

use shared::limits::READ_BYTES_MAX;
use shared::protocol::files::{GlobFiles, ListDirectory, SearchFiles};

use super::*;

#[tokio::test]
async fn a_large_file_is_read_page_by_page() {
    let sandbox = Sandbox::new();
    let lines: Vec<String> = (0..9_000).map(|number| format!("line {number}")).collect();
    sandbox.put("file", lines.join("\n"));
    let mut read_lines = Vec::new();
    let mut request = read("file");
    loop {
        let page = sandbox.files.lines(request.clone()).await.unwrap();
        assert!(page.lines.len() <= 2_000);
        assert!(page.lines.iter().map(|line| line.len() + 1).sum::<usize>() <= READ_BYTES_MAX);
        assert_eq!(page.total_lines, Some(9_000));
        read_lines.extend(page.lines);
        let Some(next) = page.next_line else { break };
        request.line = Some(next);
    }
    assert_eq!(read_lines, lines);
}

#[tokio::test]
async fn the_hash_of_a_read_is_the_precondition_of_a_write() {
    let sandbox = Sandbox::new();
    sandbox.put("file", "one\n");
    let hash = sandbox.files.lines(read("file")).await.unwrap().hash.unwrap();
    let expect = Expect::Hash { hash };
    let first = sandbox.write_expecting("file", "two\n", expect.clone()).await.unwrap();
    assert!(!first.created);
    let second = sandbox.write_expecting("file", "three\n", expect).await.unwrap_err();
    assert_eq!((second.code.as_str(), &second.details["actual"]), ("file_changed", &first.hash));
    assert_eq!(sandbox.content("file"), "two\n");
}

#[tokio::test]
async fn a_list_tells_what_each_entry_is() {
    let sandbox = Sandbox::new();
    sandbox.put("b/file", "x");
    sandbox.put("a", "xyz");
    symlink("a", sandbox.root().join("c"));
    let request = ListDirectory { path: ".".into(), after: None, limit: None };
    let entries = sandbox.files.list(request).await.unwrap().entries;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (entry.name.path.as_str(), entry.kind.as_str(), entry.size, entry.target.as_deref())
        })
        .collect();
    let expected =
        [("a", "file", 3, None), ("b", "directory", 0, None), ("c", "symlink", 0, Some("a"))];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn globs_and_searches_honour_ignore_files_and_find_hidden_ones() {
    let sandbox = Sandbox::new();
    for name in ["src/a.rs", "src/deep/b.rs", "target/c.rs", ".github/d.rs", ".git/e.rs"] {
        sandbox.put(name, "fn needle() {}\nother\n");
    }
    sandbox.put(".gitignore", "/target\n");
    sandbox.put("notes.txt", "needle\n");
    let glob = |pattern: &str, path: Option<&str>| GlobFiles {
        pattern: pattern.to_owned(),
        path: path.map(FilePath::from),
        limit: None,
    };
    let names = async |pattern: &str, path: Option<&str>| {
        let found = sandbox.files.glob(glob(pattern, path)).await.unwrap();
        let mut names: Vec<String> = found.paths.into_iter().map(|path| path.path).collect();
        names.sort();
        names
    };
    assert_eq!(names("**/*.rs", None).await, [".github/d.rs", "src/a.rs", "src/deep/b.rs"]);
    assert_eq!(names("*.rs", Some("src")).await, ["src/a.rs", "src/deep/b.rs"]);
    assert_eq!(names("src/*.rs", None).await, ["src/a.rs"]);

    let request = SearchFiles {
        pattern: "NEEDLE()".to_owned(),
        literal: true,
        ignore_case: true,
        path: Some("src".into()),
        glob: Some("*.rs".to_owned()),
        context: 1,
        limit: None,
    };
    let found = sandbox.files.search(request).await.unwrap();
    let told: Vec<_> = found
        .files
        .iter()
        .flat_map(|file| {
            file.lines
                .iter()
                .map(|line| (file.path.path.as_str(), line.line, line.text.as_str(), line.is_match))
        })
        .collect();
    let expected = [
        ("src/a.rs", 1, "fn needle() {}", true),
        ("src/a.rs", 2, "other", false),
        ("src/deep/b.rs", 1, "fn needle() {}", true),
        ("src/deep/b.rs", 2, "other", false),
    ];
    assert_eq!(told, expected);
    assert_eq!((found.matches, found.truncated), (2, false));
}

#[tokio::test]
async fn a_search_stops_at_its_limit_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.put("file", "needle\n".repeat(50));
    let request = SearchFiles {
        pattern: "needle".to_owned(),
        literal: false,
        ignore_case: false,
        path: Some("file".into()),
        glob: None,
        context: 0,
        limit: Some(10),
    };
    let found = sandbox.files.search(request).await.unwrap();
    assert_eq!((found.matches, found.files[0].lines.len(), found.truncated), (10, 10, true));
}

#[tokio::test]
async fn a_root_that_was_removed_and_made_again_is_found_again() {
    let sandbox = Sandbox::new();
    std::fs::remove_dir_all(sandbox.root()).unwrap();
    assert_eq!(code(sandbox.lines("file").await), "file_not_found");
    std::fs::create_dir(sandbox.root()).unwrap();
    sandbox.put("file", "back\n");
    assert_eq!(sandbox.lines("file").await.unwrap(), ["back"]);
}
