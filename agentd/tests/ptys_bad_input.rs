//! Rows B78 to B81 of the catalogue of bad input, and what a screen makes of hostile bytes.

mod bench;

use agentd::pty::emulator::{Emulator, Row};
use bench::Table;
use bench::terminals::{Call, Scene, assert_exact, exit_of, request};
use shared::limits::PTY_VIEWERS_MAX;
use shared::protocol::process::{Exit, ProcessState, Program};
use shared::protocol::pty::{
    AttachPty, OpenPty, PtyItem, PtySay, PtySize, PtyView, ResizePty, WritePty, WriteWish,
};
use shared::testing::trials;

/// Not a test by itself: the child that `Served::start` starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

/// A request whose size is whatever a caller may write there.
fn with_size(request: &OpenPty, cols: i64, rows: i64) -> OpenPty {
    let mut value = serde_json::to_value(request).unwrap();
    value["size"] = serde_json::json!({"cols": cols, "rows": rows});
    shared::wire::decode(&shared::wire::encode(&value)).unwrap()
}

#[tokio::test]
async fn b78_sizes_are_clamped_and_many_of_them_are_few() {
    let scene = Scene::new();
    let mut table = Table::new("B78");
    for (cols, rows, expected) in [
        (0, 0, (1, 1)),
        (65_535, 65_535, (1_000, 1_000)),
        (-1, -80, (1, 1)),
        (i64::MAX, i64::MIN, (1_000, 1)),
        (132, 43, (132, 43)),
    ] {
        let view = scene.open(&with_size(&scene.request("stty size; cat"), cols, rows)).await;
        let size = (view.size.cols(), view.size.rows());
        table.row(format!("B78 opened with {cols} × {rows}"), size, expected);
        let mut viewer = scene.attach(view.pty_id, "me", WriteWish::IfFree).await;
        let told = format!("{} {}\r\n", expected.1, expected.0);
        let mut all = scene.output(view.pty_id).await;
        while !all.ends_with(told.as_bytes()) {
            viewer.next().await.expect("it goes on");
            all = scene.output(view.pty_id).await;
        }
        table.row(format!("B78 and the program sees {told:?}"), true, true);
        scene.close(view.pty_id).await;
    }

    let command = "trap 'n=$((n+1))' WINCH; trap 'echo saw $n; stty size' USR1; n=0; echo ready; \
                   while :; do sleep 0.01; done";
    let view = scene.open(&scene.request(command)).await;
    let mut viewer = scene.attach(view.pty_id, "me", WriteWish::IfFree).await;
    viewer.until("ready").await;
    for n in 0..1_000 {
        viewer.say(&PtySay::Resize { size: PtySize::clamped(20 + n % 100, 24) }).await;
    }
    viewer.say(&PtySay::Resize { size: PtySize::clamped(77, 33) }).await;
    viewer
        .item(|item| matches!(item, PtyItem::Resized { size, .. } if *size == PtySize::clamped(77, 33)))
        .await;
    let sizes = viewer.items.iter().filter(|item| matches!(item, PtyItem::Resized { .. })).count();
    table.row(format!("B78 1,000 sizes at once were {sizes}"), sizes <= 60, true);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(view.os_pid.unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
    viewer.until("33 77").await;
    table.row("B78 and the last one counts".to_owned(), true, true);
    scene.close(view.pty_id).await;
    table.finish();
}

/// What a hostile or broken program may write: each with what stands on the screen around it.
fn corpus() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    // Queries: each of them makes some terminal type an answer.
    for query in [
        "\x1b[c",
        "\x1b[0c",
        "\x1b[>c",
        "\x1b[>0c",
        "\x1b[=c",
        "\x1b[5n",
        "\x1b[6n",
        "\x1b[?6n",
        "\x1b[?15n",
        "\x1b[?25n",
        "\x1b[?26n",
        "\x1b[?53n",
        "\x1b[?62n",
        "\x1b[?63;1n",
        "\x1b[x",
        "\x1b[1x",
        "\x1bZ",
        "\x1b[?1$p",
        "\x1b[?2004$p",
        "\x1b[?2026$p",
        "\x1b[4$p",
        "\x1bP$qm\x1b\\",
        "\x1bP$qr\x1b\\",
        "\x1bP$q q\x1b\\",
        "\x1bP+q544e\x1b\\",
        "\x1bP+q436f\x1b\\",
        "\x1b]4;1;?\x07",
        "\x1b]4;255;?\x1b\\",
        "\x1b]10;?\x07",
        "\x1b]11;?\x1b\\",
        "\x1b]12;?\x07",
        "\x1b]17;?\x07",
        "\x1b]19;?\x07",
        "\x1b]52;c;?\x07",
        "\x1b]52;p;?\x1b\\",
        "\x1b[14t",
        "\x1b[15t",
        "\x1b[16t",
        "\x1b[18t",
        "\x1b[19t",
        "\x1b[20t",
        "\x1b[21t",
        "\x1b[11t",
        "\x1b[13t",
        "\x1b[?u",
        "\x1b[>q",
        "\x1b[>0q",
        "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\",
        "\x1b[1$w",
        "\x1b[2$w",
        "\x1b[?1;1;0S",
        "\x1b[+p",
        "\x1b[\"v",
        "\x1b[&u",
        "\x1b[12$y",
        "\x05",
    ] {
        all.push(query.as_bytes().to_vec());
    }
    // Strings: clipboard, titles, links, notifications, files, without end or nested.
    for text in [
        "\x1b]52;c;aGFybQ==\x07",
        "\x1b]52;;aGFybQ==\x1b\\",
        "\x1b]0;t\x07",
        "\x1b]2;\x1b\\",
        "\x1b]1;i\x07",
        "\x1b]8;;http://a/\x07link\x1b]8;;\x07",
        "\x1b]8;;javascript:x\x1b\\l\x1b]8;;\x1b\\",
        "\x1b]9;notify\x07",
        "\x1b]777;notify;a;b\x07",
        "\x1b]99;;kitty\x1b\\",
        "\x1b]1337;File=:AA==\x07",
        "\x1b]7;file:///etc\x07",
        "\x1b]133;A\x07",
        "\x1b]633;E;x\x07",
        "\x1b]104\x07",
        "\x1b]110\x07",
        "\x1b]50;font\x07",
        "\x1b]22;pointer\x07",
        "\x1b]l;\x07",
        "\x1b];\x07",
        "\x1b]\x07",
        "\x1bPq#0;2;0;0;0~\x1b\\",
        "\x1bP1;2;3|a/b\x1b\\",
        "\x1bP\x1bP\x1bP\x1b\\",
        "\x1bX sos \x1b\\",
        "\x1b^ pm \x1b\\",
        "\x1b_ apc \x1b\\",
        "\x1b]0;\x1b]2;nested\x07",
        "\x1bPtmux;\x1b\x1b[c\x1b\\",
        "\x1bk screen \x1b\\",
        "\u{9d}0;c1\u{9c}",
        "\u{90}q\u{9c}",
        "\u{9b}c",
    ] {
        all.push(text.as_bytes().to_vec());
    }
    // Sequences with what no terminal expects.
    for text in [
        "\x1b[99999999999999999999A",
        "\x1b[;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;m",
        "\x1b[:::::m",
        "\x1b[38;2;999;999;999m",
        "\x1b[38;5m",
        "\x1b[38m",
        "\x1b[58:2::1:2:3m",
        "\x1b[4:99m",
        "\x1b[0;0r",
        "\x1b[99;1r",
        "\x1b[5;5r",
        "\x1b[65535;65535H",
        "\x1b[0;0H",
        "\x1b[65535b",
        "\x1b[65535X",
        "\x1b[65535@",
        "\x1b[65535P",
        "\x1b[65535L",
        "\x1b[65535M",
        "\x1b[65535S",
        "\x1b[65535T",
        "\x1b[65535I",
        "\x1b[65535Z",
        "\x1b[?1049h\x1b[?1049h\x1b[?1049l",
        "\x1b[?47h\x1b[?1047l",
        "\x1b[?9999h",
        "\x1b[?1;2;3;4;5;6;7l\x1b[?7h",
        "\x1b[8;1;1t",
        "\x1b[8;65535;65535t",
        "\x1b[9;1t",
        "\x1b[3J",
        "\x1b[22;0t\x1b[23;0t",
        "\x1b#8",
        "\x1b#3",
        "\x1b%G",
        "\x1b%@",
        "\x1b(\x1b)",
        "\x1b \x1b",
        "\x1b[\x1b[\x1b[",
        "\x1b[1\x18",
        "\x1b]0;\x1a",
        "\x1b[1\x7fm",
        "\x1b[1\nm",
        "\x1b[!p",
        "\x1b[>4;2m",
        "\x1b[<u",
        "\x1b[>1u",
        "\x1b[=1;1u",
        "\x1b[?2026h",
        "\x1b[0*x",
        "\x0e\x0f",
        "\x1bN\x1bO",
        "\x1bn\x1bo\x0f",
        "\x1b|",
        "\x1b}",
        "\x1b~",
        "\x00\x00\x00",
        "\x7f\x7f",
    ] {
        all.push(text.as_bytes().to_vec());
    }
    // Not text at all.
    for bytes in [
        &b"\xff\xfe"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\x80\x9b\x9d",
        b"\xf0\x9f\x98",
        b"\xef\xbf\xbe",
        b"\xc2\x9b3",
        b"\xc2",
        b"\x1b\xc3\xa9",
        b"\x1b[\xc3\xa9m",
    ] {
        all.push(bytes.to_vec());
    }
    for text in [
        "\u{202e}rtl\u{202c}",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}",
        "\u{200d}\u{fe0f}",
        "👩‍👩‍👧‍👦",
        "\u{feff}",
    ] {
        all.push(text.as_bytes().to_vec());
    }
    all
}

