//! Tests of the whole service on a real directory.

mod bad_input;
mod calls;
mod changes;
mod crash;
mod killed;
mod properties;
mod race;
mod reads;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use shared::clock::SystemClock;
use shared::lifecycle::Lifecycle;
use shared::protocol::WireError;
use shared::protocol::files::{
    DeleteFile, Edit, EditFiles, Edited, Expect, FileEdits, FilePath, ReadLines, WriteFile, Written,
};
use shared::testing::bad_input::BadInput;

use super::root::Root;
use super::{FileReply, FilesHandle};

/// A workspace with a root and something outside of it that nobody may touch.
struct Sandbox {
    directory: tempfile::TempDir,
    files: FilesHandle,
}

impl Sandbox {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["root", "root-evil", "outside"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        std::fs::write(directory.path().join("outside/secret"), "secret\n").unwrap();
        std::fs::write(directory.path().join("root-evil/x"), "secret\n").unwrap();
        let files = Self::start(directory.path());
        Self { directory, files }
    }

    fn start(directory: &Path) -> FilesHandle {
        let (root, notes) = (directory.join("root"), directory.join("notes"));
        FilesHandle::open(&root, &notes, Lifecycle::new(), Arc::new(SystemClock)).unwrap()
    }

    /// As after a crash: a new daemon on the same directories.
    fn restart(&mut self) {
        self.files = Self::start(self.directory.path());
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn content(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap()
    }

    /// Temporary files and notes that are left.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut left: Vec<PathBuf> = std::fs::read_dir(self.directory.path().join("notes"))
            .unwrap()
            .map(|note| note.unwrap().path())
            .collect();
        let mut directories = vec![self.root()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name().to_string_lossy().starts_with(".holdfast-") {
                    left.push(entry.path());
                } else if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        left
    }

    async fn lines(&self, path: &str) -> Result<Vec<String>, WireError> {
        Ok(self.files.lines(read(path)).await?.lines)
    }

    async fn write(&self, path: &str, content: &str) -> Result<Written, WireError> {
        self.write_expecting(path, content, Expect::Any).await
    }

    async fn write_expecting(
        &self,
        path: &str,
        content: &str,
        expect: Expect,
    ) -> Result<Written, WireError> {
        let len = content.len() as u64;
        let request = WriteFile { path: path.into(), len, expect, mode: None };
        let content = Bytes::copy_from_slice(content.as_bytes());
        let prepared = self.files.plan_write(request, content).await?;
        match self.files.apply(prepared).await? {
            FileReply::Written(written) => Ok(written),
            other => panic!("a write is answered {other:?}"),
        }
    }

    async fn edit(&self, files: Vec<FileEdits>) -> Result<Edited, WireError> {
        let prepared = self.files.plan_edit(EditFiles { files }).await?;
        match self.files.apply(prepared).await? {
            FileReply::Edited(edited) => Ok(edited),
            other => panic!("an edit is answered {other:?}"),
        }
    }

    async fn delete(&self, path: &str) -> Result<(), WireError> {
        let request = DeleteFile { path: path.into(), expect: Expect::Any };
        let prepared = self.files.plan_delete(request).await?;
        self.files.apply(prepared).await.map(drop)
    }
}

fn read(path: &str) -> ReadLines {
    ReadLines { path: path.into(), line: None, limit: None }
}

fn bytes_path(bytes: &[u8]) -> FilePath {
    FilePath { path: "?".to_owned(), bytes: Some(bytes.to_vec()) }
}

fn edit(old: &str, new: &str) -> Edit {
    Edit { old_text: old.to_owned(), new_text: new.to_owned(), replace_all: false }
}

fn edits(path: &str, edits: Vec<Edit>) -> FileEdits {
    FileEdits { path: path.into(), edits, expect_hash: None }
}

fn symlink(target: impl AsRef<Path>, link: PathBuf) {
    std::os::unix::fs::symlink(target, link).unwrap();
}

fn code<T: std::fmt::Debug>(answer: Result<T, WireError>) -> String {
    match answer {
        Ok(value) => format!("ok {value:?}"),
        Err(error) => error.code,
    }
}

/// Counts the rows of a table test and says which failed.
#[derive(Default)]
struct Table {
    rows: usize,
    failed: Vec<String>,
    report: BadInput,
}

impl Table {
    fn row(&mut self, name: &str, actual: impl Into<String>, expected: &str) {
        self.rows += 1;
        let actual = actual.into();
        self.report.check(name, actual == expected);
        if actual != expected {
            self.failed.push(format!("{name}: expected {expected}, got {actual}"));
        }
    }

    fn holds(&mut self, name: &str, holds: bool) {
        self.row(name, if holds { "holds" } else { "does not hold" }, "holds");
    }

    fn finish(self, title: &str) {
        println!("{title}: passed {}/{}", self.rows - self.failed.len(), self.rows);
        self.report.report(title);
        assert!(self.failed.is_empty(), "{:#?}", self.failed);
    }
}
