//! Tools against a fake link: what is asked, what is shown, and how each end of a call comes out.

mod fake;

use bytes::Bytes;
use serde_json::{Value, json};
use shared::protocol::files::{Expect, WriteFile, Written};
use shared::protocol::process::{
    Exit, GetProcess, OutputStream, OutputView, ProcessFacts, ProcessState, ProcessView,
    SandboxFacts, SignalProcess, StartProcess, StartSandboxed, StdinWritten, ViewOutput,
    WaitProcess, WriteStdin,
};
use shared::protocol::{ErrorCode, WireError};
use shared::testing::bad_input::BadInput;

use super::{Catalogue, ToolContext, ToolError, ToolOutcome};
use crate::fleet::{CallError, FollowEvent, UnknownReason};
use fake::{Fake, chat_id, context, process_id};

fn view(state: ProcessState) -> ProcessView {
    ProcessView {
        process_id: process_id(),
        command: "make".to_owned(),
        cwd: "/work".to_owned(),
        chat_id: Some(chat_id().to_string()),
        os_pid: None,
        started_at_ms: 1_000,
        state,
        output_total: 8,
        dropped_from: 0,
        dropped_to: 0,
        facts: None,
    }
}

fn exited(code: i32) -> ProcessView {
    view(ProcessState::Exited { exit: Exit::Code { code }, ended_at_ms: 1_250, output_held_by: 0 })
}

fn output(process: ProcessView, text: &str) -> OutputView {
    OutputView { process, text: text.to_owned(), omitted_bytes: 0, next_offset: 8, lines_cut: 0 }
}

fn chunk(offset: u64, bytes: &'static [u8]) -> Result<FollowEvent, CallError> {
    let stream = OutputStream::Stdout;
    Ok(FollowEvent::Chunk { offset, stream, bytes: Bytes::from_static(bytes) })
}

fn end() -> Result<FollowEvent, CallError> {
    Ok(FollowEvent::End { process: exited(0) })
}

const fn lost() -> CallError {
    CallError::Unknown { reason: UnknownReason::LinkLost }
}

async fn run(
    context: &ToolContext<Fake>,
    name: &str,
    args: &Value,
) -> Result<ToolOutcome, ToolError> {
    Catalogue::new().run(context.clone(), name, args).await
}

