//! P32: a disk that is full, under the state directory and under the workspace, in bytes and in
//! inodes. Both lie on file systems of their own, in a mount namespace.

use anyhow::{Context, Result, ensure};
use controlplane::fleet::CallError;
use shared::ids::ProcessId;
use shared::protocol::ErrorCode;
use shared::protocol::process::{Exit, OutputWindow, ProcessState, StartProcess, ViewOutput};
use shared::testing::trials;
use tests::fleet::shell;
use tests::programs::bin_dir;

use crate::host::ByHand;

const MOUNTS: &str = r#"
    mkdir "$1/disk" "$1/own"
    mount -t tmpfs -o size=40m,nr_inodes=400 tmpfs "$1/disk"; cp -a "$1/state" "$1/disk/state"
    mount -t tmpfs -o size=8m tmpfs "$1/root"
    mount -t tmpfs tmpfs "$1/own""#;

/// How a disk is filled to the last byte, or the last inode. Logs give up their own oldest segments
/// meanwhile: until they have none left there is room again.
const FILL_BYTES: &str = "head -c 1G /dev/zero > disk/fill 2>/dev/null || true; \
    while echo x > disk/x 2>/dev/null; do rm disk/x; head -c 1G /dev/zero >> disk/fill 2>/dev/null || true; done";
const FREE_BYTES: &str = "rm -f disk/fill disk/x";
const FILL_INODES: &str =
    "mkdir -p disk/many; i=0; while touch disk/many/$i 2>/dev/null; do i=$((i+1)); done";
const FREE_INODES: &str = "rm -rf disk/many";

struct Trial {
    host: ByHand,
    round: usize,
}

impl Trial {
    /// A talker with a record of its own, on a disk that is not filled.
    async fn talk(&self, pause_ms: u64, bytes: usize) -> Result<(ProcessId, String)> {
        let own = format!("own/{}-{pause_ms}", self.round);
        let folder = self.host.folder().display();
        let command = format!(
            "exec {} {folder}/{own} {folder}/own/stop-{} 9 {pause_ms} {bytes}",
            bin_dir()?.join("talker").display(),
            self.round
        );
        let request = StartProcess { output_kept_bytes: Some(1 << 20), ..shell(&command) };
        let id = self.host.remote().start(request).await.context("a talker starts")?;
        self.host.remote().first_output(id).await?;
        Ok((id, own))
    }

    fn record(&self, own: &str) -> Result<Vec<u8>> {
        Ok(self.host.sh(&format!("cat {own}"))?.into_bytes())
    }

    /// The end of the output is shown while the disk is full: the last line that stands in the
    /// process's own record now comes into view.
    async fn shows_its_end(&self, process_id: ProcessId, own: &str) -> Result<()> {
        let record = String::from_utf8(self.record(own)?)?;
        let last = record.lines().last().context("it talks")?.trim_end_matches('.').to_owned();
        let number: u64 = last.split(' ').nth(1).context("a numbered line")?.parse()?;
        for _ in 0..2_000 {
            let window = OutputWindow::TailLines { lines: 1 };
            let view = self.host.remote().read(&ViewOutput { process_id, window }).await?;
            let shown = view
                .text
                .lines()
                .rev()
                .find_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
            if shown.is_some_and(|shown| shown >= number) {
                return Ok(());
            }
        }
        anyhow::bail!("line {number} is not shown")
    }

    /// What a talker has said, by the daemon's account, is what it has written down itself, less a
    /// middle that is counted; how much the full disk has cost.
    async fn judge(&self, id: ProcessId, own: &str) -> Result<u64> {
        let view = self.host.remote().ended(id).await?;
        ensure!(
            matches!(view.state, ProcessState::Exited { exit: Exit::Code { code: 9 }, .. }),
            "{view:?}"
        );
        let record = self.record(own)?;
        let (head, tail) = self.host.remote().output(id).await?;
        ensure!(view.output_total == record.len() as u64, "{}: {view:?}", record.len());
        ensure!(record.starts_with(&head) && record.ends_with(&tail), "other bytes: {view:?}");
        let dropped = view.dropped_to - view.dropped_from;
        ensure!(head.len() as u64 + dropped + tail.len() as u64 == view.output_total, "{view:?}");
        ensure!(!tail.is_empty() || dropped == 0, "the end is kept: {view:?}");
        Ok(view.facts.and_then(|facts| facts.spool_full).unwrap_or(0))
    }

