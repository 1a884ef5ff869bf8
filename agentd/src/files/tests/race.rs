//! A racer swaps a directory with a link to the outside while files are read, written and deleted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shared::protocol::files::{GlobFiles, SearchFiles};

use super::*;

/// Operations of one run; raised by hand for a long one.
const OPERATIONS: usize = 4_000;

#[tokio::test]
async fn a_racer_never_leads_a_call_out_of_the_root() {
    let sandbox = Sandbox::new();
    sandbox.put("swap/secret", "inside\n");
    sandbox.put("parked/keep", "x");
    std::fs::remove_dir_all(sandbox.root().join("parked")).unwrap();
    symlink(sandbox.outside(), sandbox.root().join("link"));
    let stop = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicU64::new(0));
    let racer = {
        let (stop, swaps, root) = (Arc::clone(&stop), Arc::clone(&swaps), sandbox.root());
        std::thread::spawn(move || {
            let (directory, link) = (root.join("swap"), root.join("link"));
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            let cwd = rustix::fs::CWD;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(cwd, &directory, cwd, &link, flags).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut codes = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..OPERATIONS {
        let answer = match number % 8 {
            0..=2 => sandbox.lines("swap/secret").await.map(|lines| {
                assert_eq!(lines, ["inside"], "a read left the root");
            }),
            3 => sandbox.write("swap/new", "written\n").await.map(drop),
            4 => sandbox
                .edit(vec![edits("swap/secret", vec![edit("inside", "inside")])])
                .await
                .map(drop),
            5 => sandbox.delete("swap/new").await,
            6 => sandbox.lines("swap/../swap/secret").await.map(drop),
            _ => look_around(&sandbox).await,
        };
        *codes.entry(code(answer)).or_default() += 1;
    }
    stop.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    println!("race: {} swaps, answers {codes:?}", swaps.load(Ordering::Relaxed));
    let outside: Vec<String> = std::fs::read_dir(sandbox.outside())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(outside, ["secret"], "something outside was touched");
    assert_eq!(std::fs::read_to_string(sandbox.outside().join("secret")).unwrap(), "secret\n");
    let expected = ["ok ()", "path_escape", "file_not_found", "invalid_edit"];
    assert!(codes.keys().all(|code| expected.contains(&code.as_str())), "{codes:?}");
    assert!(codes.contains_key("ok ()") && codes.contains_key("path_escape"), "no race: {codes:?}");
}

/// A glob and a search never tell of the outside.
async fn look_around(sandbox: &Sandbox) -> Result<(), WireError> {
    let glob = GlobFiles { pattern: "**/*".to_owned(), path: None, limit: None };
    sandbox.files.glob(glob).await?;
    let search = SearchFiles {
        pattern: "^secret$".to_owned(),
        literal: false,
        ignore_case: false,
        path: None,
        glob: None,
        context: 0,
        limit: None,
    };
    let found = sandbox.files.search(search).await?;
    assert_eq!(found.files, vec![], "a search left the root");
    Ok(())
}
