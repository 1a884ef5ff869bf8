//! A process that may change nothing: what it can do all the same, what it leaves behind, and that there
//! is no process where there is no sandbox. What it is kept from is tried by the hostile model of
//! `tests/system/plan.rs`.

mod bench;

use std::path::{Path, PathBuf};
use std::process::Command;

use agentd::process::{Containment, SandboxUse, sandbox_available};
use bench::{Bench, Table, argv, exit, shell};
use shared::ids::ProcessId;
use shared::protocol::process::{Exit, SandboxFacts, SandboxKind, StartSandboxed};

/// A bench with sandboxes of this kind; none, with the reason, where the machine has none.
fn bench(sandbox: SandboxUse) -> Option<Bench> {
    if let Err(missing) = sandbox_available(SandboxUse::Auto) {
        eprintln!("skipped: {missing}");
        return None;
    }
    Some(Bench::contained(Containment { sandbox, ..Containment::default() }))
}

fn scratch(process: ProcessId) -> PathBuf {
    Path::new("/tmp").join(format!("holdfast-{process}"))
}

const BOTH: [SandboxUse; 2] = [SandboxUse::Auto, SandboxUse::Oldest];

#[tokio::test]
async fn what_only_reads_works_in_a_sandbox() {
    for kind in BOTH {
        let Some(bench) = bench(kind) else { return };
        bench.file("a.txt", "needle\n", 0o644);
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "gc.auto=0"];
            let mut git = Command::new("git");
            let ran = git.current_dir(bench.root()).args(identity).args(arguments).output();
            assert!(ran.expect("git is installed").status.success(), "git {arguments:?}");
        };
        git(&["init", "-q"]);
        git(&["add", "a.txt"]);
        git(&["commit", "-q", "-m", "first"]);
        bench.file("a.txt", "needle\nmore\n", 0o644);
        for (command, expected) in [
            ("git status --short", " M a.txt"),
            ("git log --format=%s", "first"),
            ("git diff", "+more"),
            ("grep -rn needle --include='*.txt' . | head -1", "a.txt:1:needle"),
            ("ls -l | wc -l", "2"),
            ("find . -name '*.txt' -newer /etc/hostname -o -name a.txt | sort", "./a.txt"),
            ("echo hidden >/dev/null; echo shown >&2", "shown"),
            ("printf 'b\\na\\n' | sort | tr -d '\\n'", "ab"),
            ("mktemp >/dev/null && echo x >$TMPDIR/f && rm $TMPDIR/f && ls $TMPDIR | wc -l", "1"),
            ("cat <<END\nin a document\nEND", "in a document"),
            ("(sleep 600 & kill $!; wait $! || echo ended)", "ended"),
        ] {
            // The oldest ruleset knows no signals, so none can be sent.
            if kind == SandboxUse::Oldest && command.contains("kill") {
                continue;
            }
            let (view, text) = bench.run_sandboxed(shell(command)).await;
            assert_eq!(exit(&view), Some(Exit::Code { code: 0 }), "{command}: {text}");
            assert!(text.contains(expected), "{kind:?} {command}: {text:?}");
        }
    }
}

#[tokio::test]
async fn a_sandbox_is_told_by_its_means_and_leaves_nothing_behind() {
    let Some(bench) = bench(SandboxUse::Auto) else { return };
    let command = "echo kept >$TMPDIR/file; mkdir -p $TMPDIR/a/b; chmod 000 $TMPDIR/a 2>/dev/null; \
                   setsid sh -c 'trap \"\" TERM HUP; echo up; sleep 600' & \
                   while [ ! -e $TMPDIR/never ]; do read line; break; done; echo $TMPDIR";
    let (view, text) = bench.run_sandboxed(shell(command)).await;
    let facts = view.facts.as_ref().and_then(|facts| facts.sandbox);
    assert_eq!(facts, Some(bench.processes.sandbox().unwrap()), "{view:?}");
    let scratch = scratch(view.process_id);
    assert!(text.contains(&*scratch.to_string_lossy()), "{text}");
    // Its output is complete only when all that held it has ended.
    let over = bench.until(view.process_id, |_| !scratch.exists()).await;
    assert_eq!(over.state, view.state);
}

#[tokio::test]
async fn a_start_that_is_asked_again_is_the_same_process() {
    let Some(bench) = bench(SandboxUse::Auto) else { return };
    let start = shared::protocol::process::StartProcess {
        process_id: bench.id(),
        ..shell("echo once >>$TMPDIR/ran; cat $TMPDIR/ran")
    };
    let request = StartSandboxed { start, sandbox: SandboxKind::ReadOnly };
    let op = bench.op();
    let ready = || std::future::ready(Ok(()));
    let first = bench.processes.start_sandboxed(op, &request, ready()).await.unwrap();
    bench.ended(first.process_id).await;
    let again = bench.processes.start_sandboxed(op, &request, ready()).await.unwrap();
    assert_eq!(again.process_id, first.process_id);
    assert_eq!(bench.text(first.process_id).await, "once\n");
}

#[tokio::test]
async fn without_a_sandbox_nothing_is_run() {
    let bench =
        Bench::contained(Containment { sandbox: SandboxUse::Off, ..Containment::default() });
    let mut table = Table::new("sandbox");
    let start = shared::protocol::process::StartProcess {
        process_id: bench.id(),
        ..argv(&["touch", "made"])
    };
    let error = bench.start_sandboxed(start.clone()).await.unwrap_err();
    table.row("turned off".to_owned(), error.code.as_str(), "sandbox_unavailable");
    assert!(error.message.contains("turned off"), "{error:?}");
    let known = bench.processes.get(start.process_id).await.map(|_| ()).map_err(|error| error.code);
    table.row("no record of it".to_owned(), known, Err("process_not_found".to_owned()));
    table.row("nothing was made".to_owned(), bench.root().join("made").exists(), false);
    table.row("no directory".to_owned(), scratch(start.process_id).exists(), false);
    table.finish();
}

#[tokio::test]
async fn a_private_directory_that_is_there_already_is_not_used() {
    let Some(bench) = bench(SandboxUse::Auto) else { return };
    let start = shared::protocol::process::StartProcess {
        process_id: bench.id(),
        ..argv(&["touch", "made"])
    };
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), scratch(start.process_id)).unwrap();
    let error = bench.start_sandboxed(start.clone()).await.unwrap_err();
    std::fs::remove_file(scratch(start.process_id)).unwrap();
    assert_eq!(error.code, "sandbox_unavailable", "{error:?}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_oldest_landlock_is_used_and_said() {
    let Some(bench) = bench(SandboxUse::Oldest) else { return };
    let facts = SandboxFacts { landlock_abi: 1, seccomp: true };
    assert_eq!(bench.processes.sandbox(), Ok(facts));
    bench.file("kept", "kept\n", 0o644);
    // Two pipes have no common order: what is refused is told on the other one.
    let command = "exec 2>/dev/null; (echo no >kept); (: >kept); rm kept; mv kept x; cat kept";
    let (view, text) = bench.run_sandboxed(shell(command)).await;
    assert_eq!(view.facts.unwrap().sandbox, Some(facts));
    assert_eq!(text, "kept\n");
}
