//! The time of day of programs under test, which a test may move: forward, back, by years.
//!
//! A small library is compiled with the `cc` that Rust links with, and preloaded. It moves the wall clock
//! alone; what counts time by the monotonic clock must not notice.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A wall clock that programs see which were started with [`env`](Self::env).
pub struct Wall {
    folder: tempfile::TempDir,
    shift: std::fs::File,
}

impl Wall {
    /// One that goes right. None: there is no `cc` here.
    pub fn start() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("clock_shim.c");
        std::fs::write(&source, include_str!("clock_shim.c"))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("clock_shim.so"))
            .arg(&source);
        let Ok(status) = cc.status() else { return Ok(None) };
        ensure!(status.success(), "the clock shim does not compile: {status}");
        let shift = std::fs::File::create(folder.path().join("shift"))?;
        let wall = Self { folder, shift };
        wall.set(0)?;
        Ok(Some(wall))
    }

    /// The environment of a program that sees it.
    pub fn env(&self) -> Result<Vec<(String, String)>> {
        let text =
            |path: PathBuf| path.to_str().map(str::to_owned).context("a plain temporary folder");
        let library = text(self.folder.path().join("clock_shim.so"))?;
        let shift = text(self.folder.path().join("shift"))?;
        Ok(vec![("LD_PRELOAD".into(), library), ("HOLDFAST_TEST_CLOCK".into(), shift)])
    }

    /// From now on it is wrong by so many milliseconds; negative: it is behind.
    pub fn set(&self, milliseconds: i64) -> Result<()> {
        let nanoseconds = milliseconds.saturating_mul(1_000_000);
        Ok(self.shift.write_all_at(&nanoseconds.to_ne_bytes(), 0)?)
    }
}
