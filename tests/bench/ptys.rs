//! Terminals: a key until its echo, and a flood, beside a bare terminal of the kernel.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use controlplane::fleet::PtyEvent;
use shared::protocol::pty::{AttachFrom, AttachPty, PtySay, WriteWish};

use crate::limits::mib;
use crate::link::Linked;
use crate::product::now;
use crate::sample::{Row, RowSpec, Samples};

/// Keys that count, in rounds of ours and the limit by turns.
const KEYS: usize = 500;
const ROUND: usize = 25;
/// Between two keys: as a person who types fast, so that both ends are at rest.
const GAP: Duration = Duration::from_millis(3);
/// A terminal is slow: this takes seconds.
pub const FLOOD_BYTES: usize = 256 * 1024 * 1024;
const FLOODS: usize = 3;

/// Every row of the group.
pub async fn rows() -> Result<Vec<Row>> {
    let linked = Linked::start().await?;
    let [mut ours, mut bare, mut asked] = [(); 3].map(|()| Samples::default());
    let pty = linked.open_pty(&["/bin/cat"]).await?;
    let attached = linked
        .link()
        .attach(&AttachPty {
            pty_id: pty.pty_id,
            viewer: "bench".to_owned(),
            from: AttachFrom::Offset { offset: 0 },
            write: WriteWish::Take,
            size: None,
            skip_behind_bytes: None,
        })
        .await?;
    let (mut events, mut voice) = (attached.events, attached.voice);
    let mut terminal = Terminal::start(Command::new("/bin/cat"))?;
    let (mut seq, mut echoed) = (0, 0);
    for _ in 0..KEYS / ROUND {
        for _ in 0..ROUND {
            tokio::time::sleep(GAP).await;
            let start = now();
            terminal.echo()?;
            bare.push(start.elapsed());
        }
        for _ in 0..ROUND {
            tokio::time::sleep(GAP).await;
            let start = now();
            linked.ask().await?;
            asked.push(start.elapsed());
        }
        for _ in 0..ROUND {
            tokio::time::sleep(GAP).await;
            let start = now();
            seq += 1;
            voice.say(&PtySay::Input { seq, data: vec![b'x'] }).await?;
            while echoed < seq {
                match events.next().await?.context("the attachment goes on")? {
                    PtyEvent::Output { bytes, .. } => echoed += bytes.len() as u64,
                    PtyEvent::End(pty) => anyhow::bail!("it ended: {pty:?}"),
                    _ => {}
                }
            }
            ours.push(start.elapsed());
        }
    }
    linked.close_pty(&pty).await?;
    drop(terminal);
    let (mut taken, mut drained) = (Samples::default(), Samples::default());
    for _ in 0..FLOODS {
        drained.push_figure(bare_flood_mib_s()?);
        let own = std::env::current_exe()?;
        let own = own.to_str().context("the path is text")?;
        let start = now();
        let pty = linked.open_pty(&[own, "--limit", "terminal-flood"]).await?;
        let ended = linked.pty_ended(&pty).await?;
        // A terminal makes two bytes of each end of a line.
        anyhow::ensure!(ended.output_total > FLOOD_BYTES as u64, "it is not whole: {ended:?}");
        taken.push_figure(mib(ended.output_total) / start.elapsed().as_secs_f64());
    }
    let together = bare.p50() + asked.p50();
    Ok(vec![
        RowSpec {
            metric: "terminal, key to echo over the link",
            unit: "ms",
            limit_is: "a bare terminal and a question over the link",
            goal: "at most 0.15 ms; ssh 0.21",
        }
        .row(&ours, together, |ours, _| ours.p50() <= 0.15),
        RowSpec {
            metric: "terminal throughput",
            unit: "MiB/s",
            limit_is: "a bare terminal, read and dropped",
            goal: "at least 0.9 x the limit",
        }
        .row(&taken, drained.p50(), |ours, limit| ours.p50() >= 0.9 * limit),
    ])
}

/// A terminal of the kernel with a program at it, and nothing between.
struct Terminal {
    master: File,
    child: Child,
}

impl Terminal {
    fn start(mut command: Command) -> Result<Self> {
        let nix::pty::OpenptyResult { master, slave } = nix::pty::openpty(None, None)?;
        let child = command
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave))
            .spawn()?;
        Ok(Self { master: File::from(master), child })
    }

    /// One key, until the terminal has shown it.
    fn echo(&mut self) -> Result<()> {
        self.master.write_all(b"x")?;
        let mut byte = [0];
        self.master.read_exact(&mut byte)?;
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bare_flood_mib_s() -> Result<f64> {
    let start = now();
    let mut flood = Command::new(std::env::current_exe()?);
    flood.args(["--limit", "terminal-flood"]);
    let mut terminal = Terminal::start(flood)?;
    let (mut bytes, mut read) = (vec![0; 64 * 1024], 0);
    loop {
        match terminal.master.read(&mut bytes) {
            Ok(0) => break,
            Ok(some) => read += some as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Nobody has it open any more: a terminal's way to end.
            Err(_) => break,
        }
    }
    Ok(mib(read) / start.elapsed().as_secs_f64())
}
