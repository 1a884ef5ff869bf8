//! Real processes under the service: every row of bad input that concerns them, ends, output, stops.

mod bench;

use std::collections::BTreeMap;

use bench::{Bench, Table, argv, shell};
use nix::sys::signal::{SigHandler, Signal};
use shared::protocol::process::{
    Exit, GetProcess, ListProcesses, OutputWindow, ProcessState, ReadOutput, SignalProcess,
    StartProcess, Stdin, StopProcess, ViewOutput, WaitProcess, WriteStdin,
};

#[tokio::test]
async fn b49_what_cannot_be_executed_says_why() {
    let bench = Bench::new();
    let root = bench.root();
    bench.file("plain", "not executable", 0o644);
    bench.file("garbage", "\u{1}\u{2}\u{3}", 0o755);
    bench.file("bad-shebang", "#!/no/such/interpreter\n", 0o755);
    bench.file("other-machine", "\u{7f}ELF\u{2}\u{1}\u{1}", 0o755);
    bench.file("busy", "#!/bin/sh\n", 0o755);
    std::fs::create_dir(root.join("folder")).unwrap();
    std::fs::copy("/bin/true", root.join("busy")).unwrap();
    let _writing = std::fs::OpenOptions::new().write(true).open(root.join("busy")).unwrap();
    let rows: [(&[&str], &str); 11] = [
        (&[], "not_found"),
        (&[""], "not_found"),
        (&["no-such-program"], "not_found"),
        (&["./missing"], "not_found"),
        (&["./plain"], "permission_denied"),
        (&["./folder"], "is_directory"),
        (&["/"], "is_directory"),
        (&["./garbage"], "exec_format"),
        (&["./bad-shebang"], "exec_format"),
        (&["./other-machine"], "exec_format"),
        (&["./busy"], "text_busy"),
    ];
    let mut table = Table::new("B49");
    for (command, cause) in rows {
        let started = bench.start(argv(command)).await;
        let error = started.expect_err(&format!("{command:?} cannot be executed"));
        let found = (error.code.as_str(), error.details.get("cause").map(String::as_str));
        table.row(format!("{command:?}"), found, ("spawn_failed", Some(cause)));
    }
    // An exit code of 127 is the program's own, and no error of the start.
    let view = bench.run(argv(&["sh", "-c", "exit 127"])).await;
    table.row("exit 127".to_owned(), bench::exit(&view), Some(Exit::Code { code: 127 }));
    // What was not started is still known.
    let mut request = argv(&["no-such-program"]);
    request.process_id = bench.id();
    bench.start(request.clone()).await.unwrap_err();
    let view = bench.processes.get(request.process_id).await.unwrap();
    table.row("get".to_owned(), matches!(view.state, ProcessState::NotStarted { .. }), true);
    table.finish();
}

#[tokio::test]
async fn b50_values_that_no_process_can_take_are_refused_with_their_place() {
    let bench = Bench::new();
    let env = |name: &str, value: &str| {
        let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        StartProcess { env, ..argv(&["true"]) }
    };
    let rows = [
        (argv(&["true", "a\0b"]), "argv[1]"),
        (argv(&["tr\0ue"]), "argv[0]"),
        (shell("echo \0"), "command"),
        (env("A", "x\0y"), "env[0]"),
        (env("A=B", "x"), "env[0]"),
        (env("A\0B", "x"), "env[0]"),
        (env("", "x"), "env[0]"),
        (StartProcess { cwd: Some("a\0b".to_owned()), ..argv(&["true"]) }, "cwd"),
    ];
    let mut table = Table::new("B50");
    for (request, field) in rows {
        let shown = format!("{:?} {:?}", request.program, request.env);
        let error = bench.start(request).await.unwrap_err();
        let found = (error.code.as_str(), error.details.get("field").map(String::as_str));
        table.row(shown, found, ("invalid_argument", Some(field)));
    }
    table.finish();
}

