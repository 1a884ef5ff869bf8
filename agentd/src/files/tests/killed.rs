//! A daemon that is killed with SIGKILL at each point of an edit of ten files.
//!
//! The test starts itself as the child: [`an_edit_that_may_be_killed`] does nothing unless the
//! environment names a directory. Record and answer are files, in the place of the journal.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use super::*;

const FILES: usize = 10;
const CHILD: &str = "files::tests::killed::an_edit_that_may_be_killed";

fn durable(path: PathBuf, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

#[tokio::test]
async fn an_edit_that_may_be_killed() {
    let Some(directory) = std::env::var_os("HOLDFAST_TEST_EDIT").map(PathBuf::from) else { return };
    let files = Sandbox::start(&directory);
    let request = (0..FILES).map(|n| edits(&format!("d{}/f{n}", n % 3), vec![edit("old", "new")]));
    let prepared = files.plan_edit(EditFiles { files: request.collect() }).await.unwrap();
    durable(directory.join("record.part"), &prepared.record());
    std::fs::rename(directory.join("record.part"), directory.join("record")).unwrap();
    shared::fault::point("recorded");
    files.apply(prepared).await.unwrap();
    shared::fault::point("applied");
}

/// Runs the edit and kills it at its `nth` point; none: it ended before. The points it passed.
fn run_and_kill(directory: &Path, nth: usize) -> (Vec<String>, bool) {
    let socket = directory.join("points");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD])
        .env("HOLDFAST_TEST_EDIT", directory)
        .env("HOLDFAST_FAULT_SOCKET", &socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut points: Vec<String> = Vec::new();
    while points.last().is_none_or(|point| point != "applied") {
        let (stream, _) = listener.accept().unwrap();
        let mut name = String::new();
        BufReader::new(&stream).read_line(&mut name).unwrap();
        points.push(name.trim_end().to_owned());
        if points.len() == nth {
            child.kill().unwrap();
            break;
        }
        (&stream).write_all(b"g").unwrap();
    }
    let ended_well = child.wait().unwrap().success();
    (points, !ended_well)
}

#[tokio::test]
async fn a_killed_edit_leaves_each_file_old_or_each_file_new() {
    let (mut old, mut new, mut nth) = (0, 0, 1);
    loop {
        let mut sandbox = Sandbox::new();
        (0..FILES).for_each(|n| sandbox.put(&format!("d{}/f{n}", n % 3), "old\n"));
        let (points, was_killed) = run_and_kill(sandbox.directory.path(), nth);
        sandbox.restart();
        let record = std::fs::read(sandbox.directory.path().join("record")).ok();
        let was_recorded = record.is_some();
        if let Some(record) = record {
            sandbox.files.recover(record).await.unwrap();
        }
        sandbox.files.sweep().await.unwrap();
        let expected = if was_recorded { "new\n" } else { "old\n" };
        for number in 0..FILES {
            let content = sandbox.content(&format!("d{}/f{number}", number % 3));
            assert_eq!(content, expected, "file {number} after a kill at {points:?}");
        }
        assert_eq!(sandbox.leftovers(), Vec::<PathBuf>::new(), "after a kill at {points:?}");
        old += usize::from(!was_recorded);
        new += usize::from(was_recorded);
        if !was_killed {
            break;
        }
        nth += 1;
    }
    println!("kills: {} points, {old} times old, {new} times new, 0 mixed", nth - 1);
    assert!(old >= FILES && new >= FILES, "the points were not reached");
}

/// The control: what the promise would be worth without the record.
#[tokio::test]
async fn without_its_record_a_killed_edit_is_mixed() {
    let mut sandbox = Sandbox::new();
    (0..FILES).for_each(|n| sandbox.put(&format!("d{}/f{n}", n % 3), "old\n"));
    let (points, _) = run_and_kill(sandbox.directory.path(), 2 * FILES - 3);
    assert_eq!(points.last().map(String::as_str), Some("w4 file changed"));
    sandbox.restart();
    sandbox.files.sweep().await.unwrap();
    let contents: std::collections::BTreeSet<String> =
        (0..FILES).map(|n| sandbox.content(&format!("d{}/f{n}", n % 3))).collect();
    assert_eq!(contents.len(), 2, "the kill was not in the middle");
}
