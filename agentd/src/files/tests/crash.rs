//! A daemon that ends in the middle of a change. The end is a plan that is forgotten, not dropped.

use super::*;

const FILES: usize = 6;

fn request() -> EditFiles {
    let files = (0..FILES).map(|n| edits(&format!("f{n}"), vec![edit("old", "new")]));
    EditFiles { files: files.collect() }
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    (0..FILES).for_each(|n| sandbox.put(&format!("f{n}"), "old\n"));
    sandbox
}

fn contents(sandbox: &Sandbox) -> Vec<String> {
    (0..FILES).map(|n| sandbox.content(&format!("f{n}"))).collect()
}

/// The temporary file of each target, in the order of the request.
fn temps(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut temps: Vec<PathBuf> =
        sandbox.leftovers().into_iter().filter(|path| path.starts_with(sandbox.root())).collect();
    temps.sort_by_key(|path| {
        std::fs::metadata(path).map(|stat| std::os::unix::fs::MetadataExt::ino(&stat)).unwrap()
    });
    temps.sort_by_key(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        name.rsplit('-').next().unwrap().parse::<u64>().unwrap()
    });
    temps
}

#[tokio::test]
async fn a_crash_before_the_record_leaves_the_old_files_and_the_sweep_removes_the_rest() {
    let mut sandbox = sandbox();
    std::mem::forget(sandbox.files.plan_edit(request()).await.unwrap());
    assert_eq!(temps(&sandbox).len(), FILES);
    sandbox.restart();
    assert_eq!(sandbox.files.sweep().await.unwrap(), FILES);
    assert_eq!(contents(&sandbox), vec!["old\n"; FILES]);
    assert!(sandbox.leftovers().is_empty());
}

#[tokio::test]
async fn a_crash_after_any_rename_rolls_forward() {
    for renamed in 0..=FILES {
        for swaps in [false, true] {
            let mut sandbox = sandbox();
            let prepared = sandbox.files.plan_edit(request()).await.unwrap();
            let record = prepared.record();
            std::mem::forget(prepared);
            for (index, temp) in temps(&sandbox).iter().take(renamed).enumerate() {
                let target = sandbox.root().join(format!("f{index}"));
                let flags = if swaps {
                    rustix::fs::RenameFlags::EXCHANGE
                } else {
                    rustix::fs::RenameFlags::empty()
                };
                rustix::fs::renameat_with(rustix::fs::CWD, temp, rustix::fs::CWD, &target, flags)
                    .unwrap();
            }
            sandbox.restart();
            let reply = sandbox.files.recover(record).await.unwrap();
            let FileReply::Edited(edited) = reply else { panic!("another answer") };
            assert_eq!(edited.files.len(), FILES);
            assert_eq!(contents(&sandbox), vec!["new\n"; FILES], "{renamed} renamed, {swaps}");
            sandbox.files.sweep().await.unwrap();
            assert_eq!(sandbox.leftovers(), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test]
async fn recovery_does_not_overwrite_what_somebody_wrote_meanwhile() {
    let mut sandbox = sandbox();
    let prepared = sandbox.files.plan_edit(request()).await.unwrap();
    let record = prepared.record();
    std::mem::forget(prepared);
    sandbox.put("f3", "theirs\n");
    sandbox.restart();
    assert_eq!(code(sandbox.files.recover(record).await), "file_changed");
    let mut expected = vec!["old\n"; FILES];
    expected[3] = "theirs\n";
    assert_eq!(contents(&sandbox), expected);
    sandbox.files.sweep().await.unwrap();
    assert!(sandbox.leftovers().is_empty());
}

#[tokio::test]
async fn a_recovery_may_itself_be_repeated() {
    let mut sandbox = sandbox();
    let prepared = sandbox.files.plan_edit(request()).await.unwrap();
    let record = prepared.record();
    std::mem::forget(prepared);
    sandbox.restart();
    let first = sandbox.files.recover(record.clone()).await.unwrap();
    let second = sandbox.files.recover(record).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(contents(&sandbox), vec!["new\n"; FILES]);
}

#[tokio::test]
async fn a_delete_that_was_recorded_is_done_once() {
    let mut sandbox = sandbox();
    let request = DeleteFile { path: "f0".into(), expect: Expect::Any };
    let prepared = sandbox.files.plan_delete(request).await.unwrap();
    let record = prepared.record();
    std::mem::forget(prepared);
    sandbox.restart();
    assert!(matches!(sandbox.files.recover(record.clone()).await, Ok(FileReply::Deleted(_))));
    assert!(!sandbox.root().join("f0").exists());
    sandbox.put("f0", "made again\n");
    assert!(sandbox.files.recover(record).await.is_ok());
    assert_eq!(sandbox.content("f0"), "made again\n", "another file with the name stays");
}
