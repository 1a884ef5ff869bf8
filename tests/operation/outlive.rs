//! P20 and P21: what runs does not notice that the daemon is killed, or replaced by another version.
//!
//! Talkers write numbered lines to standard output and to records of their own. The oracle is the
//! record: what the daemon has at the end must be the same bytes, less a middle that it has counted
//! to the byte. In every round one process more ends while no daemon is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shared::ids::ProcessId;
use shared::protocol::process::{Exit, ListProcesses, ProcessState, ProcessView, StartProcess};
use shared::testing::{Distribution, trials};
use tests::fleet::shell;
use tests::programs::bin_dir;
use tokio::time::Instant;

use crate::host::Host;

/// Of so many talkers one talks much and is kept short of room, so that its middle is dropped.
const LOUD_ONE_OF: usize = 10;
const LOUD_KEPT_BYTES: u64 = 64 * 1024;

/// One talker, and what it must come to.
struct Talker {
    id: ProcessId,
    own: PathBuf,
    code: i32,
}

/// All of them, and what was seen so far.
struct Trial {
    host: Host,
    talkers: Vec<Talker>,
    /// Processes that ended in between, over all rounds.
    left: usize,
    adopted: Vec<Duration>,
}

impl Trial {
    async fn begin(host: Host, count: usize) -> Result<Self> {
        let mut trial = Self { host, talkers: Vec::new(), left: 0, adopted: Vec::new() };
        let talker = bin_dir()?.join("talker");
        let root = trial.host.root();
        for number in 0..count {
            let own = root.join(format!("own-{number}"));
            let code = i32::try_from(number % 200)? + 10;
            let is_loud = number % LOUD_ONE_OF == 0;
            let (pause_ms, bytes) = if is_loud { (5, 300) } else { (100, 20) };
            let command = format!(
                "exec {} {} {} {code} {pause_ms} {bytes}",
                talker.display(),
                own.display(),
                root.join("stop").display(),
            );
            let kept = is_loud.then_some(LOUD_KEPT_BYTES);
            let request = StartProcess { output_kept_bytes: kept, ..shell(&command) };
            let id = trial.host.remote().start(request).await?;
            trial.talkers.push(Talker { id, own, code });
        }
        Ok(trial)
    }

    /// One round: `disturb` the daemon while one process more ends; then all is as it was.
    async fn round(
        &mut self,
        number: usize,
        disturb: impl AsyncFnOnce(&mut Host, &dyn Fn() -> Result<()>) -> Result<Instant>,
    ) -> Result<()> {
        let fifo = self.host.root().join(format!("leave-{number}"));
        let command =
            format!("mkfifo {0}; echo up; read word < {0}; echo bye; exit 7", fifo.display());
        let leaver = self.host.remote().shell(&command).await?;
        let before = self.host.remote().instance();
        // Blocks until it reads: then it ends at once, whoever watches.
        let leave = || std::fs::write(&fifo, "now\n").context("the leaver has its FIFO");
        // A shell that has just started may not have made it yet: its first line says so.
        self.host.remote().first_output(leaver).await?;
        let from = disturb(&mut self.host, &leave).await?;
        self.host.remote().another(before).await?;
        self.adoption(from).await?;
        let view = self.host.remote().ended(leaver).await?;
        ensure!(exit_code(&view) == Some(7), "round {number}: {view:?}");
        let (text, _) = self.host.remote().output(leaver).await?;
        ensure!(text == b"up\nbye\n", "round {number}: {:?}", String::from_utf8_lossy(&text));
        self.left += 1;
        Ok(())
    }

    /// How long it took until each talker was adopted: its keeper has told the new daemon its pid.
    async fn adoption(&mut self, from: Instant) -> Result<()> {
        let mut waiting: BTreeMap<ProcessId, ()> =
            self.talkers.iter().map(|talker| (talker.id, ())).collect();
        // Each look is a round trip: the daemon answers when it has had time for its keepers.
        while !waiting.is_empty() {
            let list = ListProcesses { chat_id: None, limit: Some(1_000) };
            let list = self.host.remote().read(&list).await?;
            for view in list.items {
                if waiting.contains_key(&view.process_id) {
                    ensure!(view.state == ProcessState::Running, "lost: {view:?}");
                    if view.os_pid.is_some() {
                        waiting.remove(&view.process_id);
                        self.adopted.push(from.elapsed());
                    }
                }
            }
            ensure!(from.elapsed() < Duration::from_secs(60), "{} are not adopted", waiting.len());
        }
        Ok(())
    }