    /// One time that the state's disk is full.
    async fn state_full(&mut self, fill: &str, free: &str) -> Result<u64> {
        let quiet = self.talk(20, 20).await?;
        let loud = self.talk(1, 4_000).await?;
        let fifo = format!("own/leave-{}", self.round);
        let path = self.host.folder().join(&fifo);
        let command =
            format!("mkfifo {0}; echo up; read word < {0}; echo bye; exit 7", path.display());
        let leaver = self.host.remote().shell(&command).await.context("the leaver starts")?;
        self.host.remote().first_output(leaver).await?;
        self.host.sh(fill)?;

        self.shows_its_end(quiet.0, &quiet.1).await?;
        self.shows_its_end(loud.0, &loud.1).await?;
        self.host.sh(&format!("echo now > {fifo}"))?;
        let ended = self.host.remote().ended(leaver).await?;
        ensure!(
            matches!(ended.state, ProcessState::Exited { exit: Exit::Code { code: 7 }, .. }),
            "{ended:?}"
        );
        // Until the room that was prepared is used up beginnings are taken; then they are refused.
        let mut refused = None;
        for _ in 0..2_000 {
            match self.host.remote().start(shell("true")).await {
                Ok(_) => {}
                Err(error) => {
                    refused = Some(format!("{error:#}"));
                    break;
                }
            }
        }
        let refused = refused.context("a full disk takes beginnings for ever")?;
        ensure!(refused.contains("full"), "it says why: {refused}");
        ensure!(self.host.remote().view(quiet.0).await?.state == ProcessState::Running);

        // The daemon is killed and comes back while the disk is full.
        let before = self.host.remote().instance();
        self.host.kill()?;
        self.host.spawn()?;
        self.host.remote().another(before).await.context("it starts on a full disk")?;
        let ended = self.host.remote().view(leaver).await?;
        ensure!(
            matches!(ended.state, ProcessState::Exited { exit: Exit::Code { code: 7 }, .. }),
            "{ended:?}"
        );
        self.shows_its_end(quiet.0, &quiet.1).await?;

        self.host.sh(free)?;
        let after = self.host.remote().shell("echo after").await.context("there is room again")?;
        self.host.remote().ended(after).await?;
        ensure!(self.host.remote().output(after).await?.0 == b"after\n");
        self.host.sh(&format!("touch own/stop-{}", self.round))?;
        let lost = self.judge(quiet.0, &quiet.1).await? + self.judge(loud.0, &loud.1).await?;
        self.round += 1;
        Ok(lost)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p32_a_full_disk_under_the_state_ends_no_process_and_loses_no_exit_code() -> Result<()> {
    let Some(host) = ByHand::start_in(MOUNTS).await? else { return Ok(()) };
    let mut trial = Trial { host, round: 0 };
    let rounds = trials(1, 10);
    let (mut bytes, mut inodes) = (0, 0);
    for round in 0..rounds {
        bytes += trial
            .state_full(FILL_BYTES, FREE_BYTES)
            .await
            .with_context(|| format!("bytes, round {round}"))?;
        inodes += trial
            .state_full(FILL_INODES, FREE_INODES)
            .await
            .with_context(|| format!("inodes, round {round}"))?;
    }
    println!(
        "P32: state directory full {rounds} times in bytes and {rounds} in inodes: 0 of {} processes lost, ends of \
         output shown meanwhile, exit codes kept, beginnings refused, a killed daemon starts, recovered \
         without a restart; spool_full {bytes} and {inodes} bytes, all counted",
        rounds * 6
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p32_a_full_workspace_leaves_old_files_whole() -> Result<()> {
    let Some(host) = ByHand::start_in(MOUNTS).await? else { return Ok(()) };
    let mut trial = Trial { host, round: 0 };
    let rounds = trials(3, 20);
    let old = vec![b'o'; 300_000];
    for round in 0..rounds {
        let talker = trial.talk(20, 20).await?;
        trial.host.remote().write("file", &old).await?;
        trial.host.sh("head -c 1G /dev/zero > root/fill 2>/dev/null || true")?;
        let refused = trial.host.remote().write("file", &vec![b'n'; 400_000]).await;
        let is_full = matches!(&refused, Err(CallError::Refused(error) | CallError::Failed(error))
            if error.known_code() == Some(ErrorCode::DiskFull));
        ensure!(is_full, "round {round}: {refused:?}");
        ensure!(
            trial.host.sh("cat root/file")?.as_bytes() == old,
            "round {round}: the old file is whole"
        );
        ensure!(
            trial.host.sh("ls root | sort | tr '\\n' ' '")? == "file fill ",
            "nothing is left over"
        );
        trial.shows_its_end(talker.0, &talker.1).await?;
        trial.host.sh("rm root/fill")?;
        trial.host.remote().write("file", &vec![b'n'; 400_000]).await?;
        trial.host.sh(&format!("touch own/stop-{}", trial.round))?;
        ensure!(trial.judge(talker.0, &talker.1).await? == 0);
        trial.round += 1;
    }
    println!(
        "P32: workspace full {rounds} times: writes refused as disk_full, {rounds} old files whole, processes unharmed"
    );
    Ok(())
}
