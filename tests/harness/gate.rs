//! Holds a program at a named fault point (`shared::fault`), so that a test can kill something
//! between two chosen effects.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result};

/// One program's points.
pub struct Gate {
    path: PathBuf,
    hits: mpsc::Receiver<Hit>,
}

/// The program stands at a point until the hit is dropped.
pub struct Hit {
    /// The point's name.
    pub point: String,
    stream: UnixStream,
}

impl Hit {
    /// Lets the program go on.
    pub fn release(mut self) {
        let _ = self.stream.write_all(b"g"); // a killed program needs no answer
    }
}

impl Gate {
    /// Listens at `path`; pass it to the program as `HOLDFAST_FAULT_SOCKET`.
    pub fn open(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)
            .with_context(|| format!("could not listen at {}", path.display()))?;
        let (sender, hits) = mpsc::sync_channel(1_024);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(reading) = stream.try_clone() else { continue };
                let mut point = String::new();
                if BufReader::new(reading).read_line(&mut point).is_err() {
                    continue;
                }
                let hit = Hit { point: point.trim_end().to_owned(), stream };
                if sender.send(hit).is_err() {
                    return; // the test has ended
                }
            }
        });
        Ok(Self { path: path.to_owned(), hits })
    }

    /// The environment that leads a program here.
    pub fn env(&self) -> (String, String) {
        ("HOLDFAST_FAULT_SOCKET".to_owned(), self.path.to_string_lossy().into_owned())
    }

    /// The next hit, if one comes within `patience`.
    pub fn next(&self, patience: std::time::Duration) -> Option<Hit> {
        self.hits.recv_timeout(patience).ok()
    }
}
