//! Stop means stopped: whatever a process has started ends with it, by whichever means the machine
//! gives, and the answer says which. `docs/design/012-stop-and-limits.md`.

mod bench;

use std::process::Command;
use std::time::Duration;

use agentd::process::{CgroupUse, Containment};
use bench::{Bench, Table, argv, shell};
use shared::protocol::process::{
    Exit, ProcessFacts, ProcessView, StartProcess, StopMeans, StopProcess, Stopped,
};
use shared::testing::{Distribution, trials};

/// Time for a polite end, for those who will not use it.
const GRACE: Duration = Duration::from_millis(100);

fn contained(cgroups: CgroupUse) -> Bench {
    Bench::contained(Containment { cgroups, ..Containment::default() })
}

/// What a machine that gives these means uses to kill.
fn means_of(bench: &Bench) -> StopMeans {
    match bench.processes.containment().stop {
        "cgroup_kill" => StopMeans::CgroupKill,
        "freeze_kill" => StopMeans::FreezeKill,
        _ => StopMeans::Walk,
    }
}

fn facts(view: &ProcessView) -> ProcessFacts {
    view.facts.as_deref().cloned().unwrap_or_default()
}

fn stopped(view: &ProcessView) -> Stopped {
    facts(view).stopped.expect("a stop says how")
}

async fn stop(bench: &Bench, view: &ProcessView, grace: Duration) -> ProcessView {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap();
    let request = StopProcess { process_id: view.process_id, grace_ms };
    bench.processes.stop(&request).await.unwrap()
}

/// Processes whose command line has `token`, dead ones excepted.
fn with_token(token: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(format!("{:?} {}", entry.file_name(), String::from_utf8_lossy(&line)))
    });
    lines.filter(|line| line.contains(token)).collect()
}

/// Not a test by itself: a parent that traces its child and holds it, for ever.
#[test]
fn trace_a_child_when_asked_to() {
    let Some(token) = std::env::var_os("AGENTD_TEST_TRACE") else { return };
    let mut child = Command::new("sleep");
    child.arg(token);
    #[expect(unsafe_code, reason = "only a child can ask to be traced")]
    // SAFETY: the closure makes one system call.
    unsafe {
        use std::os::unix::process::CommandExt;
        child.pre_exec(|| {
            nix::libc::ptrace(nix::libc::PTRACE_TRACEME, 0, 0, 0);
            Ok(())
        });
        nix::libc::signal(nix::libc::SIGTERM, nix::libc::SIG_IGN);
    }
    // It stops at its exec, and nobody lets it go on.
    let mut child = child.spawn().unwrap();
    println!("up");
    loop {
        std::thread::park_timeout(Duration::from_secs(600));
        let _ = child.try_wait();
    }
}

/// Those who do not want to end. Each prints when it is in place; `token` is in every command line.
fn artists(bench: &Bench, token: &str) -> Vec<(&'static str, StartProcess)> {
    // Forks itself away again and again, each time in a session of its own. Ends with its directory.
    bench.file(
        "comet",
        "trap '' TERM HUP\n[ -e \"$1\" ] || exit\nsetsid sh \"$0\" \"$1\" \"$2\" &\n",
        0o755,
    );
    let double = format!(
        "trap '' TERM HUP INT; set -m; \
         (setsid sh -c \"trap '' TERM HUP; nohup sleep {token} >/dev/null 2>&1 & echo up; exec sleep {token}\" &); \
         sh -c \"trap '' TERM; sleep {token}\" & sleep {token}"
    );
    let stopped = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo up; kill -STOP $$; sleep {token}' & sleep {token}"
    );
    let unmarked = format!(
        "trap '' TERM; (env -i setsid /bin/sh -c 'trap \"\" TERM; echo up; sleep {token}' &); sleep {token}"
    );
    let root = bench.root().display().to_string();
    let comet = format!("sh ./comet {root} {token}; echo up; trap '' TERM; sleep {token}");
    let own = std::env::current_exe().unwrap().display().to_string();
    let mut traced = argv(&[&own, "--exact", "trace_a_child_when_asked_to", "--nocapture"]);
    traced.env.insert("AGENTD_TEST_TRACE".to_owned(), token.to_owned());
    vec![
        ("double fork", shell(&double)),
        ("stopped", shell(&stopped)),
        ("without the mark", shell(&unmarked)),
        ("fork loop", shell(&comet)),
        ("traced", traced),
    ]
}

