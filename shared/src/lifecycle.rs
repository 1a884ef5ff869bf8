//! The one place that starts tasks, and the order in which they end.
//!
//! ```text
//! running ──signal / stop()──► soft ──time limit, second signal──► hard ──► joined
//! ```
//!
//! *Soft* means: take no new work, finish what you have, flush. *Hard* means: drop it. A task is
//! started with one of two kinds: *vital* (its early end stops the program and fails the exit
//! code) or *serving* (one per connection or chat: a panic is logged with its name, others live).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Blocking jobs (fsync, walks, password hashes) that may run at once.
const BLOCKING_JOBS_MAX: usize = 16;

/// Starts, stops and joins every task of a program. Cheap to clone.
#[derive(Clone)]
pub struct Lifecycle {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    blocking: Arc<Semaphore>,
    failed: Arc<AtomicBool>,
}

/// How the program ended, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every task ended after a stop was asked for.
    Clean,
    /// A vital task ended early or panicked, or the hard stop was needed.
    Failed,
}

impl Lifecycle {
    /// A lifecycle without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            blocking: Arc::new(Semaphore::new(BLOCKING_JOBS_MAX)),
            failed: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Cancelled when the program should take no new work and finish what it has.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when what still runs should be dropped.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Asks the program to stop softly. Idempotent.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Asks the program to drop everything. Idempotent.
    pub fn stop_hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Runs `task` until it ends; if it ends before a stop was asked for, stops the program.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = VitalGuard { name, lifecycle: self.clone() };
        let hard = self.hard.clone();
        self.track(async move {
            let _guard = guard; // also runs when `task` panics
            tokio::select! {
                biased;
                () = hard.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs `task`, which serves one connection, chat or job; its end concerns nobody else.
    pub fn spawn_serving(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let guard = ServingGuard { name };
        let hard = self.hard.clone();
        self.track(async move {
            let _guard = guard;
            tokio::select! {
                biased;
                () = hard.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs `job` on a blocking thread, at most sixteen at once; waits for its answer.
    ///
    /// Cancel-safe in the sense that a dropped call lets the job run to its end.
    /// Panics of the job are passed on.
    pub async fn blocking<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if crate::fault::is_simulated() {
            return job(); // nothing runs beside a simulation
        }
        let permit = Arc::clone(&self.blocking).acquire_owned().await;
        let joined = self.spawn_blocking(move || {
            let _permit = permit;
            job()
        });
        match joined.await {
            Ok(value) => value,
            Err(error) if error.is_panic() => {
                tracing::error!(job.name = name, "a blocking job panicked");
                std::panic::resume_unwind(error.into_panic())
            }
            Err(_) => unreachable!("a blocking job that has started is never cancelled"),
        }
    }

    /// Waits for a signal or [`stop`](Self::stop), then ends everything: soft, then hard after
    /// `grace` or a second signal, then joins.
    pub async fn run_until_stopped(self, grace: Duration) -> Ending {
        let mut signals = Signals::listen();
        tokio::select! {
            () = self.soft.cancelled() => {}
            () = signals.next() => tracing::info!("stopping"),
        }
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            () = async {
                tokio::select! {
                    () = tokio::time::sleep(grace) => tracing::warn!("the grace period is over"),
                    () = signals.next() => tracing::warn!("a second signal"),
                }
            } => {
                self.failed.store(true, Ordering::SeqCst);
                self.hard.cancel();
                self.tracker.wait().await;
            }
        }
        if self.failed.load(Ordering::SeqCst) { Ending::Failed } else { Ending::Clean }
    }

    /// Stops softly, then hard after `grace`, and joins. For tests and embedded use.
    pub async fn shut_down(self, grace: Duration) {
        self.soft.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            self.hard.cancel();
            self.tracker.wait().await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(task));
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that starts blocking jobs")]
    fn spawn_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        tokio::task::spawn_blocking(job)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

struct VitalGuard {
    name: &'static str,
    lifecycle: Lifecycle,
}

impl Drop for VitalGuard {
    fn drop(&mut self) {
        if !self.lifecycle.soft.is_cancelled() {
            tracing::error!(task.name = self.name, "a vital task ended early; stopping");
            self.lifecycle.failed.store(true, Ordering::SeqCst);
            self.lifecycle.soft.cancel();
        }
    }
}

struct ServingGuard {
    name: &'static str,
}

impl Drop for ServingGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task.name = self.name, "a serving task panicked; the others go on");
        }
    }
}

/// SIGINT and SIGTERM, or nothing where they cannot be had.
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    async fn next(&mut self) {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => {}
            () = one(&mut self.terminate) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vital_task_that_panics_stops_the_program_and_fails_it() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_vital("doomed", async { panic!("on purpose") });
        let ending = lifecycle.run_until_stopped(Duration::from_secs(5)).await;
        assert_eq!(ending, Ending::Failed);
    }

    #[tokio::test]
    async fn a_serving_task_that_panics_harms_nobody() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_serving("doomed", async { panic!("on purpose") });
        let soft = lifecycle.soft();
        lifecycle.spawn_vital("steady", async move { soft.cancelled().await });
        let stopper = lifecycle.clone();
        lifecycle.spawn_serving("stopper", async move { stopper.stop() });
        let ending = lifecycle.run_until_stopped(Duration::from_secs(5)).await;
        assert_eq!(ending, Ending::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_deaf_to_the_soft_stop_is_dropped_after_the_grace() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_serving("deaf", std::future::pending());
        lifecycle.stop();
        let ending = lifecycle.run_until_stopped(Duration::from_secs(5)).await;
        assert_eq!(ending, Ending::Failed);
    }

    #[tokio::test]
    async fn a_blocking_job_answers() {
        assert_eq!(Lifecycle::new().blocking("sum", || 1 + 1).await, 2);
    }
}
