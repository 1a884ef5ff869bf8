//! P35: two daemons never run for one state directory.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use shared::protocol::process::ProcessState;
use shared::testing::trials;

use crate::host::ByHand;

/// Daemons that are started at one instant.
const AT_ONCE: usize = 8;

/// Starts so many at one instant.
fn start_many(host: &ByHand) -> Result<Vec<Child>> {
    let start = || Ok(host.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    (0..AT_ONCE).map(|_| start()).collect()
}

fn refused_by(child: Child, holder: u32) -> Result<()> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(3), "{:?}: {text}", output.status);
    ensure!(text.contains(&format!("(pid {holder})")), "the holder is {holder}: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p35_two_daemons_never_run_for_one_state_directory() -> Result<()> {
    let rounds = trials(3, 50);
    let mut host = ByHand::start().await?;
    let worker = host.remote().shell("read word < /dev/zero; exec sleep 600").await?;
    let mut refused = 0;
    for round in 0..rounds {
        // While one runs.
        let holder = host.pid()?;
        for child in start_many(&host)? {
            refused_by(child, holder).with_context(|| format!("round {round}, beside one"))?;
            refused += 1;
        }
        // With none: exactly one of them wins, and it adopts what there is.
        let before = host.remote().instance();
        host.kill()?;
        let mut children = start_many(&host)?;
        let winner = host.remote().another(before).await?;
        let view = host.remote().view(worker).await?;
        ensure!(view.state == ProcessState::Running, "round {round}: {view:?}");
        // The losers end by themselves; the winner is the one that does not.
        let holder: u32 =
            host.sh("cat state/lock")?.trim().parse().context("the lock names its holder")?;
        let position = children.iter().position(|child| child.id() == holder);
        host.adopt(children.swap_remove(position.context("one of them has won")?));
        for child in children {
            refused_by(child, holder).with_context(|| format!("round {round}, at once"))?;
            refused += 1;
        }
        ensure!(host.remote().instance() == Some(winner), "round {round}: another one connected");
    }
    println!(
        "P35: {rounds} rounds of {AT_ONCE} starts beside a running daemon and {AT_ONCE} at one instant: \
         {refused} refused with exit code 3 and the holder's pid, 0 double adoptions"
    );
    Ok(())
}
