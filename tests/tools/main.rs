//! The native agent's tools on a real daemon: real processes, real files, the link in memory.

mod demo;
mod world;

use std::sync::Arc;

use controlplane::fleet::WorkspaceLink;
use controlplane::tools::{LiveOutput, ToolContext, ToolError, ToolOutcome};
use serde_json::{Value, json};
use shared::testing::link::CutPoint;
use world::World;

#[tokio::test]
async fn a_command_runs_in_the_root_with_a_quiet_environment() {
    let world = World::new().await;
    let (context, shown) = world.context();
    let args = json!({ "command": "pwd; printf 'grüße %s %s\\n' \"$TERM\" \"$GIT_TERMINAL_PROMPT\"; cat; exit 3", "stdin": "typed" });
    let outcome = world.ask(&context, "execute", &args).await.unwrap();
    let root = world.root().canonicalize().unwrap();
    let expected = format!("{}\ngrüße dumb 0\ntyped", root.display());
    assert_eq!(outcome.result["output"], expected);
    assert_eq!((&outcome.result["exit_code"], outcome.is_error), (&json!(3), false));
    assert_eq!(*shown.lock().unwrap(), expected);
    assert!(outcome.process_ids.is_empty());
}

#[tokio::test]
async fn a_long_command_goes_on_and_is_read_listed_and_ended() {
    let world = World::new().await;
    let args = json!({ "command": "echo first; read_on() { sleep 60; }; read_on", "timeout_s": 1 });
    let started = world.run("execute", &args).await;
    assert_eq!(
        (&started.result["state"], &started.result["output"]),
        (&json!("running"), &json!("first\n"))
    );
    let id = started.result["process_id"].clone();

    let listed = world.run("process_list", &json!({})).await;
    assert_eq!(listed.result["processes"][0]["process_id"], id);
    let read = world.run("process_output", &json!({ "process_id": id, "tail": 1 })).await;
    assert_eq!(
        (&read.result["output"], &read.result["state"]),
        (&json!("first\n"), &json!("running"))
    );
    let matched = world.run("process_output", &json!({ "process_id": id, "grep": "fir.t" })).await;
    assert!(matched.result["output"].as_str().unwrap().contains("first"), "{matched:?}");

    world.run("process_signal", &json!({ "process_id": id, "signal": "TERM" })).await;
    let ended = world.run("process_output", &json!({ "process_id": id, "wait_s": 20 })).await;
    assert_eq!((&ended.result["state"], &ended.result["signal"]), (&json!("exited"), &json!(15)));
}

#[tokio::test]
async fn a_command_that_asks_is_answered_and_its_input_closed() {
    let world = World::new().await;
    let command = "echo name?; read -r name; echo \"hello $name\"; cat; exit 4";
    let args = json!({ "command": command, "keep_stdin_open": true, "background": true });
    let id = world.run("execute", &args).await.result["process_id"].clone();

    let typed = world.run("process_input", &json!({ "process_id": id, "input": "Mira\n" })).await;
    assert_eq!(typed.result["written"], json!(5), "{}", typed.result);
    let args = json!({ "process_id": id, "input": "the rest\n", "close": true });
    let typed = world.run("process_input", &args).await;
    assert_eq!((&typed.result["written"], &typed.result["closed"]), (&json!(9), &json!(true)));

    let ended = world.run("process_output", &json!({ "process_id": id, "wait_s": 20 })).await;
    assert_eq!(ended.result["output"], json!("name?\nhello Mira\nthe rest\n"));
    assert_eq!(ended.result["exit_code"], json!(4));
    let late = world.run("process_input", &json!({ "process_id": id, "input": "x" })).await;
    assert_eq!(late.error_code(), Some("stdin_closed"), "{}", late.result);
    assert!(late.result["error"]["hint"].as_str().unwrap().contains("keep_stdin_open"));
}

