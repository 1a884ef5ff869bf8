//! Terminals at the wire: open, look, type, take over, resize, search, record, close.
//! `docs/design/011-pty.md`.

mod bench;

use bench::terminals::{Call, Scene, assert_same, exit_of, marked, request};
use shared::limits::{PTY_INPUT_MAX_BYTES, PTY_VIEWERS_MAX};
use shared::protocol::process::{Exit, ListProcesses, ProcessState, Program};
use shared::protocol::pty::{
    AttachFrom, AttachPty, ListPtys, OpenPty, PtyItem, PtyMatches, PtySay, PtySize, PtyView,
    RecordPty, RecordingFormat, ResizePty, SearchPty, WritePty, WriteWish,
};
use shared::wire::{Frame, FrameKind};

/// Not a test by itself: the child that `Served::start` starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

fn is_taken(seq: u64) -> impl Fn(&PtyItem) -> bool {
    move |item| matches!(item, PtyItem::Taken { seq: taken } if *taken >= seq)
}

fn is_refused(code: &'static str) -> impl Fn(&PtyItem) -> bool {
    move |item| matches!(item, PtyItem::Refused { error, .. } if error.code == code)
}

#[tokio::test]
async fn a_login_shell_is_opened_typed_into_and_ends() {
    let scene = Scene::new();
    let request = OpenPty { program: None, ..scene.request("") };
    let view = scene.open(&request).await;
    assert_eq!((view.state.clone(), view.size), (ProcessState::Running, PtySize::default()));
    let mut viewer = scene.attach(view.pty_id, "me", WriteWish::IfFree).await;
    assert!(viewer.head.is_writer);
    viewer.send("echo term=$TERM tty=$(tty | cut -c1-8) pty=$HOLDFAST_PTY_ID\n").await;
    viewer.until(&format!("term=xterm-256color tty=/dev/pts pty={}", view.pty_id)).await;
    viewer.send("stty size; exit 7\n").await;
    viewer.until("24 80").await;
    let ended = viewer.end().await;
    assert_eq!(exit_of(&ended), Exit::Code { code: 7 });
    let list = scene.ask(&ListPtys::default()).await.unwrap();
    assert_eq!((list.total, list.items[0].pty_id), (1, view.pty_id));
    let processes = scene.ask(&ListProcesses::default()).await.unwrap();
    assert_eq!(processes.total, 0, "it is no plain process");
    // What has ended is still looked at.
    let late = scene.attach(view.pty_id, "late", WriteWish::IfFree).await;
    assert_same(&late.emulator, &viewer.emulator, "after the end");
}

#[tokio::test]
async fn the_same_open_is_one_terminal_and_another_with_its_id_is_refused() {
    let scene = Scene::new();
    let request = scene.request("cat");
    let op = scene.op();
    let one: PtyView = scene.daemon().call(op, &request).await.unwrap();
    let two: PtyView = scene.daemon().call(op, &request).await.unwrap();
    assert_eq!((one.pty_id, one.started_at_ms), (two.pty_id, two.started_at_ms));
    let other = scene.ask(&request).await.unwrap_err();
    assert_eq!(other.code, "operation_conflict");
    let closed = scene.close(one.pty_id).await;
    assert_eq!(exit_of(&closed), Exit::Signal { signal: 1, core: false }, "a hang-up ends it");
}

