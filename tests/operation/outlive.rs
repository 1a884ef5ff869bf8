//! P20 and P21: what runs does not notice that the daemon is killed, or replaced by another version.
//!
//! Talkers write numbered lines to standard output and to records of their own. The oracle is the
//! record: what the daemon has at the end must be the same bytes, less a middle that it has counted
//! to the byte. In every round one process more ends while no daemon is there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shared::ids::{ProcessId, PtyId};
use shared::protocol::process::{Exit, ListProcesses, ProcessState, ProcessView, StartProcess};
use shared::protocol::pty::{GetPty, ListPtys};
use shared::testing::{Distribution, trials};
use tests::fleet::shell;
use tests::programs::bin_dir;
use tokio::time::Instant;

use crate::host::Host;

/// Of so many talkers one talks much and is kept short of room, so that its middle is dropped.
const LOUD_ONE_OF: usize = 10;
const LOUD_KEPT_BYTES: u64 = 64 * 1024;

/// Of so many talkers two have a terminal.
const TERMINALS_OF: usize = 5;

/// With pipes or with a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Pipes(ProcessId),
    Terminal(PtyId),
}

/// What a daemon says of a talker at its end.
struct Account {
    state: ProcessState,
    total: u64,
    dropped: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// One talker, and what it must come to.
struct Talker {
    id: Id,
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
            // Of both kinds.
            let is_loud = number % LOUD_ONE_OF == number / LOUD_ONE_OF % 3;
            let (pause_ms, bytes) = if is_loud { (5, 300) } else { (100, 20) };
            let command = format!(
                "exec {} {} {} {code} {pause_ms} {bytes}",
                talker.display(),
                own.display(),
                root.join("stop").display(),
            );
            let kept = is_loud.then_some(LOUD_KEPT_BYTES);
            let id = if number % TERMINALS_OF < 2 {
                Id::Terminal(trial.host.remote().open_pty(&command, kept).await?)
            } else {
                let request = StartProcess { output_kept_bytes: kept, ..shell(&command) };
                Id::Pipes(trial.host.remote().start(request).await?)
            };
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
        let mut waiting: BTreeSet<Id> = self.talkers.iter().map(|talker| talker.id).collect();
        // Each look is a round trip: the daemon answers when it has had time for its keepers.
        while !waiting.is_empty() {
            let list = ListProcesses { chat_id: None, limit: Some(1_000) };
            let list = self.host.remote().read(&list).await?.items.into_iter();
            let ptys = ListPtys { chat_id: None, limit: Some(1_000) };
            let ptys = self.host.remote().read(&ptys).await?.items.into_iter();
            let processes = list.map(|view| (Id::Pipes(view.process_id), view.state, view.os_pid));
            let terminals = ptys.map(|view| (Id::Terminal(view.pty_id), view.state, view.os_pid));
            for (id, state, os_pid) in processes.chain(terminals) {
                if waiting.contains(&id) {
                    ensure!(state == ProcessState::Running, "lost: {id:?} {state:?}");
                    if os_pid.is_some() {
                        waiting.remove(&id);
                        self.adopted.push(from.elapsed());
                    }
                }
            }
            ensure!(from.elapsed() < Duration::from_secs(60), "{} are not adopted", waiting.len());
        }
        Ok(())
    }

    async fn account(&self, id: Id) -> Result<Account> {
        let remote = self.host.remote();
        let pty_id = match id {
            Id::Pipes(process_id) => {
                let view = remote.ended(process_id).await?;
                let (head, tail) = remote.output(process_id).await?;
                let (total, dropped) = (view.output_total, view.dropped_to - view.dropped_from);
                return Ok(Account { state: view.state, total, dropped, head, tail });
            }
            Id::Terminal(pty_id) => pty_id,
        };
        let since = Instant::now();
        // Nothing waits for the end of a terminal but a viewer; each look is a round trip.
        let view = loop {
            let view = remote.read(&GetPty { pty_id }).await?;
            if view.state != ProcessState::Running {
                break view;
            }
            ensure!(since.elapsed() < Duration::from_secs(60), "it does not end: {view:?}");
        };
        let (head, tail) = remote.pty_output(&view).await?;
        let (total, dropped) = (view.output_total, view.dropped_to - view.dropped_from);
        Ok(Account { state: view.state, total, dropped, head, tail })
    }

    /// Ends the talkers and holds the daemon's account against theirs; the figures.
    async fn judge(self) -> Result<String> {
        std::fs::write(self.host.root().join("stop"), "")?;
        let (mut cut, mut bytes) = (0, 0);
        for talker in &self.talkers {
            let Account { state, total, dropped, head, tail } = self.account(talker.id).await?;
            ensure!(code_of(&state) == Some(talker.code), "exit code: {state:?}");
            let mut own = std::fs::read(&talker.own)?;
            if let Id::Terminal(_) = talker.id {
                // What a terminal makes of a newline.
                own = own.split_inclusive(|byte| *byte == b'\n').flat_map(terminal_line).collect();
            }
            ensure!(total == own.len() as u64, "{} bytes, {total} on record", own.len());
            ensure!(
                own.starts_with(&head) && own.ends_with(&tail),
                "other bytes: {}",
                talker.own.display()
            );
            ensure!(
                head.len() as u64 + dropped + tail.len() as u64 == total,
                "{dropped} of {total}"
            );
            cut += usize::from(dropped > 0);
            bytes += own.len();
        }
        let terminals = self.talkers.iter().filter(|t| matches!(t.id, Id::Terminal(_))).count();
        Ok(format!(
            "{} processes ({terminals} with a terminal), 0 lost; output equal to their own records ({} KiB; {cut} with a dropped \
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
    code_of(&view.state)
}

fn code_of(state: &ProcessState) -> Option<i32> {
    match state {
        ProcessState::Exited { exit: Exit::Code { code }, .. } => Some(*code),
        _ => None,
    }
}

fn terminal_line(line: &[u8]) -> Vec<u8> {
    match line.strip_suffix(b"\n") {
        Some(text) => [text, b"\r\n"].concat(),
        None => line.to_vec(),
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