#[tokio::test]
async fn input_that_is_asked_for_again_after_a_cut_is_read_once() {
    let world = World::new().await;
    let mut cuts = 0;
    for point in [CutPoint::BeforeRequest, CutPoint::AfterRequest, CutPoint::InAnswer(5)] {
        let args = json!({ "command": "cat", "keep_stdin_open": true, "background": true });
        let id = world.run("execute", &args).await.result["process_id"].clone();
        let (context, _) = world.context();
        let args = json!({ "process_id": id, "input": "once\n", "close": true });
        // The first call looks, the second writes.
        world.link.cut_after(1, point);
        let outcome = loop {
            match world.ask(&context, "process_input", &args).await {
                Ok(outcome) => break outcome,
                Err(ToolError::Unknown { .. } | ToolError::Unavailable { .. }) => {
                    world.link.restore();
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(outcome.result["written"], json!(5), "{point:?}: {}", outcome.result);
        cuts += 1;
        assert_eq!(world.link.cuts(), cuts, "{point:?}");
        let ended = world.run("process_output", &json!({ "process_id": id, "wait_s": 20 })).await;
        assert_eq!(ended.result["output"], json!("once\n"), "{point:?}");
    }
}

#[tokio::test]
async fn long_output_is_shown_by_its_head_and_tail_and_can_be_paged() {
    let world = World::new().await;
    let seen = world.run("execute", &json!({ "command": "seq 1 100000" })).await;
    let output = seen.result["output"].as_str().unwrap();
    assert!(
        output.starts_with("1\n2\n") && output.ends_with("99999\n100000\n"),
        "{}",
        output.len()
    );
    assert!(output.len() < 40 * 1024);
    let total = seen.result["truncated"]["total_bytes"].as_u64().unwrap();
    assert_eq!(total, 588_895);
    let args = json!({ "process_id": seen.result["process_id"], "grep": "^54321$" });
    let middle = world.run("process_output", &args).await;
    assert!(middle.result["output"].as_str().unwrap().contains(" 54321\n"), "{middle:?}");
}

/// Asks as the driver of a turn does: with the same operation until there is an answer.
async fn to_an_answer(
    world: &World,
    context: &ToolContext<WorkspaceLink>,
    args: &Value,
) -> (ToolOutcome, usize) {
    let mut lost = 0;
    loop {
        match world.ask(context, "execute", args).await {
            Ok(outcome) => return (outcome, lost),
            Err(ToolError::Unknown { .. } | ToolError::Unavailable { .. }) => {
                lost += 1;
                world.link.restore();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_cut_link_never_runs_a_command_twice() {
    let args = json!({ "command": "echo line >> ledger; echo shown; sleep 0.3; echo end" });
    for point in [CutPoint::BeforeRequest, CutPoint::AfterRequest, CutPoint::InAnswer(5)] {
        let world = World::new().await;
        let (context, shown) = world.context();
        world.link.cut_next(point);
        let (outcome, lost) = to_an_answer(&world, &context, &args).await;
        assert_eq!((lost, &outcome.result["output"]), (1, &json!("shown\nend\n")), "{point:?}");
        assert_eq!(*shown.lock().unwrap(), "shown\nend\n", "{point:?}");
        let ledger = std::fs::read_to_string(world.root().join("ledger")).unwrap();
        assert_eq!(ledger, "line\n", "{point:?}");
    }
}

#[tokio::test]
async fn a_link_that_is_cut_while_output_is_shown_shows_the_rest_once() {
    let world = World::new().await;
    let (context, shown) = world.context();
    let (link, sink) = (Arc::clone(&world.link), Arc::clone(&shown));
    let live = LiveOutput::new(move |text| {
        sink.lock().unwrap().push_str(text);
        if link.cuts() == 0 {
            link.cut();
        }
    });
    let context = ToolContext { live, ..context };
    let args = json!({ "command": "echo line >> ledger; echo shown; sleep 0.3; echo end" });
    let (outcome, lost) = to_an_answer(&world, &context, &args).await;
    assert_eq!((lost, &outcome.result["output"]), (1, &json!("shown\nend\n")));
    assert_eq!(*shown.lock().unwrap(), "shown\nend\n");
    assert_eq!(std::fs::read_to_string(world.root().join("ledger")).unwrap(), "line\n");
}

#[tokio::test]
async fn files_are_written_read_edited_and_found() {
    let world = World::new().await;
    let written = world
        .run("write_file", &json!({ "path": "src/lib.rs", "content": "fn one() {}\nfn two() {}\n", "create_only": true }))
        .await;
    assert_eq!((&written.result["created"], &written.result["size"]), (&json!(true), &json!(24)));

    let read = world.run("read_file", &json!({ "path": "src/lib.rs", "offset": 2 })).await;
    assert_eq!(read.result["content"], "     2\tfn two() {}\n");
    assert_eq!(read.result["hash"], written.result["hash"]);

    let edits = json!([{ "old_text": "two", "new_text": "zwei" }]);
    let hash = &written.result["hash"];
    let edited = world
        .run(
            "edit_files",
            &json!({ "files": [{ "path": "src/lib.rs", "edits": edits, "expect_hash": hash }] }),
        )
        .await;
    let diff = edited.result["files"][0]["diff"].as_str().unwrap();
    assert!(diff.contains("-fn two() {}") && diff.contains("+fn zwei() {}"), "{diff}");

    let listed = world.run("list_dir", &json!({})).await;
    assert_eq!(listed.result["entries"], json!([{ "name": "src", "kind": "directory" }]));
    let found = world.run("glob", &json!({ "pattern": "**/*.rs" })).await;
    assert_eq!(found.result["paths"], json!(["src/lib.rs"]));
    let found = world.run("search", &json!({ "pattern": "fn \\w+" })).await;
    assert_eq!(found.result["output"], "src/lib.rs\n1:fn one() {}\n2:fn zwei() {}\n");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_a_code_and_changes_nothing() {
    let world = World::new().await;
    std::fs::write(world.root().join("a"), "same\nsame\n").unwrap();
    std::fs::write(world.root().join("binary"), [0, 1, 2, 0xFF]).unwrap();
    let edit = |old: &str, hash: Option<&str>| {
        let mut file = json!({ "path": "a", "edits": [{ "old_text": old, "new_text": "x" }] });
        if let Some(hash) = hash {
            file["expect_hash"] = json!(hash);
        }
        json!({ "files": [file] })
    };
    let rows: Vec<(&str, Value, &str)> = vec![
        ("read_file", json!({ "path": "../x" }), "path_escape"),
        ("read_file", json!({ "path": "/etc/passwd" }), "path_escape"),
        ("read_file", json!({ "path": "absent" }), "file_not_found"),
        ("read_file", json!({ "path": "." }), "is_a_directory"),
        ("read_file", json!({ "path": "binary" }), "binary_file"),
        ("read_file", json!({ "path": "a", "offset": 9 }), "invalid_range"),
        (
            "write_file",
            json!({ "path": "a", "content": "", "create_only": true }),
            "already_exists",
        ),
        ("edit_files", edit("absent", None), "no_match"),
        ("edit_files", edit("same", None), "ambiguous_match"),
        ("edit_files", edit("same", Some("b3:0")), "file_changed"),
        ("glob", json!({ "pattern": "[" }), "invalid_pattern"),
        ("search", json!({ "pattern": "(" }), "invalid_pattern"),
        ("list_dir", json!({ "path": "a" }), "not_a_directory"),
        ("execute", json!({ "command": "true", "cwd": "absent" }), "cwd_not_found"),
        ("execute", json!({ "command": "true", "cwd": "../.." }), "path_escape"),
        (
            "process_output",
            json!({ "process_id": "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K" }),
            "process_not_found",
        ),
    ];
    let mut wrong = Vec::new();
    for (tool, args, code) in &rows {
        let outcome = world.run(tool, args).await;
        if outcome.error_code() != Some(code) {
            wrong.push(format!("{tool} {args}: {}", outcome.result));
        }
    }
    println!("tool errors: {}/{} rows passed", rows.len() - wrong.len(), rows.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(std::fs::read_to_string(world.root().join("a")).unwrap(), "same\nsame\n");
}
