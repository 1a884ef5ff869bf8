//! Drives the machine of one process: what its keeper tells in, records and news out.
//!
//! The driver ends with the daemon and the process does not: the next daemon's driver goes on from
//! what the keeper tells it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shared::clock::Clock;
use shared::fault;
use shared::lifecycle::Lifecycle;
use shared::protocol::WireError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::StartError;
use super::keeper::protocol::{Leader, Refusal};
use super::kept::{KeeperHandle, Seen};
use super::launch::Attempt;
use super::log::LogFiles;
use super::machine::{Effect, End, Event, ProcessMachine};
use super::record::Record;
use super::restore;
use super::service::ProcessService;
use super::table::Process;
use crate::records::{RecorderError, RecorderHandle, Urgency};

/// How long the end of the leader waits for the end of the output.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Pause between tries to record an end while the disk is full.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// Owns the machine of one process.
pub(super) struct Driver {
    pub(super) process: Arc<Process>,
    pub(super) machine: ProcessMachine,
    pub(super) keeper: KeeperHandle,
    pub(super) seen: watch::Receiver<Seen>,
    /// What was tried, for the text of an error.
    pub(super) attempt: Attempt,
    pub(super) service: Arc<ProcessService>,
}

/// The daemon ends before everything is on record: the keeper stays.
struct Stopped;

impl Driver {
    /// Runs until the process has ended and its output is complete, or the daemon ends.
    pub(super) async fn run(mut self) {
        // An early end leaves everything to the next daemon.
        let _: Result<(), Stopped> = self.drive().await;
        self.process.heard.send_replace(true);
    }

    async fn drive(&mut self) -> Result<(), Stopped> {
        let soft = self.lifecycle().soft();
        let mut changes = self.process.log.changes();
        let mut drain_until = None;
        // A process that is taken over as held by others has its leader's end behind it.
        loop {
            let events = tokio::select! {
                changed = self.seen.changed(), if self.awaits_keeper() => {
                    let seen = self.seen.borrow_and_update().clone();
                    if changed.is_err() { return Err(Stopped) }
                    self.events_of(seen).await
                }
                () = closed(&self.process, &mut changes), if self.awaits_output() => {
                    vec![Event::OutputEnded]
                }
                () = at(drain_until) => {
                    drain_until = None;
                    self.count_holders().await;
                    vec![Event::TimeUp]
                }
                () = soft.cancelled() => return Err(Stopped),
            };
            for event in events {
                for effect in self.machine.apply(event) {
                    match effect {
                        Effect::StartTimer => drain_until = Some(Instant::now() + DRAIN_TIME),
                        Effect::Finish => {
                            self.finish().await;
                            return Ok(());
                        }
                        effect => self.run_effect(effect).await?,
                    }
                }
            }
            // After what was told is seen by everybody who asks.
            if !matches!(*self.seen.borrow(), Seen::Nothing) {
                self.process.heard.send_replace(true);
            }
        }
    }

    fn lifecycle(&self) -> &Lifecycle {
        &self.service.lifecycle
    }

    fn recorder(&self) -> &RecorderHandle {
        &self.service.recorder
    }

    fn clock(&self) -> &dyn Clock {
        &*self.service.clock
    }

    fn awaits_keeper(&self) -> bool {
        self.machine.phase().is_open()
    }

    /// What the keeper told, as events; those that happened before are stale and cost nothing.
    async fn events_of(&mut self, seen: Seen) -> Vec<Event> {
        match seen {
            Seen::Nothing => vec![],
            Seen::NotExecuted(refusal) => vec![Event::NotStarted(self.refused(refusal))],
            Seen::Running(leader) => {
                self.note_leader(&leader);
                vec![Event::Started]
            }
            Seen::Ended { leader, exit, at_ms } => {
                self.note_leader(&leader);
                fault::point("w5 process ended");
                vec![Event::Started, Event::LeaderEnded(End { exit, at_ms })]
            }
            Seen::Gone => self.settle().await,
        }
    }

    /// The keeper is gone: what it wrote down, and what is on disk, is all there is.
    async fn settle(&self) -> Vec<Event> {
        let (id, service) = (self.process.id(), Arc::clone(&self.service));
        let read = move || {
            let files = LogFiles::of(&service.output_dir, id).unwrap_or_default();
            (service.supervisor.kept(id), files)
        };
        let (kept, files) = self.lifecycle().blocking("process.settle", read).await;
        if let Some(facts) = kept.facts.clone() {
            self.process.learn(facts);
        }
        self.process.log.settle(&files, kept.total);
        if let Some(refusal) = kept.refusal {
            return vec![Event::NotStarted(self.refused(refusal))];
        }
        if !kept.is_begun {
            let error = StartError::NoKeeper;
            return vec![Event::NotStarted(error.into())];
        }
        let mut events = vec![];
        if let Some(leader) = &kept.leader {
            self.note_leader(leader);
            events.push(Event::Started);
        }
        match (kept.exit, kept.total) {
            (Some((exit, at_ms)), Some(_)) => {
                events.extend([Event::LeaderEnded(End { exit, at_ms }), Event::OutputEnded]);
            }
            (Some((exit, at_ms)), None) => {
                events.push(Event::LeaderEnded(End { exit, at_ms }));
            }
            (None, _) => {}
        }
        if kept.total.is_none() {
            tracing::warn!(process.id = %id, "the keeper of a process is gone; the process is ended");
            let leader = kept.leader;
            let service = Arc::clone(&self.service);
            let end = move || restore::end_leftover(&service.supervisor, id, leader.as_ref());
            self.lifecycle().blocking("process.leftover", end).await;
            events.push(Event::Unwatched { now_ms: self.clock().now_ms() });
        }
        events
    }

