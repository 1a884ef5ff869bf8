//! Drives the machine of one process: what happens to it in, records and news out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use shared::clock::Clock;
use shared::fault;
use shared::ids::ProcessId;
use shared::lifecycle::Lifecycle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::child::Child;
use super::machine::{Effect, End, Event, ProcessMachine};
use super::record::Record;
use super::table::Process;
use super::tree;
use crate::records::{RecorderHandle, Urgency};

/// How long the end of the leader waits for the end of the output.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Time between the polite signal and the kill when the daemon itself ends.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// Pause between tries to record an end while the disk is full.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// Owns the machine and the child of one process.
pub(super) struct Driver {
    pub(super) process: Arc<Process>,
    pub(super) machine: ProcessMachine,
    pub(super) child: Child,
    pub(super) recorder: RecorderHandle,
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Arc<dyn Clock>,
    /// Told the id of every process that ends.
    pub(super) ended: watch::Sender<Option<ProcessId>>,
}

impl Driver {
    /// Runs until the process has ended and its output is complete.
    pub(super) async fn run(mut self) {
        let soft = self.lifecycle.soft();
        let mut changes = self.process.log.changes();
        let mut leader_runs = true;
        let mut kill_at = None;
        let mut drain_until = None;
        let mut stopping = false;
        loop {
            let event = tokio::select! {
                exit = self.child.ended(), if leader_runs => {
                    leader_runs = false;
                    fault::point("w5 process ended");
                    Event::LeaderEnded(End { exit, at_ms: self.clock.now_ms() })
                }
                () = closed(&self.process, &mut changes), if self.awaits_output() => {
                    Event::OutputEnded
                }
                () = at(drain_until) => {
                    drain_until = None;
                    self.count_holders().await;
                    Event::TimeUp
                }
                () = at(kill_at) => {
                    kill_at = None;
                    self.kill(leader_runs).await;
                    continue;
                }
                () = soft.cancelled(), if !stopping => {
                    stopping = true;
                    // What was left behind hears no polite signal of ours.
                    let grace = if leader_runs { STOP_GRACE } else { Duration::ZERO };
                    kill_at = Some(Instant::now() + grace);
                    self.ask_to_end(leader_runs);
                    continue;
                }
            };
            for effect in self.machine.apply(event) {
                match effect {
                    Effect::StartTimer => drain_until = Some(Instant::now() + DRAIN_TIME),
                    Effect::Finish => return self.finish(),
                    effect => self.run_effect(effect).await,
                }
            }
            if stopping && !leader_runs && !self.machine.phase().is_running() {
                // What still holds the output ends with the daemon.
                self.kill(leader_runs).await;
            }
        }
    }

    async fn run_effect(&self, effect: Effect) {
        match effect {
            Effect::RecordExit => {
                self.process.os_pid.store(0, Ordering::Relaxed);
                self.record_exit().await;
            }
            Effect::RecordComplete => {
                let total = self.process.log.extent().total;
                self.process.detail().durable.total = Some(total);
                let record = Record::Complete { process: self.process.id(), total };
                self.recorder.append_lazily(record.encode(), Urgency::Finish, drop);
            }
            Effect::Publish => {
                self.process.phase.send_replace(self.machine.phase().clone());
                if !self.machine.phase().is_running() {
                    self.process.detail().stdin = None;
                    self.ended.send_replace(Some(self.process.id()));
                }
            }
            Effect::RecordAbsence | Effect::StartTimer | Effect::Finish | Effect::Stale => {}
        }
    }

    /// Makes the end durable. While the disk is full it is not told, so that it is never taken back.
    async fn record_exit(&self) {
        let Some(end) = end_of(&self.machine) else { return };
        let process = self.process.id();
        let record = Record::Exited { process, exit: end.exit, at_ms: end.at_ms }.encode();
        loop {
            let durable = Arc::clone(&self.process);
            let then = move |_| durable.detail().durable.end = Some(end);
            match self.recorder.append(record.clone(), Urgency::Finish, then).await {
                Ok(()) => break,
                Err(crate::records::RecorderError::NoSpace) => {
                    tracing::warn!(process.id = %process, "the disk is full; an exit waits");
                    tokio::time::sleep(FULL_DISK_PAUSE).await;
                }
                // The recorder's end ends the daemon and is logged there.
                Err(crate::records::RecorderError::Gone) => break,
            }
        }
        fault::point("w5 process end recorded");
    }

    fn awaits_output(&self) -> bool {
        use super::machine::Phase::{Draining, Held, Running};
        matches!(self.machine.phase(), Running | Draining { .. } | Held { .. })
    }

    async fn count_holders(&self) {
        let pipes = self.process.detail().pipes.clone();
        let count = self.lifecycle.blocking("process.holders", move || tree::holders(&pipes)).await;
        self.process.held_by.store(count, Ordering::Relaxed);
    }

    /// The polite signal, while the pid is the leader's own.
    fn ask_to_end(&self, leader_runs: bool) {
        if leader_runs {
            // The group may be gone a moment before its leader is reaped.
            let _ = rustix::process::kill_process_group(self.child.pid(), Signal::TERM);
            let _ = rustix::process::kill_process_group(self.child.pid(), Signal::CONT);
        }
    }

    /// Ends everything that the process started, also a leader that dropped its environment.
    async fn kill(&self, leader_runs: bool) {
        if leader_runs {
            let _ = rustix::process::kill_process_group(self.child.pid(), Signal::KILL);
        }
        let id = self.process.id();
        self.lifecycle.blocking("process.kill", move || tree::kill_members(id)).await;
    }

    fn finish(self) {
        tracing::debug!(process.id = %self.process.id(), "a process has ended");
    }
}

fn end_of(machine: &ProcessMachine) -> Option<End> {
    use super::machine::Phase::{Draining, Ended, Held};
    match machine.phase() {
        Draining { end } | Held { end } | Ended { end } => Some(*end),
        _ => None,
    }
}

async fn closed(process: &Process, changes: &mut watch::Receiver<u64>) {
    loop {
        changes.borrow_and_update();
        if process.log.extent().closed {
            return;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
