//! Terminals outlive the daemon: killed at any moment, everything looks the same afterwards, cell
//! by cell, and everything goes on. `docs/design/011-pty.md`.

mod bench;

use std::fmt::Write as _;

use bench::events::seen;
use bench::terminals::{Scene, assert_exact, assert_same, exit_of, marked, replayed, request};
use shared::ids::PtyId;
use shared::protocol::process::{Exit, ProcessState, Program};
use shared::protocol::pty::{AttachFrom, AttachPty, OpenPty, PtyItem, PtySay, PtySize, WriteWish};
use shared::testing::{Distribution, trials};

/// Not a test by itself: the child that `Served::start` starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

fn argv(scene: &Scene, argv: &[&str]) -> OpenPty {
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    OpenPty { program: Some(Program::Argv { argv }), ..scene.request("") }
}

#[tokio::test]
async fn a_vim_looks_the_same_after_a_kill_and_after_a_reload_and_goes_on() {
    if !has("vim") {
        return;
    }
    let mut scene = Scene::new();
    let mut code = String::new();
    for n in 0..200 {
        writeln!(code, "fn number_{n}() -> u32 {{ {n} }} // 漢字 é").unwrap();
    }
    std::fs::write(scene.root().join("code.rs"), &code).unwrap();
    // From a shell, whose screen comes back when vim ends.
    let command = "echo before vim; LANG=C.UTF-8 LC_ALL=C.UTF-8 vim -u NONE -i NONE -n -N \
                   -c 'syntax on' -c 'set nu ruler laststatus=2 mouse=a title' code.rs; \
                   echo after vim; cat";
    let pty = scene.shell(command).await;
    let mut live = scene.attach(pty, "me", WriteWish::IfFree).await;
    live.until("number_0").await;
    live.say(&PtySay::Resize { size: PtySize::clamped(100, 32) }).await;
    // Vim drops what was typed while it takes in a new size.
    live.until("number_29").await;
    live.send("100Go// typed before the kill\x1b").await;
    live.until("typed before the kill").await;
    live.send(":split\r").await;
    live.send("50Gohalfway").await;
    live.until("halfway").await;
    live.until("-- INSERT --").await;

    scene.kill();
    let seq = live.seq;
    // What the terminal showed last, and what a new daemon shows before anybody types.
    scene.start_again();
    let mut reload = scene.attach(pty, "me", WriteWish::IfFree).await;
    assert!(reload.head.is_writer, "who typed last writes");
    assert_eq!(reload.head.taken_seq, seq, "everything that was typed is known to have been");
    assert!(reload.emulator.is_alternate());
    assert_exact(&scene, pty, "after the kill").await;
    let before = replayed(&scene, pty, reload.offset).await;
    assert_same(&reload.emulator, &before, "reloaded");
    for _ in 0..3 {
        scene.kill();
        scene.start_again();
    }
    let again = scene.attach(pty, "me", WriteWish::IfFree).await;
    assert_same(&again.emulator, &before, "after three more kills");

    reload = again;
    reload.send(" and after the kill\x1b").await;
    reload.until("halfway and after the kill").await;
    reload.send(":wqa\r").await;
    reload.until("after vim").await;
    assert!(reload.text().contains("before vim"), "what vim had covered: {}", reload.text());
    assert!(!reload.emulator.is_alternate());
    assert_exact(&scene, pty, "after vim").await;
    let saved = std::fs::read_to_string(scene.root().join("code.rs")).unwrap();
    assert!(saved.contains("halfway and after the kill") && saved.contains("before the kill"));
    scene.close(pty).await;
}

/// Draws all the time, with everything that full-screen programs use: the alternate screen,
/// colours, the set of lines, a part that scrolls, a hidden cursor.
const PAINTER: &str = r#"
stty -echo
printf '\033[?1049h\033[?25l\033[2J\033[3;20r\033(0'
printf '\033[1;1Hlqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqk\033[22;1Hmqqqqqqqqqqqqqqqqqqqqqqqqj\033(B'
n=0
while [ $n -lt 100000 ]; do
  n=$((n + 1))
  printf '\033[2;3H\033[1;%dm cpu %3d%% \033[0m\033[48;5;%dm load %d.%d \033[0m' $((31 + n % 7)) $((n % 101)) $((n % 256)) $((n % 9)) $((n % 10))
  printf '\033[20;1H\n\033[%d;38;2;%d;%d;80m%6d task-%d\033[0m\033[K' $((n % 10)) $((n % 256)) $((n * 7 % 256)) $n $n
  printf '\033[24;1H\0337\033[7mF1 Help F10 Quit %d\033[27m\0338' $n
  [ $((n % 50)) -ne 0 ] || sleep 0.02
done
"#;