#[tokio::test]
async fn p24_a_stop_leaves_nothing_of_what_wants_to_escape() {
    let rounds = trials(2, 34);
    for (index, cgroups) in
        [CgroupUse::Auto, CgroupUse::Freeze, CgroupUse::Off].into_iter().enumerate()
    {
        let bench = contained(cgroups);
        let expected = means_of(&bench);
        let (mut times, mut survivors, mut used) = (Vec::new(), 0, Vec::new());
        for round in 0..rounds {
            let token = format!("9{}{index}{round:04}", std::process::id());
            for (name, request) in artists(&bench, &token) {
                let view = bench.start(request).await.unwrap();
                bench.is_up(view.process_id).await;
                let start = tokio::time::Instant::now();
                let view = stop(&bench, &view, GRACE).await;
                times.push(start.elapsed().saturating_sub(GRACE));
                let report = stopped(&view);
                assert_eq!((report.left, &report.survivors), (0, &Vec::new()), "{name}");
                assert!(report.means >= expected, "{name}: {report:?} with {expected:?}");
                let left = with_token(&token);
                survivors += left.len() + bench::members(view.process_id);
                assert!(left.is_empty(), "{name} left {left:?}");
                used.push(report.means);
            }
        }
        let times: Distribution = times.into_iter().collect();
        used.sort_unstable();
        used.dedup();
        println!(
            "P24: cgroups {cgroups:?}: {survivors} survivors of {}, means {used:?}; after the grace: {times}",
            rounds * 5
        );
        assert!(times.max() < Duration::from_secs(30));
    }
}

/// The whole group is asked: before its own word a shell may tell which signal ended its `sleep`.
fn said_bye(text: &str) {
    assert!(text.starts_with("up\n") && text.contains("bye\n"), "{text:?}");
}

#[tokio::test]
async fn what_ends_at_the_polite_signal_is_not_killed_and_costs_no_grace() {
    for cgroups in [CgroupUse::Auto, CgroupUse::Off] {
        let bench = contained(cgroups);
        let polite = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done";
        let view = bench.start(shell(polite)).await.unwrap();
        bench.is_up(view.process_id).await;
        let start = tokio::time::Instant::now();
        let view = stop(&bench, &view, Duration::from_secs(60)).await;
        assert_eq!(bench::exit(&view), Some(Exit::Code { code: 3 }));
        assert_eq!(stopped(&view).means, StopMeans::Signal);
        said_bye(&bench.text(view.process_id).await);
        assert!(start.elapsed() < Duration::from_secs(50), "nobody waited for the grace");
    }
}

#[tokio::test]
async fn the_polite_signal_reaches_also_what_has_left_the_group() {
    for cgroups in [CgroupUse::Auto, CgroupUse::Off] {
        let bench = contained(cgroups);
        let away = "setsid sh -c 'trap \"echo bye; exit\" TERM; echo up; while :; do sleep 0.01; done' & wait";
        let view = bench.start(shell(away)).await.unwrap();
        bench.is_up(view.process_id).await;
        let view = stop(&bench, &view, Duration::from_secs(60)).await;
        assert_eq!(stopped(&view).means, StopMeans::Signal);
        said_bye(&bench.text(view.process_id).await);
    }
}

#[tokio::test]
async fn a_second_stop_that_is_in_a_hurry_sets_the_pace_and_both_are_answered() {
    let bench = contained(CgroupUse::Auto);
    let view = bench.start(shell("trap '' TERM; echo up; sleep 600; sleep 600")).await.unwrap();
    bench.is_up(view.process_id).await;
    let slow = stop(&bench, &view, Duration::from_secs(60));
    let quick = stop(&bench, &view, Duration::ZERO);
    let (slow, quick) = tokio::join!(slow, quick);
    for view in [slow, quick] {
        assert_eq!(bench::exit(&view), Some(Exit::Signal { signal: 9, core: false }));
        assert_eq!(stopped(&view).left, 0);
    }
}

