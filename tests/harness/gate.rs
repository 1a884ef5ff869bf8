//! Holds a program at a named fault point (`shared::fault`), so that a test can kill something
//! between two chosen effects.
//!
//! ```text
//! point reached ──► noted ──┬─ not the target: let go at once
//!                           └─ the target: held until the test drops or releases the hit
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::mpsc;

/// Hits that may wait for the test: a run has one target, so one is enough; a late one is let go.
const HELD_MAX: usize = 1;

/// One program's points.
pub struct Gate {
    path: PathBuf,
    plan: Arc<Mutex<Plan>>,
    held: mpsc::Receiver<Hit>,
}

#[derive(Default)]
struct Plan {
    target: Option<(String, usize)>,
    seen: Vec<(String, usize)>,
    counts: BTreeMap<String, usize>,
}

/// The program stands at a point until the hit is released or dropped.
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
    /// Listens at `path`; see [`env`](Self::env). Without a target it lets every point go.
    pub fn open(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)
            .with_context(|| format!("could not listen at {}", path.display()))?;
        let plan = Arc::new(Mutex::new(Plan::default()));
        let (sender, held) = mpsc::channel(HELD_MAX);
        let plans = Arc::clone(&plan);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &plans, &sender);
            }
        });
        Ok(Self { path: path.to_owned(), plan, held })
    }

    /// The environment that leads a program here.
    pub fn env(&self) -> (String, String) {
        ("HOLDFAST_FAULT_SOCKET".to_owned(), self.path.to_string_lossy().into_owned())
    }

    /// Starts a run: forgets what was seen, lets go what is held, and holds the `nth` hit (from 1) of
    /// `target`'s point.
    pub fn begin(&mut self, target: Option<(String, usize)>) {
        *lock(&self.plan) = Plan { target, ..Plan::default() };
        // A target that was reached when its run was already over.
        while let Ok(late) = self.held.try_recv() {
            late.release();
        }
    }

    /// Points seen since [`begin`](Self::begin), in order, each with its number.
    pub fn seen(&self) -> Vec<(String, usize)> {
        lock(&self.plan).seen.clone()
    }

    /// Waits until the target is held. Cancel-safe.
    pub async fn held(&mut self) -> Hit {
        match self.held.recv().await {
            Some(hit) => hit,
            None => std::future::pending().await,
        }
    }
}

fn serve(stream: UnixStream, plan: &Mutex<Plan>, sender: &mpsc::Sender<Hit>) {
    let mut point = String::new();
    let read =
        stream.try_clone().map(BufReader::new).and_then(|mut reader| reader.read_line(&mut point));
    if read.is_err() {
        return; // killed while it spoke
    }
    let hit = Hit { point: point.trim_end().to_owned(), stream };
    let is_target = {
        let mut plan = lock(plan);
        let count = plan.counts.entry(hit.point.clone()).or_default();
        *count += 1;
        let place = (hit.point.clone(), *count);
        let is_target = plan.target.as_ref() == Some(&place);
        plan.seen.push(place);
        is_target
    };
    if !is_target {
        hit.release();
    } else if let Err(refused) = sender.try_send(hit) {
        refused.into_inner().release();
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}