#[tokio::test]
async fn a_program_that_draws_all_the_time_looks_the_same_at_every_offset_through_kills() {
    let mut scene = Scene::new();
    std::fs::write(scene.root().join("painter"), PAINTER).unwrap();
    let painter = argv(&scene, &["sh", "painter"]);
    let pty = scene.open(&painter).await.pty_id;
    scene.attach(pty, "me", WriteWish::IfFree).await.until("task-40").await;
    for round in 0..4 {
        scene.kill();
        scene.start_again();
        let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
        let wanted = PtySize::clamped(81 + i64::from(round), 24);
        viewer.say(&PtySay::Resize { size: wanted }).await;
        // A replay up to an offset cannot tell whether a size that changed just there is in it.
        viewer.item(|item| matches!(item, PtyItem::Resized { size, .. } if *size == wanted)).await;
        viewer.until_offset(viewer.offset + 20_000).await;
        assert!(viewer.emulator.is_alternate() && !viewer.emulator.is_cursor_visible());
        let replayed = replayed(&scene, pty, viewer.offset).await;
        assert_same(&viewer.emulator, &replayed, &format!("live, round {round}"));
        assert_exact(&scene, pty, &format!("shown, round {round}")).await;
    }
    scene.close(pty).await;
}

#[tokio::test]
async fn top_looks_the_same_after_a_kill() {
    if !has("top") {
        return;
    }
    let mut scene = Scene::new();
    let top = argv(&scene, &["top", "-d", "0.3"]);
    let pty = scene.open(&top).await.pty_id;
    let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
    viewer.until("PID").await;
    viewer.send("1").await; // each processor by itself
    let offset = viewer.offset;
    viewer.until_offset(offset + 3_000).await;
    scene.kill();
    scene.start_again();
    assert_exact(&scene, pty, "after the kill").await;
    let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
    viewer.until("PID").await;
    viewer.send("q").await;
    assert_eq!(exit_of(&viewer.end().await), Exit::Code { code: 0 });
}