#[tokio::test]
async fn b79_the_corpus_reaches_no_program_of_non_writers_and_no_screen_breaks() {
    let scene = Scene::new();
    let mut table = Table::new("B79");
    let corpus = corpus();
    table.row(format!("B79 {} sequences", corpus.len()), corpus.len() >= 120, true);
    let mut file = Vec::new();
    for (n, bytes) in corpus.iter().enumerate() {
        file.extend_from_slice(format!("<{n}>").as_bytes());
        file.extend_from_slice(bytes);
        file.extend_from_slice(format!("</{n}>\r\n").as_bytes());
    }
    file.extend_from_slice(b"\x1b\\\x18\x1bc\x1b[?1049lalive");
    std::fs::write(scene.root().join("corpus"), &file).unwrap();
    let pty = scene.shell("stty raw -echo; cat corpus; tee typed").await;
    let mut writer = scene.attach(pty, "writer", WriteWish::IfFree).await;
    let mut others = Vec::new();
    for name in ["b", "c"] {
        others.push(scene.attach(pty, name, WriteWish::IfFree).await);
    }
    writer.until("alive").await;
    let mut refused = 0;
    for viewer in &mut others {
        viewer.until("alive").await;
        // What their terminals would answer to each query.
        for reply in
            ["\x1b[?1;2c", "\x1b[24;80R", "\x1b]11;rgb:0000/0000/0000\x1b\\", "\x1bP1$r0m\x1b\\"]
        {
            viewer.send(reply).await;
            viewer.item(|item| matches!(item, PtyItem::Refused { error, .. } if error.code == "read_only")).await;
            refused += 1;
        }
    }
    table.row("B79 replies of those who only watch".to_owned(), refused, 8);
    writer.send("the writer").await;
    // What is taken lies in the terminal; what is shown was read.
    writer.until("the writer").await;
    scene.close(pty).await;
    let typed = std::fs::read_to_string(scene.root().join("typed")).unwrap();
    table.row("B79 bytes that reached the program".to_owned(), typed.as_str(), "the writer");
    assert_exact(&scene, pty, "after the corpus").await;

    // Each sequence by itself, cut at every byte, and each screen shown elsewhere.
    let size = PtySize::clamped(40, 10);
    for (n, bytes) in corpus.iter().enumerate() {
        let mut whole = Emulator::new(size);
        whole.feed(bytes);
        for at in 0..=bytes.len() {
            let mut cut = Emulator::new(size);
            cut.feed(&bytes[..at]);
            cut = shared::wire::decode(&shared::wire::encode(&cut)).unwrap();
            // A viewer that attaches in the middle of it, and sees the rest.
            let mut shown = Emulator::new(size);
            shown.feed(&cut.formatted());
            cut.feed(&bytes[at..]);
            shown.feed(&bytes[at..]);
            if cut != whole || shown.formatted() != whole.formatted() {
                table.row(
                    format!("B79 sequence {n} cut at {at}"),
                    cut.formatted(),
                    whole.formatted(),
                );
            }
        }
    }
    table.row("B79 every sequence cut at every byte".to_owned(), true, true);
    table.finish();
}