    /// Ends the talkers and holds the daemon's account against theirs; the figures.
    async fn judge(self) -> Result<String> {
        std::fs::write(self.host.root().join("stop"), "")?;
        let (mut cut, mut bytes) = (0, 0);
        for talker in &self.talkers {
            let view = self.host.remote().ended(talker.id).await?;
            ensure!(exit_code(&view) == Some(talker.code), "exit code: {view:?}");
            let own = std::fs::read(&talker.own)?;
            let (head, tail) = self.host.remote().output(talker.id).await?;
            ensure!(view.output_total == own.len() as u64, "{} bytes, {view:?}", own.len());
            ensure!(own.starts_with(&head) && own.ends_with(&tail), "other bytes: {view:?}");
            let dropped = view.dropped_to - view.dropped_from;
            ensure!(
                head.len() as u64 + dropped + tail.len() as u64 == view.output_total,
                "{view:?}"
            );
            cut += usize::from(dropped > 0);
            bytes += own.len();
        }
        Ok(format!(
            "{} processes, 0 lost; output equal to their own records ({} KiB; {cut} with a dropped \
             middle, counted to the byte); exit codes of {} that ended without a daemon right; \
             adopted {}",
            self.talkers.len(),
            bytes / 1024,
            self.left,
            self.adopted.iter().copied().collect::<Distribution>()
        ))
    }
}

fn exit_code(view: &ProcessView) -> Option<i32> {
    match view.state {
        ProcessState::Exited { exit: Exit::Code { code }, .. } => Some(code),
        _ => None,
    }
}

async fn killed(host: Host, kills: usize, talkers: usize) -> Result<()> {
    let name = host.name();
    let mut trial = Trial::begin(host, talkers).await?;
    for number in 0..kills {
        let kill = async |host: &mut Host, leave: &dyn Fn() -> Result<()>| {
            let killed = host.kill()?;
            leave()?;
            host.back(killed)
        };
        trial.round(number, kill).await.with_context(|| format!("{name}, kill {number}"))?;
    }
    println!("P20: {name}: {kills} times SIGKILL, {}", trial.judge().await?);
    Ok(())
}

async fn upgraded(host: Host, swaps: usize, talkers: usize) -> Result<()> {
    let name = host.name();
    let mut trial = Trial::begin(host, talkers).await?;
    let folder = tempfile::tempdir()?;
    // Two files with other bytes, whose keepers say that they are of this version and of the next;
    // or, where a binary of the version before is at hand, that one.
    let this = bin_dir()?.join("agentd");
    let other = folder.path().join("agentd");
    match std::env::var_os("HOLDFAST_PREVIOUS_AGENTD") {
        Some(previous) => drop(std::fs::copy(previous, &other)?),
        None => {
            std::fs::copy(&this, &other)?;
            let mut file = std::fs::File::options().append(true).open(&other)?;
            std::io::Write::write_all(&mut file, b"\0")?;
        }
    }
    for number in 0..swaps {
        let (program, version) = if number % 2 == 0 { (&other, 2) } else { (&this, 1) };
        let swap = async |host: &mut Host, leave: &dyn Fn() -> Result<()>| {
            let at = host.swap(program, version)?;
            leave()?;
            Ok(at)
        };
        trial.round(number, swap).await.with_context(|| format!("{name}, swap {number}"))?;
    }
    println!("P21: {name}: {swaps} binary swaps, {}", trial.judge().await?);
    Ok(())
}

fn talkers() -> usize {
    trials(12, 100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_processes_outlive_a_daemon_that_is_killed_and_started_by_hand() -> Result<()> {
    killed(Host::by_hand().await?, trials(5, 50), talkers()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_processes_outlive_a_daemon_that_is_killed_under_systemd() -> Result<()> {
    let Some(host) = Host::systemd().await? else { return Ok(()) };
    killed(host, trials(4, 50), talkers()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_processes_outlive_upgrades_by_hand() -> Result<()> {
    upgraded(Host::by_hand().await?, trials(4, 20), talkers()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p21_processes_outlive_upgrades_under_systemd() -> Result<()> {
    let Some(host) = Host::systemd().await? else { return Ok(()) };
    upgraded(host, trials(4, 20), talkers()).await
}