#[tokio::test]
async fn what_a_finished_process_left_behind_can_be_stopped() {
    for cgroups in [CgroupUse::Auto, CgroupUse::Freeze, CgroupUse::Off] {
        let bench = contained(cgroups);
        let token = format!("8{}{}", std::process::id(), cgroups as u8);
        let command = format!("(setsid sh -c 'trap \"\" TERM; sleep {token}' >/dev/null 2>&1 &)");
        let view = bench.run(shell(&command)).await;
        assert_eq!(bench::exit(&view), Some(Exit::Code { code: 0 }));
        assert!(!with_token(&token).is_empty(), "it goes on in the background");
        let view = stop(&bench, &view, GRACE).await;
        assert_eq!(stopped(&view).left, 0);
        assert_eq!(with_token(&token), Vec::<String>::new(), "{cgroups:?}");
    }
}

#[tokio::test]
async fn an_exit_tells_what_was_used() {
    let bench = contained(CgroupUse::Auto);
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let usage = facts(&bench.run(shell(busy)).await).usage.unwrap();
    assert!(usage.user_ms + usage.system_ms > 0, "{usage:?}");
    assert!(usage.max_rss_bytes > 256 * 1024, "{usage:?}");
}

#[tokio::test]
async fn who_holds_the_output_is_named() {
    let bench = contained(CgroupUse::Auto);
    let token = format!("7{}", std::process::id());
    let view = bench.run(shell(&format!("(setsid sleep {token} &); exit 4"))).await;
    assert_eq!(bench::exit(&view), Some(Exit::Code { code: 4 }));
    assert_eq!(bench::held_by(&view), 1);
    let holders = facts(&view).output_holders;
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!(holders[0].command, format!("sleep {token}"));
    stop(&bench, &view, GRACE).await;
}

/// Not a test by itself: tries to trace a process, and says how that went.
#[test]
fn attach_to_a_sibling_when_asked_to() {
    let Ok(pid) = std::env::var("AGENTD_TEST_ATTACH") else { return };
    let pid: i32 = pid.parse().unwrap();
    #[expect(unsafe_code, reason = "the safe wrapper is not built in")]
    // SAFETY: it touches no memory of this process.
    let attached = unsafe { nix::libc::ptrace(nix::libc::PTRACE_ATTACH, pid, 0, 0) } == 0;
    println!("attached: {attached}");
}

#[tokio::test]
async fn b60_programs_of_other_users_and_tracers_do_what_the_system_says() {
    let bench = contained(CgroupUse::Auto);
    let mut table = Table::new("B60");
    let is_root = rustix::process::geteuid().is_root();
    // A copy that belongs to nobody and runs as its owner.
    std::fs::copy("/usr/bin/id", bench.root().join("id")).unwrap();
    if is_root {
        let chown = "chown 65534 id && chmod 4755 id && ./id -u";
        let view = bench.run(shell(chown)).await;
        // A file system may be mounted without them, which is an answer too.
        let text = bench.text(view.process_id).await;
        table.row("setuid".to_owned(), text == "65534\n" || text == "0\n", true);
    } else {
        println!("B60: setuid skipped, only root can make a program of another user");
    }
    let sibling = bench.start(shell("echo up; sleep 600")).await.unwrap();
    bench.is_up(sibling.process_id).await;
    let own = std::env::current_exe().unwrap().display().to_string();
    let mut attach = argv(&[&own, "--exact", "attach_to_a_sibling_when_asked_to", "--nocapture"]);
    attach.env.insert("AGENTD_TEST_ATTACH".to_owned(), sibling.os_pid.unwrap().to_string());
    let view = bench.run(attach).await;
    let text = bench.text(view.process_id).await;
    table.row("a tracer is told".to_owned(), text.contains("attached: "), true);
    table.row("it ends as it does".to_owned(), bench::exit(&view), Some(Exit::Code { code: 0 }));
    let report = stopped(&stop(&bench, &sibling, GRACE).await);
    table.row("what it traced can be stopped".to_owned(), report.left, 0);
    let view = bench.run(shell("echo fine")).await;
    table.row("agentd".to_owned(), bench.text(view.process_id).await, "fine\n".to_owned());
    table.finish();
}