#[tokio::test]
async fn b79_a_title_without_end_costs_nothing_and_the_screen_recovers() {
    let scene = Scene::new();
    let mut table = Table::new("B79");
    let mib = trials(8, 100);
    for (name, start) in [("OSC", "]0;"), ("DCS", "P"), ("APC", "_"), ("CSI", "[")] {
        let command = format!(
            "stty -echo; printf 'before\\n\\033{start}'; head -c {mib}M /dev/zero | tr '\\0' '1'; \
             printf '\\033\\\\\\033[2J\\033[Hafter'; cat"
        );
        let pid = scene.daemon().pid();
        let before = rss_kib(pid);
        let pty = scene.shell(&command).await;
        let request = AttachPty {
            skip_behind_bytes: Some(1024 * 1024),
            ..request(pty, "me", WriteWish::IfFree)
        };
        let mut viewer = scene.attach_as(request).await.unwrap();
        viewer.until("after").await;
        let grown = rss_kib(pid).saturating_sub(before);
        table.row(format!("B79 {mib} MiB of {name}: {grown} KiB more"), grown < 12 * 1024, true);
        let shown = scene.screen(pty).await;
        table.row(format!("B79 after {name}"), shown.rows[0].as_str(), "after");
        let title = shown.pty.title.unwrap_or_default().len();
        table.row(format!("B79 title after {name}"), title <= 256, true);
        scene.close(pty).await;
    }
    table.finish();
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    rss.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn b80_writers_take_turns_viewers_are_counted_and_a_cut_sequence_is_whole_again() {
    let scene = Scene::new();
    let mut table = Table::new("B80");
    let pty = scene.shell("stty raw -echo; echo ready; tee typed").await;
    let mut a = scene.attach(pty, "a", WriteWish::IfFree).await;
    let mut b = scene.attach(pty, "b", WriteWish::IfFree).await;
    a.until("ready").await;
    // Both type at once, and take over in between: each piece arrives whole, or not at all.
    let mut expected = Vec::new();
    for round in 0..20 {
        let (writer, other, name) =
            if round % 2 == 0 { (&mut a, &mut b, 'a') } else { (&mut b, &mut a, 'b') };
        writer.say(&PtySay::Take).await;
        let text = format!("<{name}{round}>");
        let seq = writer.send(&text).await;
        writer.item(|item| matches!(item, PtyItem::Taken { seq: taken } if *taken == seq)).await;
        expected.push(text);
        other.send(format!("<not {round}>")).await;
        other
            .item(
                |item| matches!(item, PtyItem::Refused { error, .. } if error.code == "read_only"),
            )
            .await;
    }
    a.say(&PtySay::Take).await;
    let seq = a.send("").await;
    a.item(|item| matches!(item, PtyItem::Refused { seq: Some(n), .. } if *n == seq)).await;
    // What is taken lies in the terminal; what is shown was read.
    a.until(expected.last().unwrap()).await;
    let mut viewers = Vec::new();
    let mut refused = 0;
    for n in 0..1_000 {
        match scene.attach_as(request(pty, &format!("v{n}"), WriteWish::Never)).await {
            Ok(viewer) => viewers.push(viewer),
            Err(error) => {
                assert_eq!(error.code, "too_many_viewers");
                refused += 1;
            }
        }
    }
    table.row("B80 1,000 more viewers".to_owned(), refused, 1_000 - (PTY_VIEWERS_MAX - 2));
    drop(viewers);
    for bad in ["", "a b", "@op", &"x".repeat(65)] {
        let refused = scene.attach_as(request(pty, bad, WriteWish::Never)).await;
        table.row(
            format!("B80 viewer {bad:?}"),
            refused.err().unwrap().code.as_str(),
            "invalid_request",
        );
    }
    scene.close(pty).await;
    let typed = std::fs::read_to_string(scene.root().join("typed")).unwrap();
    table.row("B80 two writers at once".to_owned(), typed, expected.concat());

    // Detached in the middle of a sequence, attached again, and the rest comes.
    nix::unistd::mkfifo(&scene.root().join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let pty = scene.shell("printf 'x\\033[1;3'; read go < gate; printf '1mred'; cat").await;
    let mut first = scene.attach(pty, "me", WriteWish::IfFree).await;
    first.until("x").await;
    first.until_offset(6).await;
    first.detach().await;
    let mut again = scene.attach(pty, "me", WriteWish::IfFree).await;
    table.row("B80 attached in a sequence".to_owned(), again.offset, 6);
    std::fs::write(scene.root().join("gate"), "go\n").unwrap();
    again.until("red").await;
    let row = again.emulator.rows().next().map(Row::text).unwrap();
    table.row("B80 and the rest of it".to_owned(), row.as_str(), "xred");
    assert_exact(&scene, pty, "a sequence that was cut").await;
    scene.close(pty).await;
    table.finish();
}

#[tokio::test]
async fn b81_shells_that_are_missing_that_end_and_terminals_that_nobody_knows() {
    let scene = Scene::new();
    let mut table = Table::new("B81");
    std::fs::write(scene.root().join("text"), "no program").unwrap();
    let argv = |program: &str| OpenPty {
        program: Some(Program::Argv { argv: vec![program.to_owned()] }),
        ..scene.request("")
    };
    for (program, cause) in [
        ("/no/such/shell", "not_found"),
        ("no-such-shell", "not_found"),
        ("./text", "permission_denied"),
        ("/etc", "is_directory"),
    ] {
        let error = scene.ask(&argv(program)).await.unwrap_err();
        table.row(format!("B81 {program}"), error.code.as_str(), "spawn_failed");
        table.row(format!("B81 {program}: why"), error.details["cause"].as_str(), cause);
    }
    let error =
        scene.ask(&OpenPty { cwd: Some("nowhere".into()), ..argv("sh") }).await.unwrap_err();
    table.row("B81 no such directory".to_owned(), error.code.as_str(), "cwd_not_found");

    // It ends at once, all the same with all it said and with its exit.
    let view: PtyView = scene.open(&scene.request("printf said; exit 3")).await;
    let mut viewer = scene.attach(view.pty_id, "me", WriteWish::IfFree).await;
    let end = viewer.end().await;
    table.row("B81 a shell that ends at once".to_owned(), exit_of(&end), Exit::Code { code: 3 });
    table.row("B81 what it said".to_owned(), viewer.text().trim_end(), "said");
    let error =
        scene.ask(&WritePty { pty_id: view.pty_id, data: b"x".to_vec() }).await.unwrap_err();
    table.row("B81 typed after the end".to_owned(), error.code.as_str(), "exited");
    let size = PtySize::clamped(10, 10);
    let error = scene.ask(&ResizePty { pty_id: view.pty_id, size }).await.unwrap_err();
    table.row("B81 sized after the end".to_owned(), error.code.as_str(), "exited");
    let closed = scene.close(view.pty_id).await;
    table.row(
        "B81 closed after the end".to_owned(),
        matches!(closed.state, ProcessState::Exited { .. }),
        true,
    );
    let unknown = scene.pty_id();
    let error = scene.attach_as(request(unknown, "me", WriteWish::Never)).await.err().unwrap();
    table.row("B81 a terminal that never was".to_owned(), error.code.as_str(), "pty_not_found");
    let error = scene.ask(&WritePty { pty_id: unknown, data: vec![] }).await.unwrap_err();
    table.row("B81 nothing typed".to_owned(), error.code.as_str(), "out_of_range");

    for (asked, expected) in [
        ("xterm-256color", "xterm-256color"),
        ("no-such-terminal", "dumb"),
        ("", "dumb"),
        ("../../etc/passwd", "dumb"),
        ("dumb", "dumb"),
    ] {
        let env = [("TERM".to_owned(), asked.to_owned())].into();
        let view = scene.open(&OpenPty { env, ..scene.request("echo \"[$TERM]\"; cat") }).await;
        let mut viewer = scene.attach(view.pty_id, "me", WriteWish::IfFree).await;
        viewer.until("]").await;
        table.row(format!("B81 TERM={asked}"), viewer.text().trim_end(), format!("[{expected}]"));
        scene.close(view.pty_id).await;
    }

    // A stream that says what is no message ends, and harms nobody.
    let pty = scene.shell("cat").await;
    let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
    viewer.say_raw(&[0xc1, 0xff]).await;
    viewer.item(|item| matches!(item, PtyItem::Refused { error, .. } if error.code == "invalid_request")).await;
    let mut call = Call::begin(&scene, &request(pty, "other", WriteWish::Never)).await;
    call.reply::<AttachPty>().await.unwrap();
    viewer.send("still here\n").await;
    viewer.until("still here").await;
    scene.close(pty).await;
    table.finish();
}

/// What tmux shows for the same bytes: a terminal that is not ours.
#[tokio::test]
async fn another_terminal_shows_the_same_text_for_the_same_bytes() {
    let found = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
    };
    if !found("tmux") || !found("vim") {
        println!("skipped: tmux or vim is not installed");
        return;
    }
    let scene = Scene::new();
    let root = scene.root();
    let text: String = (0..60).map(|n| format!("line {n} of some text, é and 漢字\n")).collect();
    std::fs::write(root.join("text"), text).unwrap();
    let vim = "LC_ALL=C.UTF-8 vim -u NONE -i NONE -n -N -c 'set nu ruler laststatus=2' text";
    let pty = scene.shell(vim).await;
    let mut viewer = scene.attach(pty, "me", WriteWish::IfFree).await;
    viewer.until("line 0").await;
    viewer.send("30G:vsplit\r5Goa new line\x1b:split\r").await;
    viewer.until("a new line").await;
    viewer.send(":set nowrap\r10\x04").await;
    viewer.send("ix").await;
    viewer.until("INSERT").await;
    let bytes = scene.output(pty).await;
    let shown = viewer.emulator.clone();
    let mut ours = Emulator::new(shown.size());
    ours.feed(&bytes);
    std::fs::write(root.join("bytes"), &bytes).unwrap();
    let socket = root.join("tmux");
    let tmux = |arguments: &[&str]| {
        let output = std::process::Command::new("tmux")
            .arg("-S")
            .arg(&socket)
            .args(["-f", "/dev/null", "-u"])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&root)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // A terminal answers when it has taken in everything before the question. Its other answers, to
    // what vim asked, have no `n`.
    let pane = "stty raw -echo; cat bytes; printf '\\033[5n'; \
                until [ \"$(dd bs=1 count=1 2>/dev/null)\" = n ]; do :; done; \
                tmux wait-for -S drawn; cat";
    tmux(&["new-session", "-d", "-x", "80", "-y", "24", pane, ";", "set", "-g", "status", "off"]);
    tmux(&["wait-for", "drawn"]);
    let expected: Vec<String> = ours.rows().map(Row::text).collect();
    let shown = tmux(&["capture-pane", "-p"]);
    let mut theirs: Vec<String> = shown.lines().map(|line| line.trim_end().to_owned()).collect();
    theirs.resize(24, String::new());
    tmux(&["kill-server"]);
    scene.close(pty).await;
    assert_eq!(theirs, expected);
}
