//! What a change keeps, and that it is whole.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[tokio::test]
async fn a_write_keeps_mode_owner_attributes_and_links() {
    let sandbox = Sandbox::new();
    sandbox.put("bin/script", "old\n");
    symlink("bin/script", sandbox.root().join("link"));
    symlink(sandbox.root().join("link"), sandbox.root().join("absolute"));
    let path = sandbox.root().join("bin/script");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o751)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).unwrap();
    }
    let flags = rustix::fs::XattrFlags::empty();
    let has_attributes = rustix::fs::setxattr(&path, "user.note", b"kept", flags).is_ok();
    let before = std::fs::metadata(&path).unwrap();

    let written = sandbox.write("absolute", "new\n").await.unwrap();

    let after = std::fs::metadata(&path).unwrap();
    assert_eq!(written.path.path, "bin/script");
    assert_eq!(sandbox.content("bin/script"), "new\n");
    let look = |stat: &std::fs::Metadata| (stat.mode(), stat.uid(), stat.gid());
    assert_eq!(look(&after), look(&before));
    assert!(std::fs::symlink_metadata(sandbox.root().join("link")).unwrap().is_symlink());
    if has_attributes {
        let mut value = [0; 16];
        let len = rustix::fs::getxattr(&path, "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..len], b"kept");
    }
    assert!(sandbox.leftovers().is_empty());
}

#[tokio::test]
async fn a_write_makes_missing_directories_and_the_file_a_dangling_link_points_to() {
    let sandbox = Sandbox::new();
    symlink("a/b/c", sandbox.root().join("dangling"));
    let written = sandbox.write("dangling", "x\n").await.unwrap();
    assert_eq!((written.path.path.as_str(), written.created), ("a/b/c", true));
    assert_eq!(sandbox.content("a/b/c"), "x\n");
}

#[tokio::test]
async fn an_edit_of_several_files_is_all_or_nothing() {
    let sandbox = Sandbox::new();
    for number in 0..10 {
        sandbox.put(&format!("d{}/f{number}", number % 3), "old\n");
    }
    let request = |last: &str| -> Vec<FileEdits> {
        (0..10)
            .map(|number| {
                let old = if number == 9 { last } else { "old" };
                edits(&format!("d{}/f{number}", number % 3), vec![edit(old, "new")])
            })
            .collect()
    };
    assert_eq!(code(sandbox.edit(request("missing")).await), "no_match");
    assert!((0..10).all(|n| sandbox.content(&format!("d{}/f{n}", n % 3)) == "old\n"));
    let edited = sandbox.edit(request("old")).await.unwrap();
    assert!((0..10).all(|n| sandbox.content(&format!("d{}/f{n}", n % 3)) == "new\n"));
    assert_eq!((edited.files[3].added, edited.files[3].removed), (1, 1));
    assert!(edited.files[3].diff.contains("--- a/d0/f3\n+++ b/d0/f3\n@@ -1 +1 @@\n-old\n+new\n"));
    assert!(sandbox.leftovers().is_empty());
}

#[tokio::test]
async fn a_file_that_changes_between_plan_and_apply_is_not_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.put("a", "old\n");
    sandbox.put("b", "old\n");
    let files = vec![edits("a", vec![edit("old", "new")]), edits("b", vec![edit("old", "new")])];
    let prepared = sandbox.files.plan_edit(EditFiles { files }).await.unwrap();
    sandbox.put("b", "theirs\n");
    assert_eq!(code(sandbox.files.apply(prepared).await), "file_changed");
    assert_eq!(
        (sandbox.content("a").as_str(), sandbox.content("b").as_str()),
        ("old\n", "theirs\n")
    );
    assert!(sandbox.leftovers().is_empty());
}

#[tokio::test]
async fn two_writers_who_read_the_same_content_do_not_both_win() {
    let sandbox = Sandbox::new();
    sandbox.put("file", "0\n");
    for _ in 0..50 {
        let hash = sandbox.files.lines(read("file")).await.unwrap().hash.unwrap();
        let expect = || Expect::Hash { hash: hash.clone() };
        let (a, b) = tokio::join!(
            sandbox.write_expecting("file", "a\n", expect()),
            sandbox.write_expecting("file", "b\n", expect()),
        );
        assert_eq!([&a, &b].iter().filter(|answer| answer.is_ok()).count(), 1, "{a:?} {b:?}");
        sandbox.put("file", "0\n");
    }
}

#[tokio::test]
async fn a_dropped_plan_leaves_no_trace() {
    let sandbox = Sandbox::new();
    sandbox.put("file", "old\n");
    let request = EditFiles { files: vec![edits("file", vec![edit("old", "new")])] };
    drop(sandbox.files.plan_edit(request).await.unwrap());
    assert_eq!(sandbox.content("file"), "old\n");
    assert!(sandbox.leftovers().is_empty());
}