#[tokio::test]
async fn b51_arguments_over_the_kernels_limits_are_refused_with_both_limits() {
    let bench = Bench::new();
    let long = "x".repeat(128 * 1024 + 1);
    let many: Vec<String> =
        std::iter::once("true".to_owned()).chain((0..40).map(|_| "x".repeat(64 * 1024))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut table = Table::new("B51");
    for (name, request) in [
        ("one argument", argv(&["true", &long])),
        ("a command line", shell(&long)),
        ("all together", argv(&many)),
    ] {
        let error = bench.start(request).await.unwrap_err();
        let limits =
            (error.details.get("limit_one").cloned(), error.details.get("limit_all").cloned());
        let expected = (Some("131072".to_owned()), Some("2097152".to_owned()));
        table.row(name.to_owned(), (error.code.as_str(), limits), ("argument_too_large", expected));
        table.row(format!("{name}: advice"), error.message.contains("standard input"), true);
    }
    let fits = "x".repeat(128 * 1024 - 1);
    let view = bench.run(argv(&["true", &fits])).await;
    table.row("at the limit".to_owned(), bench::exit(&view), Some(Exit::Code { code: 0 }));
    table.finish();
}

#[tokio::test]
async fn b52_a_working_directory_is_inside_and_can_be_entered() {
    let bench = Bench::new();
    let root = bench.root();
    bench.file("file", "", 0o644);
    std::fs::create_dir(root.join("inner")).unwrap();
    std::os::unix::fs::symlink("loop-b", root.join("loop-a")).unwrap();
    std::os::unix::fs::symlink("loop-a", root.join("loop-b")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
    std::os::unix::fs::symlink("inner", root.join("in")).unwrap();
    let evil = root.with_file_name(format!("{}-evil", root.file_name().unwrap().display()));
    std::fs::create_dir(&evil).unwrap();
    let long = "x/".repeat(3_000);
    let absolute = root.join("inner").display().to_string();
    let evil_text = evil.display().to_string();
    let rows = [
        ("missing", "cwd_not_found"),
        ("file", "not_a_directory"),
        ("..", "path_escape"),
        ("inner/../../other", "path_escape"),
        ("/etc", "path_escape"),
        ("/no/such/place", "path_escape"),
        (&evil_text, "path_escape"),
        ("out", "path_escape"),
        ("loop-a", "symlink_loop"),
        (&long, "name_too_long"),
        ("inner", ""),
        ("in", ""),
        (&absolute, ""),
        ("", ""),
    ];
    let mut table = Table::new("B52");
    for (cwd, code) in rows {
        let request = StartProcess { cwd: Some(cwd.to_owned()), ..argv(&["pwd"]) };
        let found = bench.start(request).await.err().map_or(String::new(), |error| error.code);
        table.row(cwd.chars().take(40).collect(), found.as_str(), code);
    }
    let request = StartProcess { cwd: Some("in".to_owned()), ..argv(&["pwd"]) };
    let view = bench.run(request).await;
    let text = bench.text(view.process_id).await;
    table.row("pwd".to_owned(), text, format!("{absolute}\n"));
    std::fs::remove_dir(evil).unwrap();
    table.finish();
}

#[tokio::test]
async fn b53_numbers_out_of_range_name_the_range() {
    let bench = Bench::new();
    let view = bench.start(shell("sleep 60")).await.unwrap();
    let process_id = view.process_id;
    let mut table = Table::new("B53");
    for signal in ["0", "65", "-1", "FOO", "", "1e3", "NaN", "1000000000000"] {
        let request = SignalProcess { process_id, signal: signal.to_owned() };
        let error = bench.processes.signal(bench.op(), &request).await.unwrap_err();
        let range = (error.details.get("min").cloned(), error.details.get("max").cloned());
        let expected = (Some("1".to_owned()), Some("64".to_owned()));
        table.row(
            format!("signal {signal:?}"),
            (error.code.as_str(), range),
            ("out_of_range", expected),
        );
    }
    let wait = WaitProcess { process_id, timeout_ms: 1_000_000_000_000 };
    let error = bench.processes.wait(&wait).await.unwrap_err();
    table.row("wait 10^12".to_owned(), error.code.as_str(), "out_of_range");
    let stop = StopProcess { process_id, grace_ms: 60_001 };
    let error = bench.processes.stop(&stop).await.unwrap_err();
    table.row(
        "grace 60001".to_owned(),
        error.details.get("max").map(String::as_str),
        Some("60000"),
    );
    for limit in [0, 1_001] {
        let list = ListProcesses { chat_id: None, limit: Some(limit) };
        let error = bench.processes.list(&list).unwrap_err();
        table.row(format!("list {limit}"), error.code.as_str(), "out_of_range");
    }
    let now = bench.processes.wait(&WaitProcess { process_id, timeout_ms: 0 }).await.unwrap();
    table.row("wait 0 answers at once".to_owned(), now.state, ProcessState::Running);
    bench.stop(process_id).await;
    table.finish();
}

#[tokio::test]
async fn b54_unknown_finished_and_dropped_ids_are_told_apart() {
    let bench = Bench::new();
    let mut table = Table::new("B54");
    let unknown = bench.id();
    let error = bench.processes.get(unknown).await.unwrap_err();
    table.row("unknown".to_owned(), error.code.as_str(), "process_not_found");
    let view = bench.run(shell("exit 4")).await;
    let again = bench.processes.get(view.process_id).await.unwrap();
    table.row("finished".to_owned(), bench::exit(&again), Some(Exit::Code { code: 4 }));
    let signal = SignalProcess { process_id: view.process_id, signal: "TERM".to_owned() };
    let error = bench.processes.signal(bench.op(), &signal).await.unwrap_err();
    table.row("signal to a finished one".to_owned(), error.code.as_str(), "process_ended");
    bench.clock.advance(std::time::Duration::from_secs(8 * 24 * 3600));
    bench.run(shell("true")).await; // ends: the house is tidied
    let error = bench.wait_for_error(view.process_id).await;
    let ended = error.details.contains_key("ended_at_ms");
    table.row("dropped".to_owned(), (error.code.as_str(), ended), ("process_pruned", true));
    let repeated = StartProcess { process_id: view.process_id, ..shell("true") };
    let error = bench.start(repeated).await.unwrap_err();
    table.row("its id again".to_owned(), error.code.as_str(), "operation_conflict");
    let _ = GetProcess { process_id: unknown };
    table.finish();
}

#[tokio::test]
async fn b55_offsets_outside_the_output_are_answered_with_positions() {
    let bench = Bench::new();
    let request = StartProcess {
        output_kept_bytes: Some(8_192),
        ..shell("i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done")
    };
    let view = bench.run(request).await;
    let bench = &bench;
    let read = |offset, limit_bytes, from_end| {
        let request = ReadOutput { process_id: view.process_id, offset, limit_bytes, from_end };
        async move { bench.processes.read(&request).await }
    };
    let mut table = Table::new("B55");
    let (page, bytes) = read(1 << 60, 100, false).await.unwrap();
    table.row("beyond the end".to_owned(), (page.offset, bytes.len()), (view.output_total, 0));
    let error = read(view.dropped_from + 1, 100, false).await.unwrap_err();
    let range = (error.details["from"].clone(), error.details["to"].clone());
    let expected = (view.dropped_from.to_string(), view.dropped_to.to_string());
    table.row(
        "in the middle".to_owned(),
        (error.code.as_str(), range),
        ("range_dropped", expected),
    );
    let (page, bytes) = read(view.dropped_to, 1_000_000_000, false).await.unwrap();
    let rest = view.output_total - view.dropped_to;
    table.row("10^9 bytes".to_owned(), (page.len, bytes.len() as u64), (rest, rest));
    let (page, _) = read(10, 100, true).await.unwrap();
    table.row("from the end".to_owned(), (page.offset, page.len), (view.output_total - 10, 10));
    let (page, _) = read(0, 1_000_000, false).await.unwrap();
    table.row("up to the gap".to_owned(), page.len, view.dropped_from);
    table.finish();
}

#[tokio::test]
async fn b56_standard_input_is_closed_open_or_blocked() {
    let bench = Bench::new();
    let mut table = Table::new("B56");
    let write = |process_id, data: &[u8], close| {
        let request = WriteStdin { process_id, data: data.to_vec(), close };
        bench.processes.write_stdin(bench.op(), request)
    };
    let closed = bench.run(shell("cat; echo end")).await;
    table.row("closed".to_owned(), bench.text(closed.process_id).await, "end\n".to_owned());
    let error = write(closed.process_id, b"x", false).await.unwrap_err();
    table.row("write to closed".to_owned(), error.code.as_str(), "stdin_closed");

    let bytes =
        StartProcess { stdin: Stdin::Bytes { data: vec![b'z'; 1 << 20] }, ..shell("wc -c") };
    let view = bench.run(bytes).await;
    let text = bench.text(view.process_id).await;
    table.row("bytes, then the end".to_owned(), text.trim(), "1048576");

    let open = StartProcess { stdin: Stdin::Open, ..shell("cat") };
    let view = bench.start(open.clone()).await.unwrap();
    let written = write(view.process_id, b"one ", false).await.unwrap();
    table.row("open".to_owned(), written.written, 4);
    write(view.process_id, b"two", true).await.unwrap();
    let ended = bench.ended(view.process_id).await;
    table.row("closed by us".to_owned(), bench::exit(&ended), Some(Exit::Code { code: 0 }));
    table.row("what it read".to_owned(), bench.text(view.process_id).await, "one two".to_owned());

    let deaf = StartProcess { stdin: Stdin::Open, ..shell("sleep 60") };
    let view = bench.start(deaf).await.unwrap();
    let error = write(view.process_id, &vec![0; 1 << 20], false).await.unwrap_err();
    let taken: u64 = error.details["written"].parse().unwrap();
    table.row(
        "never read".to_owned(),
        (error.code.as_str(), taken < 1 << 20),
        ("stdin_blocked", true),
    );
    let error = write(view.process_id, &vec![0; (1 << 20) + 1], false).await.unwrap_err();
    table.row("over the limit".to_owned(), error.code.as_str(), "argument_too_large");
    bench.stop(view.process_id).await;
    table.finish();
}

#[tokio::test]
async fn b58_every_end_is_told_as_it_was() {
    let bench = Bench::new();
    let mut table = Table::new("B58");
    for (command, expected) in [
        ("exit 0", Exit::Code { code: 0 }),
        ("exit 255", Exit::Code { code: 255 }),
        ("kill -TERM $$", Exit::Signal { signal: 15, core: false }),
        ("kill -KILL $$", Exit::Signal { signal: 9, core: false }),
        ("kill -40 $$", Exit::Signal { signal: 40, core: false }),
    ] {
        let view = bench.run(shell(command)).await;
        table.row(command.to_owned(), bench::exit(&view), Some(expected));
    }
    let view = bench.run(shell("ulimit -c 0; kill -SEGV $$")).await;
    let signal = bench::exit(&view).map(|exit| matches!(exit, Exit::Signal { signal: 11, .. }));
    table.row("core".to_owned(), signal, Some(true));

    let stopped = bench.start(shell("kill -STOP $$; exit 3")).await.unwrap();
    let stat = format!("/proc/{}/stat", stopped.os_pid.unwrap());
    // Before it is halted a signal to continue is lost.
    bench::events::seen("it is halted", || {
        let stat = std::fs::read_to_string(&stat).ok()?;
        stat.rsplit(") ").next()?.starts_with('T').then_some(())
    })
    .await;
    let wait = WaitProcess { process_id: stopped.process_id, timeout_ms: 0 };
    let view = bench.processes.wait(&wait).await.unwrap();
    table.row("stopped is running".to_owned(), view.state, ProcessState::Running);
    let signal = SignalProcess { process_id: stopped.process_id, signal: "CONT".to_owned() };
    bench.processes.signal(bench.op(), &signal).await.unwrap();
    let view = bench.ended(stopped.process_id).await;
    table.row("continued".to_owned(), bench::exit(&view), Some(Exit::Code { code: 3 }));

    let never = bench.start(shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done")).await;
    let never = bench.until(never.unwrap().process_id, |view| view.output_total > 0).await;
    let view = bench.stop(never.process_id).await;
    let expected = Some(Exit::Signal { signal: 9, core: false });
    table.row("never exits".to_owned(), bench::exit(&view), expected);
    table.finish();
}

/// The others count: a double fork keeps the pipes, and the leader's exit is still told in two
/// seconds, with the number of those that hold them.
#[tokio::test]
async fn b58_output_held_by_others_does_not_hold_the_result() {
    let bench = Bench::new();
    let mut table = Table::new("B58 held");
    let view = bench.run(shell("(setsid sleep 60 & ) ; echo left; exit 7")).await;
    table.row("exit".to_owned(), bench::exit(&view), Some(Exit::Code { code: 7 }));
    table.row("held by".to_owned(), bench::held_by(&view), 1);
    let named: Vec<String> = view
        .facts
        .iter()
        .flat_map(|facts| facts.output_holders.iter().map(|holder| holder.command.clone()))
        .collect();
    table.row("who".to_owned(), named, vec!["sleep 60".to_owned()]);
    table.row("text".to_owned(), bench.text(view.process_id).await, "left\n".to_owned());
    // What was left behind can be ended.
    let signal = SignalProcess { process_id: view.process_id, signal: "KILL".to_owned() };
    bench.processes.signal(bench.op(), &signal).await.unwrap();
    let view = bench.until(view.process_id, |view| bench::held_by(view) == 0).await;
    table.row("released".to_owned(), bench::exit(&view), Some(Exit::Code { code: 7 }));
    table.finish();
}

#[tokio::test]
async fn a_stop_ends_also_what_left_the_group_and_ignores_signals() {
    let bench = Bench::new();
    let command = "setsid sh -c 'trap \"\" TERM; echo up; sleep 60; :' & \
                   nohup sh -c 'trap \"\" TERM HUP; echo up; sleep 60; :' & \
                   trap '' TERM; echo up; sleep 60; :";
    let mark = bench.start(shell(command)).await.unwrap();
    bench.until(mark.process_id, |view| view.output_total == 9).await;
    assert!(bench::members(mark.process_id) >= 3);
    let view = bench.stop(mark.process_id).await;
    assert_eq!(bench::exit(&view), Some(Exit::Signal { signal: 9, core: false }));
    assert_eq!(bench::members(mark.process_id), 0);
}

#[tokio::test]
async fn b59_any_bytes_are_safe() {
    let bench = Bench::new();
    let mut table = Table::new("B59");
    for (name, command, total) in [
        ("NULs", "head -c 100000 /dev/zero", 100_000),
        ("random", "head -c 100000 /dev/urandom", 100_000),
        (
            "only \\r",
            "i=0; while [ $i -lt 2000 ]; do printf 'p %05d\\r' $i; i=$((i+1)); done",
            16_000,
        ),
        (
            "ANSI",
            "i=0; while [ $i -lt 1000 ]; do printf '\\033[2J\\033[31mx'; i=$((i+1)); done",
            10_000,
        ),
        ("one line", "head -c 30000000 /dev/zero | tr '\\0' 'a'; echo; echo next", 30_000_006),
    ] {
        let view = bench.run(shell(command)).await;
        table.row(format!("{name}: total"), view.output_total, total);
        let window = OutputWindow::HeadTail { head_bytes: None, tail_bytes: None };
        let request = ViewOutput { process_id: view.process_id, window };
        let shown = bench.processes.view(request).await.unwrap();
        table.row(format!("{name}: counted"), shown.next_offset, total);
        table.row(format!("{name}: bounded"), shown.text.len() < 120_000, true);
    }
    table.finish();
}

#[tokio::test]
async fn stdout_and_stderr_are_one_ordered_log_with_marks() {
    let bench = Bench::new();
    let view = bench
        .start(shell("echo out; sleep 0.05; echo err >&2; sleep 0.05; echo out again"))
        .await
        .unwrap();
    let followed = bench.follow(view.process_id, 0).await;
    let expected = [("out", "out\n"), ("err", "err\n"), ("out", "out again\n")]
        .map(|(stream, text)| (stream, text.to_owned()));
    assert_eq!(followed.runs(), expected);
    assert_eq!(followed.end.map(|view| view.output_total), Some(18));
}

#[tokio::test]
async fn several_followers_see_the_same_and_one_that_comes_back_goes_on() {
    let bench = Bench::new();
    let command =
        "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; sleep 0.05; echo last";
    let view = bench.start(shell(command)).await.unwrap();
    let whole = bench.follow(view.process_id, 0);
    let again = bench.follow(view.process_id, 0);
    let late = bench.follow(view.process_id, 1_000);
    let (whole, again, late) = tokio::join!(whole, again, late);
    assert_eq!(whole.bytes, again.bytes);
    assert_eq!(whole.bytes[1_000..], late.bytes);
    assert!(whole.bytes.ends_with(b"last\n"));
    let after_the_end = bench.follow(view.process_id, 2_000).await;
    assert_eq!(whole.bytes[2_000..], after_the_end.bytes);
}

#[tokio::test]
async fn children_get_a_list_of_the_environment_and_no_descriptors() {
    let bench = Bench::new();
    let leaked = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap(); // as if inherited
    let view =
        bench.run(shell("ls /proc/self/fd | tr '\\n' ' '; echo; env | cut -d= -f1 | sort")).await;
    let text = bench.text(view.process_id).await;
    let (fds, names) = text.split_once('\n').unwrap();
    assert_eq!(fds.trim(), "0 1 2 3", "3 is the listing's own");
    for name in names.lines() {
        assert!(!name.starts_with("CARGO_PKG"), "{name} was passed on");
    }
    assert!(names.contains("HOLDFAST_PROCESS_ID\n"), "{names}");
}

#[tokio::test]
async fn what_the_daemon_was_told_to_ignore_is_not_passed_on() {
    // As for what a script starts in its background, or under `nohup`: Ctrl-C would end nothing.
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        #[expect(unsafe_code, reason = "a signal's disposition")]
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.unwrap();
    }
    let bench = Bench::new();
    let view = bench.run(shell("grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2")).await;
    let text = bench.text(view.process_id).await;
    let masks: Vec<_> = text.lines().map(|line| u64::from_str_radix(line, 16).unwrap()).collect();
    // Two of the C library's own are nobody's to set.
    let reserved = 1 << (32 - 1) | 1 << (33 - 1);
    assert_eq!((masks[0], masks[1] & !reserved), (0, 0), "{text}");
}

#[tokio::test]
async fn a_list_has_the_running_ones_first_then_the_newest() {
    let bench = Bench::new();
    let runs = bench.start(shell("sleep 60")).await.unwrap().process_id;
    let mut ended = Vec::new();
    for _ in 0..3 {
        bench.clock.advance(std::time::Duration::from_millis(5));
        ended.push(bench.run(shell("true")).await.process_id);
    }
    let list = bench.processes.list(&ListProcesses { chat_id: None, limit: Some(3) }).unwrap();
    let ids: Vec<_> = list.items.iter().map(|view| view.process_id).collect();
    assert_eq!((list.total, ids), (4, vec![runs, ended[2], ended[1]]));
    bench.stop(runs).await;
}
