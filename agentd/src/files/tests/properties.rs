//! Edits against a simple model; paths against the one rule.

use proptest::prelude::*;
use shared::protocol::files::Edit;

use super::super::edit::edited_text;
use super::*;

fn replaced(text: &str, edits: &[Edit]) -> Result<String, String> {
    edited_text("file", text, edits).map_err(|error| error.code().as_str().to_owned())
}

proptest! {
    /// One exact edit is the text before, the new text, the text after.
    #[test]
    fn an_exact_edit_is_a_plain_replacement(
        text in "[ab\n]{1,60}", from in 0_usize..60, len in 1_usize..8, new in "[xy\n]{0,8}",
    ) {
        let from = from.min(text.len() - 1);
        let old = &text[from..(from + len).min(text.len())];
        prop_assume!(old != new);
        let places = (0..text.len()).filter(|at| text[*at..].starts_with(old)).count();
        let expected = if places == 1 {
            Ok(text.replacen(old, &new, 1))
        } else {
            Err("ambiguous_match".to_owned())
        };
        prop_assert_eq!(replaced(&text, &[edit(old, &new)]), expected);
        let all = Edit { replace_all: true, ..edit(old, &new) };
        prop_assert_eq!(replaced(&text, &[all]), Ok(text.replace(old, &new)));
    }

    /// The order of edits does not matter, and edits do not see each other's new text.
    #[test]
    fn edits_do_not_depend_on_their_order(order in Just(vec![0, 1, 2, 3]).prop_shuffle()) {
        let text = "one\ntwo\nthree\nfour\n";
        let edits = [edit("one", "two"), edit("two", "three"), edit("three", "four"), edit("four", "one")];
        let shuffled: Vec<Edit> = order.into_iter().map(|at: usize| edits[at].clone()).collect();
        prop_assert_eq!(replaced(text, &shuffled), Ok("two\nthree\nfour\none\n".to_owned()));
    }

    /// An edit written with `\n` does to a CRLF file what it does to its LF twin.
    #[test]
    fn a_crlf_file_is_edited_like_its_lf_twin(
        lines in prop::collection::vec("[a-d]{0,3}", 1..12), at in 0_usize..12, new in "[x\n]{0,6}",
    ) {
        let lf = lines.join("\n");
        let at = at.min(lines.len() - 1);
        let old = lines[at..(at + 2).min(lines.len())].join("\n");
        prop_assume!(!old.is_empty() && old != new);
        let crlf = lf.replace('\n', "\r\n");
        prop_assume!(crlf.contains('\r'));
        let expected = replaced(&lf, &[edit(&old, &new)]);
        let actual = replaced(&crlf, &[edit(&old, &new)]);
        prop_assert_eq!(actual, expected.map(|text| text.replace('\n', "\r\n")));
    }

    /// No edit, however odd, panics or loses what it did not touch.
    #[test]
    fn any_edit_keeps_what_is_around_it(
        before in "\\PC{0,20}[\r\n]{0,3}", old in "[ \t]{0,4}[a-z]{1,5}[ \t\r\n]{0,4}[a-z]{0,5}",
        after in "[\r\n]{0,3}\\PC{0,20}", new in "\\PC{0,10}[\r\n]{0,2}\\PC{0,10}",
    ) {
        let text = format!("{before}\n\u{1}{old}\u{2}\n{after}");
        if let Ok(edited) = replaced(&text, &[edit(&format!("\u{1}{old}\u{2}"), &new)]) {
            let (start, end) = (format!("{before}\n"), format!("\n{after}"));
            prop_assert!(edited.starts_with(&start));
            prop_assert!(edited.ends_with(&end));
        }
    }
}

#[test]
fn no_path_made_of_any_parts_leaves_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::fs::write(root.join("a/b/file"), "in").unwrap();
    std::fs::write(directory.path().join("file"), "out").unwrap();
    std::fs::create_dir(directory.path().join("a")).unwrap();
    std::fs::write(directory.path().join("a/file"), "out").unwrap();
    symlink("../..", root.join("a/up"));
    symlink("..", root.join("a/b/inside"));
    symlink("/", root.join("slash"));
    symlink(&root, root.join("home"));
    let kernel = Root::open(&root).unwrap();
    let walk = kernel.clone().without_openat2();
    let part = prop::sample::select(vec![
        "a", "b", "file", "..", ".", "", "up", "inside", "slash", "home", "root",
    ]);
    let start = prop::sample::select(vec![".", "a", "a/b", "home", "a/b/inside", "a/up/root"]);
    let end = prop::sample::select(vec!["file", "b/file", "a/b/file"]);
    let path = (start, prop::collection::vec(part, 0..6), end)
        .prop_map(|(start, parts, end)| [&[start], parts.as_slice(), &[end]].concat().join("/"));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let (opened, escaped) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let result = runner.run(&path, |path| {
        let mut answers = Vec::new();
        for root in [&kernel, &walk] {
            let answer = root.parse(&path.as_str().into()).and_then(|asked| root.open_file(&asked));
            answers.push(match answer {
                Ok((file, _)) => {
                    let content = std::io::read_to_string(file).unwrap();
                    prop_assert_eq!(content, "in", "{}", path);
                    opened.set(opened.get() + 1);
                    "opened"
                }
                Err(error) => {
                    escaped
                        .set(escaped.get() + usize::from(error.code().as_str() == "path_escape"));
                    error.code().as_str()
                }
            });
        }
        prop_assert_eq!(answers[0], answers[1], "openat2 and the walk disagree on {}", path);
        Ok(())
    });
    result.unwrap();
    println!("paths: {} opened, {} escapes refused", opened.get(), escaped.get());
    assert!(opened.get() > 20 && escaped.get() > 100, "the property was not exercised");
}