#[tokio::test]
async fn one_viewer_writes_and_the_role_is_taken_over_and_comes_back() {
    let scene = Scene::new();
    let pty = scene.shell("stty -echo; cat").await;
    let mut a = scene.attach(pty, "a", WriteWish::IfFree).await;
    let mut b = scene.attach(pty, "b", WriteWish::IfFree).await;
    assert_eq!((a.head.is_writer, b.head.is_writer), (true, false));
    b.send("from b, who may not\n").await;
    b.item(is_refused("read_only")).await;
    a.send("from a\n").await;
    a.until("from a").await;
    b.until("from a").await;

    b.say(&PtySay::Take).await;
    let told = a.item(|item| matches!(item, PtyItem::Writer { .. })).await;
    assert_eq!(told, PtyItem::Writer { viewer: Some("b".to_owned()), is_you: false });
    b.item(|item| matches!(item, PtyItem::Writer { is_you: true, .. })).await;
    a.send("from a, too late\n").await;
    a.item(is_refused("read_only")).await;
    b.send("from b\n").await;
    a.until("from b").await;
    let refused = scene.ask(&WritePty { pty_id: pty, data: b"x".to_vec() }).await.unwrap_err();
    assert_eq!(refused.code, "read_only");

    // A stream that breaks keeps the role for its viewer; one that ends gives it up.
    b.call.sink.write(&Frame::raw(vec![0])).await.unwrap();
    while b.next().await.is_some() {}
    assert_eq!(scene.get(pty).await.writer, Some("b".to_owned()));
    let b = scene.attach(pty, "b", WriteWish::IfFree).await;
    assert!(b.head.is_writer, "it is its own again");
    assert_eq!(b.head.taken_seq, 2, "what was taken is known");
    b.detach().await;
    a.item(|item| matches!(item, PtyItem::Writer { viewer: None, .. })).await;
    scene.ask(&WritePty { pty_id: pty, data: b"by a call\n".to_vec() }).await.unwrap();
    a.until("by a call").await;
    let text = a.text();
    assert!(!text.contains("may not") && !text.contains("too late"), "{text}");
    scene.close(pty).await;
}

#[tokio::test]
async fn a_viewer_that_comes_back_takes_its_own_place_and_types_nothing_twice() {
    let scene = Scene::new();
    let pty = scene.shell("stty -echo; cat > typed").await;
    let mut old = scene.attach(pty, "tab", WriteWish::IfFree).await;
    let seq = old.send("one\n").await;
    old.item(is_taken(seq)).await;
    // The old stream is still open: its network is gone and nobody has noticed.
    let mut new = scene.attach(pty, "tab", WriteWish::IfFree).await;
    assert_eq!((new.head.is_writer, new.head.taken_seq), (true, seq));
    old.item(|item| *item == PtyItem::Replaced).await;
    assert!(old.next().await.is_none());
    new.seq = 0;
    let again = new.send("one\n").await;
    assert_eq!(again, 1);
    let two = new.send("two\n").await;
    new.item(is_taken(two)).await;
    new.send([4]).await; // the end of the input
    new.end().await;
    let typed = std::fs::read_to_string(scene.root().join("typed")).unwrap();
    assert_eq!(typed, "one\ntwo\n");
    let view = scene.get(pty).await;
    assert_eq!(view.viewers, 0);
}

#[tokio::test]
async fn sizes_are_told_where_they_took_effect() {
    let scene = Scene::new();
    let command = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let pty = scene.shell(command).await;
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    viewer.until("ready").await;
    viewer.say(&PtySay::Resize { size: PtySize::clamped(100, 30) }).await;
    viewer.until("30 100").await;
    let resized = viewer.items.iter().find(|item| matches!(item, PtyItem::Resized { .. }));
    let Some(PtyItem::Resized { offset, size }) = resized else { panic!("{:?}", viewer.items) };
    assert_eq!(
        (*offset, *size),
        (7, PtySize::clamped(100, 30)),
        "after `ready` and before the rest"
    );
    let view = scene.ask(&ResizePty { pty_id: pty, size: PtySize::clamped(120, 0) }).await.unwrap();
    assert_eq!(view.size, PtySize::clamped(120, 1), "and it is clamped");
    // One row shows nothing of a line that was ended.
    while !viewer.bytes.ends_with(b"1 120\r\n") {
        viewer.next().await.expect("it goes on");
    }
    let other = scene.attach(pty, "b", WriteWish::Never).await;
    assert_eq!(other.emulator.size(), PtySize::clamped(120, 1));
    // The window of one who only watches is nobody's business.
    let mut other = other;
    other.say(&PtySay::Resize { size: PtySize::clamped(10, 10) }).await;
    other.say(&PtySay::Input { seq: 1, data: b"x".to_vec() }).await;
    other.item(is_refused("read_only")).await;
    assert_eq!(scene.get(pty).await.size, PtySize::clamped(120, 1));
    scene.close(pty).await;
}