#[tokio::test]
async fn a_command_is_shown_while_it_runs_and_answered_when_it_ends() {
    let workspace = Fake::default();
    workspace
        .answer::<StartProcess>(Ok(view(ProcessState::Running)))
        .follow_with(vec![chunk(0, b"gr\xC3"), chunk(3, b"\xBC\xC3\x9Fe\n"), end()])
        .answer::<ViewOutput>(Ok(output(exited(2), "grüße\n")));
    let (context, shown) = context(&workspace);
    let outcome = run(&context, "execute", &json!({ "command": "make" })).await.unwrap();
    assert_eq!(
        outcome,
        ToolOutcome::ok(
            json!({ "state": "exited", "exit_code": 2, "duration_ms": 250, "output": "grüße\n" })
        )
    );
    assert_eq!(shown.text(), "grüße\n");
    let start = workspace.asked()[0].clone();
    for expected in ["\"GIT_TERMINAL_PROMPT\":\"0\"", "\"HOLDFAST_CHAT_ID\":\"chat_", " as op_"] {
        assert!(start.contains(expected), "{start}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_runs_on_is_handed_over_to_the_background() {
    for (args, seconds) in
        [(json!({ "command": "x" }), 10), (json!({ "command": "x", "timeout_s": 60 }), 60)]
    {
        let workspace = Fake::default();
        workspace
            .answer::<StartProcess>(Ok(view(ProcessState::Running)))
            .follow_with(vec![chunk(0, b"so far")])
            .answer::<ViewOutput>(Ok(output(view(ProcessState::Running), "so far")));
        let from = tokio::time::Instant::now();
        let outcome = run(&context(&workspace).0, "execute", &args).await.unwrap();
        assert_eq!(from.elapsed().as_secs(), seconds);
        assert_eq!(outcome.process_ids, [process_id()]);
        assert_eq!(outcome.result["process_id"], json!(process_id()));
        assert_eq!(outcome.result["state"], "running");
    }
}

#[tokio::test]
async fn a_command_in_the_background_is_not_waited_for() {
    for args in [json!({ "command": "serve", "background": true }), json!({ "command": "serve &" })]
    {
        let workspace = Fake::default();
        workspace
            .answer::<StartProcess>(Ok(view(ProcessState::Running)))
            .answer::<ViewOutput>(Ok(output(view(ProcessState::Running), "")));
        run(&context(&workspace).0, "execute", &args).await.unwrap();
        assert_eq!(workspace.asked().len(), 2, "start and view, no follower");
        assert!(workspace.asked()[0].contains("\"command\":\"serve\""));
    }
}

#[tokio::test]
async fn a_command_of_plan_mode_runs_in_a_sandbox_or_not_at_all() {
    let read_only = |workspace: &Fake| {
        let (mut context, _) = context(workspace);
        context.mode = "plan".to_owned();
        context.operation.read_only = true;
        context
    };
    let args = json!({ "command": "git log", "background": true });
    let workspace = Fake::default();
    let sandbox = Some(SandboxFacts { landlock_abi: 7, seccomp: true });
    let facts = ProcessFacts { sandbox, ..ProcessFacts::default() };
    let view = ProcessView { facts: facts.if_any(), ..view(ProcessState::Running) };
    workspace.answer::<StartSandboxed>(Ok(view.clone())).answer::<ViewOutput>(Ok(output(view, "")));
    let outcome = run(&read_only(&workspace), "execute", &args).await.unwrap();
    assert!(workspace.asked()[0].starts_with("process/start_sandboxed"), "{:?}", workspace.asked());
    let told = outcome.result["sandbox"].as_str().unwrap();
    assert!(told.contains("landlock ABI 7, seccomp"), "{told}");

    // A daemon of before the sandbox does not know the method, and nothing else is tried.
    let workspace = Fake::default();
    let unsupported = WireError::refused(ErrorCode::Unsupported, "what?");
    workspace.answer::<StartSandboxed>(Err(CallError::Refused(unsupported)));
    let outcome = run(&read_only(&workspace), "execute", &args).await.unwrap();
    assert_eq!(outcome.error_code(), Some("sandbox_unavailable"));
    assert_eq!(workspace.asked().len(), 1);
}

#[tokio::test]
async fn a_flood_is_cut_for_viewers_and_waited_for() {
    let workspace = Fake::default();
    workspace
        .answer::<StartProcess>(Ok(view(ProcessState::Running)))
        .follow_with((0..400).map(|n| chunk(n * 1_024, &[b'x'; 1_024])).collect())
        .answer::<WaitProcess>(Ok(exited(0)))
        .answer::<ViewOutput>(Ok(output(exited(0), "x")));
    let (context, shown) = context(&workspace);
    run(&context, "execute", &json!({ "command": "yes" })).await.unwrap();
    assert!(shown.text().len() < 257 * 1_024, "{} bytes shown", shown.text().len());
    assert!(shown.text().ends_with("the whole output is with the process]\n"));
}

#[tokio::test]
async fn after_a_lost_link_the_same_operation_is_asked_again_and_shown_once() {
    let workspace = Fake::default();
    let (context, shown) = context(&workspace);
    let args = json!({ "command": "make" });
    let unknown = Err(ToolError::Unknown { reason: "the link was lost".to_owned() });

    workspace.answer::<StartProcess>(Err(lost()));
    assert_eq!(run(&context, "execute", &args).await, unknown);
    workspace
        .answer::<StartProcess>(Ok(view(ProcessState::Running)))
        .follow_with(vec![chunk(0, b"one \xE2\x82"), Err(lost())]);
    assert_eq!(run(&context, "execute", &args).await, unknown);
    workspace
        .answer::<StartProcess>(Ok(view(ProcessState::Running)))
        .follow_with(vec![chunk(4, b"\xE2\x82\xAC two"), end()])
        .answer::<ViewOutput>(Err(CallError::Unknown { reason: UnknownReason::DeadlinePassed }));
    assert_eq!(run(&context, "execute", &args).await, unknown);
    workspace
        .answer::<StartProcess>(Ok(exited(0)))
        .follow_with(vec![end()])
        .answer::<ViewOutput>(Ok(output(exited(0), "one € two")));
    run(&context, "execute", &args).await.unwrap();

    assert_eq!(shown.text(), "one € two");
    let asked = workspace.asked();
    let starts: Vec<&String> =
        asked.iter().filter(|call| call.starts_with("process/start")).collect();
    assert!(starts.len() == 4 && starts.iter().all(|start| *start == starts[0]), "{starts:?}");
}

#[tokio::test]
async fn each_end_of_a_call_comes_out_as_itself() {
    let refused = |code| CallError::Refused(WireError::refused(code, "why"));
    let rows = [
        (CallError::NotConnected { since_ms: None }, "Err(Unavailable"),
        (lost(), "Err(Unknown"),
        (refused(ErrorCode::StaleEpoch), "Err(Fenced"),
        (refused(ErrorCode::OperationCancelled), "Err(Cancelled"),
        (refused(ErrorCode::ShuttingDown), "Err(Unavailable"),
        (refused(ErrorCode::CwdNotFound), "cwd_not_found"),
        (CallError::Failed(WireError::failed(ErrorCode::DiskFull, "why")), "disk_full"),
        (
            CallError::Unknown { reason: UnknownReason::Malformed("x".to_owned()) },
            "outcome_unknown",
        ),
    ];
    for (end, expected) in rows {
        let workspace = Fake::default();
        workspace.answer::<StartProcess>(Err(end.clone()));
        let seen = run(&context(&workspace).0, "execute", &json!({ "command": "x" })).await;
        assert!(format!("{seen:?}").contains(expected), "{end:?}: {seen:?}");
    }
    let workspace = Fake::default();
    let error = WireError::failed(ErrorCode::SpawnFailed, "no such program");
    workspace.answer::<StartProcess>(Ok(view(ProcessState::NotStarted { error })));
    let seen = run(&context(&workspace).0, "execute", &json!({ "command": "x" })).await.unwrap();
    assert_eq!(seen.error_code(), Some("spawn_failed"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_tool_ends_at_once() {
    let workspace = Fake::default();
    workspace.answer::<StartProcess>(Ok(view(ProcessState::Running))).follow_with(vec![]);
    let (context, _) = context(&workspace);
    let args = json!({ "command": "sleep 100", "timeout_s": 100 });
    let (seen, ()) = tokio::join!(run(&context, "execute", &args), async {
        tokio::task::yield_now().await;
        context.cancel.cancel();
    });
    assert_eq!(seen, Err(ToolError::Cancelled));
}

#[tokio::test]
async fn a_process_of_another_chat_does_not_exist() {
    let workspace = Fake::default();
    let other =
        ProcessView { chat_id: Some("chat_other".to_owned()), ..view(ProcessState::Running) };
    for _ in 0..3 {
        workspace.answer::<GetProcess>(Ok(other.clone()));
    }
    let (context, _) = context(&workspace);
    let id = process_id();
    for (tool, args) in [
        ("process_output", json!({ "process_id": id })),
        ("process_signal", json!({ "process_id": id, "signal": "KILL" })),
        ("process_input", json!({ "process_id": id, "input": "y" })),
        ("process_output", json!({ "process_id": "proc_1" })),
    ] {
        let seen = run(&context, tool, &args).await.unwrap();
        assert_eq!(seen.error_code(), Some("process_not_found"), "{tool}");
    }
    assert_eq!(workspace.asked().len(), 3, "nothing but looks");
}

#[tokio::test]
async fn input_is_one_operation_and_says_where_its_answer_will_stand() {
    let workspace = Fake::default();
    workspace
        .answer::<GetProcess>(Ok(view(ProcessState::Running)))
        .answer::<WriteStdin>(Ok(StdinWritten { written: 6 }));
    let args = json!({ "process_id": process_id(), "input": "grüß", "close": true });
    let seen = run(&context(&workspace).0, "process_input", &args).await.unwrap();
    assert_eq!(
        seen.result,
        json!({ "process_id": process_id(), "written": 6, "closed": true, "next_offset": 8 })
    );
    let op_id = context(&workspace).0.operation.op_id;
    assert!(workspace.asked()[1].ends_with(&format!("\"close\":true}} as {op_id}")));
}

#[tokio::test]
async fn input_over_the_limit_or_beside_a_text_is_refused_before_anything_is_asked() {
    let workspace = Fake::default();
    let long = "x".repeat(shared::limits::STDIN_WRITE_MAX_BYTES + 1);
    for (tool, args, named) in [
        ("process_input", json!({ "process_id": process_id(), "input": long }), "in pieces"),
        (
            "execute",
            json!({ "command": "cat", "stdin": "x", "keep_stdin_open": true }),
            "process_input",
        ),
    ] {
        let seen = run(&context(&workspace).0, tool, &args).await.unwrap();
        assert_eq!(seen.error_code(), Some("invalid_arguments"), "{tool}");
        assert!(seen.result.to_string().contains(named), "{}", seen.result);
    }
    assert!(workspace.asked().is_empty());
}

#[tokio::test]
async fn a_repeated_signal_is_answered_although_its_process_is_gone() {
    let workspace = Fake::default();
    let gone = WireError::refused(ErrorCode::ProcessPruned, "gone");
    workspace
        .answer::<GetProcess>(Err(CallError::Refused(gone)))
        .answer::<SignalProcess>(Ok(exited(0)));
    let args = json!({ "process_id": process_id(), "signal": "TERM" });
    let seen = run(&context(&workspace).0, "process_signal", &args).await.unwrap();
    assert_eq!(seen.result["signalled"], true);
}

#[tokio::test]
async fn a_written_file_travels_as_raw_bytes_with_its_precondition() {
    let rows = [
        (json!({ "path": "a", "content": "grüße" }), Expect::Any),
        (json!({ "path": "a", "content": "grüße", "create_only": true }), Expect::Absent),
        (
            json!({ "path": "a", "content": "grüße", "expect_hash": "b3:1" }),
            Expect::Hash { hash: "b3:1".to_owned() },
        ),
    ];
    for (args, expect) in rows {
        let workspace = Fake::default();
        let written = Written { path: "a".into(), created: true, hash: "b3:2".to_owned(), size: 7 };
        workspace.answer::<WriteFile>(Ok(written));
        run(&context(&workspace).0, "write_file", &args).await.unwrap();
        let request = WriteFile { path: "a".into(), len: 7, expect, mode: None };
        let request = serde_json::to_string(&request).unwrap();
        let op_id = context(&workspace).0.operation.op_id;
        assert_eq!(workspace.asked(), [format!("files/write {request} as {op_id} with 7 bytes")]);
    }
}

#[tokio::test]
async fn b89_calls_that_cannot_run_are_told_to_the_model() {
    let long = "x".repeat(10 << 20);
    let rows = [
        (
            "B89 invalid JSON",
            "execute",
            json!("{\"command\": "),
            "invalid_arguments",
            "not a JSON object",
        ),
        ("B89 a list", "execute", json!([1]), "invalid_arguments", "not a JSON object"),
        ("B89 arguments of 10 MB", "execute", json!(long), "invalid_arguments", "more]"),
        (
            "B89 a field of 10 MB that is no field",
            "execute",
            json!({ "command": "x", "y": long }),
            "invalid_arguments",
            "additional",
        ),
        ("B89 a missing field", "execute", json!({}), "invalid_arguments", "command"),
        ("B89 a wrong type", "execute", json!({ "command": 7 }), "invalid_arguments", "/command"),
        (
            "B89 a wrong type deep inside",
            "edit_files",
            json!({ "files": [{ "path": "a", "edits": [{ "old_text": "", "new_text": "" }] }] }),
            "invalid_arguments",
            "/files/0/edits/0/old_text",
        ),
        (
            "B89 an unknown field",
            "execute",
            json!({ "command": "x", "shell": "fish" }),
            "invalid_arguments",
            "shell",
        ),
        (
            "B89 out of range",
            "execute",
            json!({ "command": "x", "timeout_s": 601 }),
            "invalid_arguments",
            "/timeout_s",
        ),
        (
            "B89 a negative number",
            "read_file",
            json!({ "path": "a", "offset": -1 }),
            "invalid_arguments",
            "/offset",
        ),
        ("B89 an unknown tool", "fly", json!({}), "unknown_tool", "execute"),
        ("B89 a name with ../", "../../etc/passwd", json!({}), "unknown_tool", "execute"),
        (
            "B89 an unknown signal",
            "process_signal",
            json!({ "process_id": "proc_1", "signal": "FOO" }),
            "invalid_arguments",
            "/signal",
        ),
    ];
    let (workspace, total) = (Fake::default(), rows.len());
    let (mut failures, mut report) = (Vec::new(), BadInput::new());
    for (what, tool, args, code, named) in rows {
        let seen = run(&context(&workspace).0, tool, &args).await.unwrap();
        let message = seen.result["error"]["message"].as_str().unwrap_or_default().to_owned();
        let good = seen.error_code() == Some(code)
            && (message.to_lowercase().contains(named) || message.contains(named))
            && message.len() <= 2_048;
        report.check(what, good);
        if !good {
            failures.push(format!("{what}: {message}"));
        }
    }
    println!("B89 tools: {}/{total} rows passed", total - failures.len());
    report.report("B89");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(workspace.asked().is_empty(), "nothing was asked of the workspace");
}

#[tokio::test]
async fn modes_and_missing_workspaces_are_told_to_the_model() {
    let workspace = Fake::default();
    let plan = ToolContext { mode: "plan".to_owned(), ..context(&workspace).0 };
    let write = json!({ "path": "x", "content": "y" });
    let seen = run(&plan, "write_file", &write).await.unwrap();
    assert_eq!(seen.error_code(), Some("not_in_this_mode"));
    let without = ToolContext { workspace: None, ..context(&workspace).0 };
    let seen = run(&without, "read_file", &json!({ "path": "x" })).await.unwrap();
    assert_eq!(seen.error_code(), Some("no_workspace"));
}