    fn refused(&self, refusal: Refusal) -> WireError {
        self.attempt.error(refusal).into()
    }

    fn note_leader(&self, leader: &Leader) {
        self.process.os_pid.store(leader.pid, Ordering::Relaxed);
        let process = self.process.id();
        let known = self.process.detail().durable.running.replace(leader.clone());
        if known.is_none() {
            let Leader { pid, start_time, boot_id } = leader.clone();
            let record = Record::Running { process, pid, start_time, boot_id };
            self.recorder().append_lazily(record.encode(), Urgency::Finish, drop);
        }
    }

    async fn run_effect(&self, effect: Effect) -> Result<(), Stopped> {
        match effect {
            Effect::RecordExit => {
                self.process.os_pid.store(0, Ordering::Relaxed);
                self.record_exit().await?;
            }
            Effect::RecordComplete => {
                self.record_facts();
                let total = self.process.log.extent().total;
                self.process.detail().durable.total = Some(total);
                let record = Record::Complete { process: self.process.id(), total };
                self.recorder().append_lazily(record.encode(), Urgency::Finish, drop);
            }
            Effect::RecordAbsence => self.record_absence(),
            Effect::Publish => {
                self.process.phase.send_replace(self.machine.phase().clone());
                if !self.machine.phase().is_running() {
                    self.process.detail().stdin = None;
                    self.service.ended.send_replace(Some(self.process.id()));
                }
            }
            Effect::StartTimer | Effect::Finish | Effect::Stale => {}
        }
        Ok(())
    }

    /// Makes the end durable. While the disk is full it is not told, so that it is never taken back.
    async fn record_exit(&self) -> Result<(), Stopped> {
        let Some(end) = end_of(&self.machine) else { return Ok(()) };
        let process = self.process.id();
        let record = Record::Exited { process, exit: end.exit, at_ms: end.at_ms }.encode();
        loop {
            let durable = Arc::clone(&self.process);
            let then = move |_| durable.detail().durable.end = Some(end);
            match self.recorder().append(record.clone(), Urgency::Finish, then).await {
                Ok(()) => break,
                Err(RecorderError::NoSpace) => {
                    tracing::warn!(process.id = %process, "the disk is full; an exit waits");
                    tokio::time::sleep(FULL_DISK_PAUSE).await;
                }
                // The daemon ends; the keeper keeps the end for the next one.
                Err(RecorderError::Gone) => return Err(Stopped),
            }
        }
        self.record_facts();
        fault::point("w5 process end recorded");
        Ok(())
    }

    /// A crash may lose them: they say more about an end that is known.
    fn record_facts(&self) {
        if let Some(record) = self.process.facts_record() {
            self.recorder().append_lazily(record.encode(), Urgency::Finish, drop);
        }
    }

    /// Not waited for: the journal has the error too, and a loss is found again.
    fn record_absence(&self) {
        use super::machine::Phase::{Lost, NotStarted};
        let process = self.process.id();
        let record = match self.machine.phase() {
            NotStarted { error } => {
                self.process.detail().durable.not_started = Some(error.clone());
                Record::NotStarted { process, error: error.clone() }
            }
            Lost { noticed_at_ms } => {
                self.process.os_pid.store(0, Ordering::Relaxed);
                self.process.detail().durable.lost_at_ms = Some(*noticed_at_ms);
                Record::Lost { process, at_ms: *noticed_at_ms }
            }
            _ => return,
        };
        drop(self.recorder().append(record.encode(), Urgency::Finish, drop));
    }

    fn awaits_output(&self) -> bool {
        use super::machine::Phase::{Draining, Held, Running};
        matches!(self.machine.phase(), Running | Draining { .. } | Held { .. })
    }

    async fn count_holders(&self) {
        self.service.count_holders(&self.process).await;
    }

    /// Everything is on record: the keeper may go, and what it had.
    async fn finish(&self) {
        self.keeper.release().await;
        self.process.detail().keeper = None;
        let (id, service) = (self.process.id(), Arc::clone(&self.service));
        if self.process.started.sandbox.is_some() {
            // Who sees the end sees that nothing is left behind.
            service.supervisor.remove(id);
        } else {
            // Off the executor: whoever waits for the end is told first.
            let remove = move || service.supervisor.remove(id);
            self.lifecycle().blocking("process.remove", remove).await;
        }
        self.service.table.settle(&self.process);
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