#[tokio::test]
async fn a_viewer_begins_at_an_offset_or_with_a_screen_and_what_is_above() {
    let scene = Scene::new();
    let pty = scene.shell("for n in $(seq 1 500); do echo line $n; done; cat").await;
    let mut live = scene.attach(pty, "live", WriteWish::Never).await;
    live.until("line 500").await;
    let replay =
        AttachPty { from: AttachFrom::Offset { offset: 0 }, ..request(pty, "r", WriteWish::Never) };
    let mut replay = scene.attach_as(replay).await.unwrap();
    assert_eq!((replay.head.offset, replay.head.screen), (0, None));
    assert_eq!(replay.head.live_from, live.offset);
    replay.until_offset(live.offset).await;
    assert_same(&replay.emulator, &live.emulator, "replayed");
    assert_eq!(replay.bytes, scene.output(pty).await);

    let from = AttachFrom::Screen { scrollback_lines: 300 };
    let with_above = AttachPty { from, ..request(pty, "s", WriteWish::Never) };
    let with_above = scene.attach_as(with_above).await.unwrap();
    assert_same(&with_above.emulator, &live.emulator, "with what is above");
    let above: Vec<String> = with_above.emulator.scrollback().map(|row| row.text()).collect();
    let first = 500 - 23 - 300 + 1;
    let expected: Vec<String> = (first..first + 300).map(|n| format!("line {n}")).collect();
    assert_eq!(above, expected);
    scene.close(pty).await;
}

#[tokio::test]
async fn a_viewer_that_does_not_read_is_skipped_ahead_and_harms_nobody() {
    let scene = Scene::new();
    let pty = scene.shell("stty -echo -onlcr; read go; seq 1 300000; echo the end; cat").await;
    let slow =
        AttachPty { skip_behind_bytes: Some(64 * 1024), ..request(pty, "slow", WriteWish::Never) };
    let mut slow = scene.attach_as(slow).await.unwrap();
    let mut fast = scene.attach(pty, "fast", WriteWish::IfFree).await;
    fast.send("\n").await;
    // The slow one has read nothing by then.
    fast.until("the end").await;
    slow.until("the end").await;
    let dropped = |item: &&PtyItem| matches!(item, PtyItem::Dropped { .. });
    assert_eq!(fast.items.iter().filter(dropped).count(), 0);
    assert!(slow.items.iter().filter(dropped).count() >= 1, "{:?}", slow.items);
    assert!(
        slow.bytes.len() < fast.bytes.len() / 2,
        "{} of {}",
        slow.bytes.len(),
        fast.bytes.len()
    );
    assert_same(&slow.emulator, &fast.emulator, "skipped ahead");
    scene.close(pty).await;
}