#[tokio::test]
async fn a_scrollback_of_200_000_lines_survives_a_kill_in_its_middle() {
    const LINES: usize = 200_000;
    let mut scene = Scene::new();
    let command = format!(
        "seq -f 'line %.0f' 1 {}; echo half; read go < gate; seq -f 'line %.0f' {} {LINES}; cat",
        LINES / 2,
        LINES / 2 + 1
    );
    nix::unistd::mkfifo(&scene.root().join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pty = scene.shell(&command).await;
    let fast = |pty: PtyId| AttachPty {
        skip_behind_bytes: Some(64 * 1024),
        ..request(pty, "me", WriteWish::IfFree)
    };
    scene.attach_as(fast(pty)).await.unwrap().until("half").await;
    // The second half begins, and the daemon is killed somewhere in it.
    std::fs::write(scene.root().join("gate"), "go\n").unwrap();
    let half = scene.get(pty).await.output_total;
    scene.kill();
    scene.start_again();
    let mut viewer = scene.attach_as(fast(pty)).await.unwrap();
    viewer.until(&format!("line {LINES}")).await;
    assert_exact(&scene, pty, "at the end").await;
    let mut expected = String::new();
    for n in 1..=LINES / 2 {
        write!(expected, "line {n}\r\n").unwrap();
    }
    expected.push_str("half\r\n");
    assert!(half >= expected.len() as u64);
    for n in LINES / 2 + 1..=LINES {
        write!(expected, "line {n}\r\n").unwrap();
    }
    let output = scene.output(pty).await;
    assert!(output == expected.as_bytes(), "{} of {} bytes", output.len(), expected.len());
    let from = AttachFrom::Screen { scrollback_lines: 10_000 };
    let above = AttachPty { from, ..request(pty, "above", WriteWish::Never) };
    let above = scene.attach_as(above).await.unwrap();
    let above: Vec<String> = above.emulator.scrollback().map(|row| row.text()).collect();
    assert_eq!(above.len(), 10_000);
    // 24 rows: 23 lines and the one with the cursor.
    assert_eq!(above[9_999], format!("line {}", LINES - 23));
    assert_eq!(above[0], format!("line {}", LINES - 23 - 9_999));
    scene.close(pty).await;
}

/// P20, the terminals of it: each prints numbered lines and writes them to a file of its own.
#[tokio::test]
async fn p20_terminals_outlive_a_daemon_that_is_killed() {
    let (terminals, kills) = (trials(8, 40), trials(4, 50));
    let mut scene = Scene::new();
    let mut ptys = Vec::new();
    for n in 0..terminals {
        let command = format!(
            "stty -onlcr -echo; printf '\\033[?2004h\\033[3{color}m'; i=0; \
             while [ ! -e stop ]; do i=$((i + 1)); echo \"terminal {n} line $i\"; \
             echo \"terminal {n} line $i\" >> own.{n}; \
             [ $((i % 4)) -ne 0 ] || sleep {pause}; done; exit {n}",
            color = n % 8,
            // All of them together print about as much, however many there are.
            pause = 0.002 * terminals as f64,
        );
        ptys.push(scene.shell(&command).await);
    }
    let mut times = Vec::new();
    let mut seed = 7_u64;
    for kill in 0..kills {
        // Somewhere in the middle of the output, each time elsewhere.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pty = ptys[usize::try_from(seed >> 33).unwrap() % ptys.len()];
        let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
        let offset = viewer.offset;
        viewer.until_offset(offset + (seed >> 53)).await;
        scene.kill();
        if kill + 1 == kills {
            // All of them end while no daemon runs.
            std::fs::write(scene.root().join("stop"), "").unwrap();
            wait_until_ended(&ptys).await;
        }
        let start = tokio::time::Instant::now();
        scene.start_again();
        for pty in &ptys {
            scene.get(*pty).await;
        }
        times.push(start.elapsed());
    }
    let (mut lost, mut wrong, mut different) = (0, 0, 0);
    for (n, pty) in ptys.iter().enumerate() {
        let view = scene.get(*pty).await;
        match view.state {
            ProcessState::Exited { exit: Exit::Code { code }, .. } if code as usize == n => {}
            ProcessState::Exited { .. } => wrong += 1,
            _ => lost += 1,
        }
        let own = std::fs::read(scene.root().join(format!("own.{n}"))).unwrap();
        let output = scene.output(*pty).await;
        let begin = format!("\x1b[?2004h\x1b[3{}m", n % 8);
        let is_same = output.strip_prefix(begin.as_bytes()) == Some(&own[..]);
        different += usize::from(!is_same);
        assert_exact(&scene, *pty, &format!("terminal {n}")).await;
    }
    let times: Distribution = times.into_iter().collect();
    println!(
        "P20: terminals {terminals}, kills {kills}, lost {lost}, exits wrong {wrong}, \
         output different {different}, screens different 0, served and all adopted: {times}"
    );
    assert_eq!((lost, wrong, different), (0, 0, 0));
}

async fn wait_until_ended(ptys: &[PtyId]) {
    let marks: Vec<String> = ptys.iter().map(|pty| format!("HOLDFAST_PTY_ID={pty}")).collect();
    seen("all have ended", || marked(&marks).next().is_none().then_some(())).await;
}

/// P30, the terminals of it.
#[tokio::test]
async fn p30_terminals_opened_and_closed_leave_nothing_behind() {
    let count = trials(40, 1_000);
    let scene = Scene::new();
    let once = |n: usize| {
        let scene = &scene;
        async move {
            let pty = scene.shell("echo open; cat").await;
            let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
            viewer.until("open").await;
            if n.is_multiple_of(2) {
                viewer.send("\x04").await;
                viewer.end().await;
            } else {
                scene.close(pty).await;
                viewer.end().await;
            }
        }
    };
    for n in 0..10 {
        once(n).await;
    }
    let pid = scene.daemon().pid();
    let before = usage(pid);
    for n in 0..count {
        once(n).await;
    }
    // The last keepers and streams may just be going.
    let after = seen("keepers and streams are gone", || {
        let now = usage(pid);
        let are_gone = now.zombies == 0 && now.keepers == 0 && now.fds <= before.fds + 5;
        are_gone.then_some(now)
    })
    .await;
    println!(
        "P30: terminals {count}, descriptors {} then {}, zombies {}, keepers left {}, \
         resident {} KiB then {} KiB",
        before.fds, after.fds, after.zombies, after.keepers, before.rss_kib, after.rss_kib
    );
    assert_eq!((after.zombies, after.keepers), (0, 0));
    assert!(after.fds <= before.fds + 5);
    // Records of what has ended are kept, less than a KiB each.
    assert!(after.rss_kib <= before.rss_kib * 105 / 100 + 1_024 + count as u64);
}

struct Used {
    fds: usize,
    zombies: usize,
    keepers: usize,
    rss_kib: u64,
}

fn usage(pid: u32) -> Used {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss_kib = rss.trim().trim_end_matches(" kB").parse().unwrap();
    let below = below(pid);
    let state = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (name, rest) = stat.rsplit_once(") ").unwrap_or_default();
        (name.rsplit_once('(').map_or("", |(_, name)| name).to_owned(), rest.starts_with('Z'))
    };
    let states: Vec<(String, bool)> = below.iter().map(state).collect();
    let zombies = states.iter().filter(|(_, is_zombie)| *is_zombie).count();
    let keepers = states.iter().filter(|(name, _)| name == "agentd-keeper").count();
    Used { fds, zombies, keepers, rss_kib }
}

/// Everything beneath a process.
fn below(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut next = vec![pid];
    while let Some(pid) = next.pop() {
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
            for child in children {
                all.push(child);
                next.push(child);
            }
        }
    }
    all
}