#[tokio::test]
async fn a_large_paste_is_held_back_until_the_program_reads_and_arrives_whole() {
    let scene = Scene::new();
    // Raw, so that the terminal's own line limit does not cut it.
    let command = "stty raw -echo; echo ready; read -r go < gate; head -c 4000000 | sha256sum";
    let gate = scene.root().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pty = scene.shell(command).await;
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    viewer.until("ready").await;
    let paste: Vec<u8> = (0..4_000_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    let expected = {
        use std::io::Write;
        let mut child = std::process::Command::new("sha256sum")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&paste).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let chunks: Vec<Vec<u8>> = paste.chunks(PTY_INPUT_MAX_BYTES).map(<[u8]>::to_vec).collect();
    let last = chunks.len() as u64;
    // While nobody reads, little is taken: the rest waits at its sender.
    let mut says = chunks.into_iter().zip(1_u64..).map(|(data, seq)| PtySay::Input { seq, data });
    let sent = async {
        let mut sent = 0;
        for say in says.by_ref() {
            let frame = Frame::message(&say);
            let written = viewer.call.sink.write(&frame);
            if tokio::time::timeout(std::time::Duration::from_millis(300), written).await.is_err() {
                break;
            }
            sent += 1;
        }
        sent
    }
    .await;
    assert!(sent < 20, "{sent} pieces of 64 KiB went out before anybody read");
    // The cut frame makes this stream useless, as a network that is gone would.
    drop(viewer);
    std::fs::write(&gate, "go\n").unwrap();
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    let taken = viewer.head.taken_seq;
    let rest: Vec<(u64, Vec<u8>)> = paste
        .chunks(PTY_INPUT_MAX_BYTES)
        .map(<[u8]>::to_vec)
        .zip(1_u64..)
        .map(|(data, seq)| (seq, data))
        .filter(|(seq, _)| *seq > taken)
        .collect();
    for (seq, data) in rest {
        viewer.say(&PtySay::Input { seq, data }).await;
    }
    viewer.until(expected.trim()).await;
    // Said after the program had it, so it may come after what the program said.
    let is_last = |item: &PtyItem| matches!(item, PtyItem::Taken { seq } if *seq == last);
    if viewer.head.taken_seq < last && !viewer.items.iter().any(is_last) {
        viewer.item(is_last).await;
    }
}

/// The answer waits a moment for an echo, and not for one that never comes.
#[tokio::test]
async fn what_is_typed_unseen_is_answered_and_what_is_seen_is_shown_once() {
    let scene = Scene::new();
    let pty =
        scene.shell("stty -echo; echo ready; head -n 20 >seen; stty echo; echo now; cat").await;
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    viewer.until("ready").await;
    let before = viewer.bytes.len();
    for _ in 0..20 {
        let seq = viewer.send("unseen\n").await;
        viewer.item(is_taken(seq)).await;
    }
    viewer.until("now").await;
    assert_eq!(viewer.bytes[before..], *b"now\r\n");
    for key in "abcdefghij".chars() {
        let seq = viewer.send(key.to_string()).await;
        viewer.item(is_taken(seq)).await;
    }
    viewer.until("abcdefghij").await;
    assert_eq!(viewer.bytes[before..], *b"now\r\nabcdefghij");
    assert_eq!(scene.output(pty).await, viewer_output(&viewer), "and so it stands in the log");
    scene.close(pty).await;
}

/// What a viewer that came at the beginning was told, before which nothing was dropped.
fn viewer_output(viewer: &bench::terminals::Viewer) -> Vec<u8> {
    let missed = usize::try_from(viewer.head.offset).unwrap();
    [b"ready\r\n"[..missed].to_vec(), viewer.bytes.clone()].concat()
}

/// A flood is collected before it is told; a size is noted behind all that was written for the last.
#[tokio::test]
async fn a_size_in_a_flood_stands_behind_what_was_written_before() {
    let scene = Scene::new();
    // Says the size that it wrote for at the end of each line, as the program saw it.
    let command = "stty -echo; trap 'set -- $(stty size)' WINCH; set -- 24 80; echo ready; read go; \
                   n=0; while [ $n -lt 10000 ]; do printf '%0400d %s\\n' $n $2; n=$((n+1)); done; echo done; cat";
    let pty = scene.shell(command).await;
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    viewer.until("ready").await;
    viewer.send("\n").await;
    for cols in [90, 100, 110] {
        let size = PtySize::clamped(cols, 30);
        viewer.say(&PtySay::Resize { size }).await;
        viewer
            .item(|item| matches!(item, PtyItem::Resized { size: told, .. } if *told == size))
            .await;
    }
    viewer.until("done").await;
    let sizes: Vec<(u64, u16)> = viewer
        .items
        .iter()
        .filter_map(|item| match item {
            PtyItem::Resized { offset, size } => Some((*offset, size.cols())),
            _ => None,
        })
        .collect();
    let output = scene.output(pty).await;
    // A line that names a size was written after the size was set.
    for (offset, cols) in sizes.into_iter().filter(|(_, cols)| *cols > 80) {
        let named = format!(" {cols}\r\n");
        let first = output.windows(named.len()).position(|text| text == named.as_bytes());
        assert!(first.is_none_or(|at| at as u64 >= offset), "{cols} at {first:?}, set at {offset}");
    }
    let lines = output.split(|byte| *byte == b'\n').filter(|line| line.len() > 400).count();
    assert_eq!(lines, 10_000, "and no line is lost");
    scene.close(pty).await;
}

#[tokio::test]
async fn a_search_finds_counts_and_pages_backwards() {
    let scene = Scene::new();
    let command = "for n in $(seq 1 1000); do printf '\\033[3%dmline %d\\033[0m of Many\\n' \
                   $((n % 8)) $n; done; printf 'progress 1\\rprogress 2'; cat";
    let pty = scene.shell(command).await;
    scene.attach(pty, "a", WriteWish::Never).await.until("progress 2").await;
    let search = |pattern: &str| SearchPty {
        pty_id: pty,
        pattern: pattern.to_owned(),
        ignore_case: false,
        context: 0,
        limit: 10,
        before: None,
    };
    let found: PtyMatches = scene.ask(&search("line 9[0-9]{2} of")).await.unwrap();
    assert_eq!((found.total, found.matches.len(), found.dropped_bytes), (100, 10, 0));
    let texts: Vec<&str> = found.matches.iter().map(|found| found.text.as_str()).collect();
    assert_eq!((texts[0], texts[9]), ("line 990 of Many", "line 999 of Many"), "the last ones");
    assert_eq!((found.matches[0].line, &found.matches[0].ranges[..]), (989, &[(0, 11)][..]));
    let before = SearchPty { before: Some(found.matches[0].offset), ..search("line 9[0-9]{2} of") };
    let earlier: PtyMatches = scene.ask(&before).await.unwrap();
    assert_eq!(earlier.matches[9].text, "line 989 of Many");
    // The offset leads to the line in the output.
    let output = scene.output(pty).await;
    let at = usize::try_from(found.matches[0].offset).unwrap();
    assert!(output[at..].starts_with(b"\x1b[36mline 990"));
    let context = SearchPty { context: 2, ignore_case: true, ..search("LINE 500 ") };
    let found: PtyMatches = scene.ask(&context).await.unwrap();
    assert_eq!(found.matches[0].before, ["line 498 of Many", "line 499 of Many"]);
    assert_eq!(found.matches[0].after, ["line 501 of Many", "line 502 of Many"]);
    let overwritten: PtyMatches = scene.ask(&search("progress")).await.unwrap();
    assert_eq!(overwritten.matches[0].text, "progress 2", "what was overwritten is gone");
    for (bad, code) in [("(", "invalid_pattern"), (&"x".repeat(5_000), "pattern_too_long")] {
        assert_eq!(scene.ask(&search(bad)).await.unwrap_err().code, code);
    }
    scene.close(pty).await;
}

async fn recording(scene: &Scene, request: &RecordPty) -> Vec<serde_json::Value> {
    let mut call = Call::begin(scene, request).await;
    let head = call.reply::<RecordPty>().await.unwrap();
    assert_eq!(head.media_type, "application/x-asciicast");
    let mut text = Vec::new();
    while let Some(frame) = call.frame().await {
        assert_eq!(frame.kind, FrameKind::Raw);
        text.extend_from_slice(&frame.body);
    }
    let lines = String::from_utf8(text).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_recording_has_every_byte_with_its_time_and_its_size() {
    let scene = Scene::new();
    let command = "printf 'caf\\303'; sleep 0.1; printf '\\251\\r\\n'; read go; echo end; cat";
    let pty = scene.shell(command).await;
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    viewer.until("café").await;
    viewer.say(&PtySay::Resize { size: PtySize::clamped(99, 33) }).await;
    let resized = viewer.item(|item| matches!(item, PtyItem::Resized { .. })).await;
    let PtyItem::Resized { offset, .. } = resized else { unreachable!() };
    viewer.send("\n").await;
    viewer.until("end").await;
    let v2 = RecordPty { pty_id: pty, format: RecordingFormat::AsciicastV2, offset: None };
    let lines = recording(&scene, &v2).await;
    let head = &lines[0];
    assert_eq!(
        (&head["version"], &head["width"], &head["height"]),
        (&2.into(), &80.into(), &24.into())
    );
    assert_eq!(head["env"]["TERM"], "xterm-256color");
    let of = |code: &str| lines[1..].iter().filter(|line| line[1] == code).collect::<Vec<_>>();
    let text: String = of("o").iter().map(|line| line[2].as_str().unwrap()).collect();
    assert_eq!(text.as_bytes(), scene.output(pty).await);
    assert_eq!(of("r").iter().map(|line| &line[2]).collect::<Vec<_>>(), ["99x33"]);
    let times: Vec<f64> = lines[1..].iter().map(|line| line[0].as_f64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    assert!(times.last().unwrap() - times[0] >= 0.09, "the pause is in it: {times:?}");

    let v3 = RecordPty { format: RecordingFormat::AsciicastV3, offset: Some(offset), ..v2 };
    let lines = recording(&scene, &v3).await;
    assert_eq!((&lines[0]["version"], &lines[0]["term"]["cols"]), (&3.into(), &99.into()));
    assert!(lines[1][2].as_str().unwrap().contains("café"), "it begins with what was there");
    scene.close(pty).await;
}

#[tokio::test]
async fn the_signals_of_a_terminal_reach_what_runs_in_its_foreground() {
    let scene = Scene::new();
    let request = OpenPty {
        program: Some(Program::Argv { argv: vec!["bash".into(), "--norc".into(), "-i".into()] }),
        ..scene.request("")
    };
    let pty = scene.open(&request).await.pty_id;
    let mut viewer = scene.attach(pty, "a", WriteWish::IfFree).await;
    // Once it says so it is in the foreground; and it starts nothing: a shell keeps an interrupt that
    // comes while it starts a program until that program has ended.
    viewer.send("PS1='sh''ell>'; sh -c 'echo in the fore\"\"ground; read never'\n").await;
    viewer.until("in the foreground").await;
    viewer.send([3]).await;
    // An interrupt throws away what is typed behind it: only a prompt says that the shell has it.
    viewer.until("shell>").await;
    viewer.send("nohup sh -c 'echo in the back\"\"ground > /dev/tty; sleep 1000' &\n").await;
    viewer.until("in the background").await;
    // Also what ignores the hang-up goes.
    let closed = scene.ask(&shared::protocol::pty::ClosePty { pty_id: pty, grace_ms: 100 }).await;
    assert!(matches!(closed.unwrap().state, ProcessState::Exited { .. }));
    assert_eq!(marked(&[format!("HOLDFAST_PTY_ID={pty}")]).count(), 0);
}

#[tokio::test]
async fn one_viewer_more_than_the_limit_is_refused() {
    let scene = Scene::new();
    let pty = scene.shell("cat").await;
    let mut viewers = Vec::new();
    for n in 0..PTY_VIEWERS_MAX {
        viewers.push(scene.attach(pty, &format!("v{n}"), WriteWish::Never).await);
    }
    let more = scene.attach_as(request(pty, "more", WriteWish::Take)).await;
    assert_eq!(more.err().unwrap().code, "too_many_viewers");
    assert_eq!(scene.get(pty).await.viewers as usize, PTY_VIEWERS_MAX);
    viewers.pop().unwrap().detach().await;
    scene.attach(pty, "more", WriteWish::Never).await;
    scene.close(pty).await;
}
