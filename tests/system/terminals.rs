//! Terminals over HTTP: people before them, people who type wrong things, people who do not read, and
//! a daemon that dies.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use shared::testing::bad_input::BadInput;
use shared::testing::trials;
use tests::api::{Api, PATIENCE};
use tests::programs::rss_mib;
use tests::pty::{Came, PtyViewer, open_pty};
use tests::world::World;

/// A shell that shows nothing by itself.
const QUIET: &str = "stty -echo; exec sh -c 'while read -r line; do eval \"$line\"; done'";

async fn world() -> Result<(World, String)> {
    let world = World::new(json!([])).await?;
    let workspace = world.programs.workspace_id.clone();
    Ok((world, workspace))
}

/// Keepers outlive their daemon, so what a test opened is closed by it.
async fn close_all(api: &Api, workspace: &str) -> Result<()> {
    // A connection that idled through a long test may just be closed by the server.
    let api = &api.anew()?;
    let at = format!("/workspaces/{workspace}/ptys");
    for pty in api.get(&at).await?["items"].as_array().into_iter().flatten() {
        if pty["state"] == "running" {
            let id = pty["id"].as_str().unwrap_or_default();
            api.request("DELETE", &format!("{at}/{id}?grace_ms=0"), None).await?;
        }
    }
    Ok(())
}

/// Rows of the catalogue.
struct Rows {
    report: BadInput,
    failures: Vec<String>,
    count: usize,
}

impl Rows {
    fn new() -> Self {
        Self { report: BadInput::new(), failures: Vec::new(), count: 0 }
    }

    fn fact(&mut self, row: &str, is_so: bool, otherwise: &str) {
        self.count += 1;
        self.report.check(row, is_so);
        if !is_so {
            self.failures.push(format!("{row}: {otherwise}"));
        }
    }

    fn report(self, title: &str) {
        println!("{title}: passed {}/{}", self.count - self.failures.len(), self.count);
        self.report.report(title);
        assert!(self.failures.is_empty(), "{title}:\n{}", self.failures.join("\n"));
    }
}

fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |told| told["type"] == kind
}

#[tokio::test]
async fn a_terminal_is_opened_typed_into_searched_recorded_and_closed() -> Result<()> {
    let (world, workspace) = world().await?;
    let api = world.api();
    let at = format!("/workspaces/{workspace}/ptys");
    let made = api
        .post(&at, &json!({"argv": ["sh"], "cols": 100, "rows": 30, "env": {"PS1": "# "}}))
        .await?;
    let pty = made["id"].as_str().context("no id")?;
    let mut viewer = PtyViewer::open(api, &workspace, pty, "write=if_free&viewer=me").await?;
    ensure!(viewer.is_writer(), "{}", viewer.attached);
    // What is typed before the prompt stands before it.
    viewer.shows("#").await?;
    viewer.type_text("echo grüße-$((40 + 2)); stty size\r").await?;
    viewer.shows("grüße-42").await?;
    viewer.shows("30 100").await?;

    let screen = api.get(&format!("{at}/{pty}/screen")).await?;
    let lines = screen["lines"].as_array().context("no lines")?;
    assert!(lines.iter().any(|line| line == "grüße-42"), "{screen}");
    let listed = api.get(&at).await?;
    let row = &listed["items"][0];
    assert_eq!(
        (&row["id"], &row["writer"], &row["viewers"]),
        (&made["id"], &json!("me"), &json!(1))
    );
    let found = api.get(&format!("{at}/{pty}/search?q=gr%C3%BC.*42&context=1")).await?;
    assert_eq!((&found["total"], &found["matches"][0]["text"]), (&json!(1), &json!("grüße-42")));
    let (output, total) =
        api.bytes(&format!("{at}/{pty}/output?tail=100000"), "holdfast-total").await?;
    assert_eq!(output.len().to_string(), total);

    viewer.type_text("exit 7\r").await?;
    let end = viewer.until(is("end")).await?;
    assert_eq!(end["pty"]["exit"], json!({"code": 7}));
    let (recording, kind) = api.bytes(&format!("{at}/{pty}/recording"), "content-type").await?;
    let mut lines = std::str::from_utf8(&recording)?.lines();
    let head: Value = serde_json::from_str(lines.next().context("no head")?)?;
    assert_eq!((&head["version"], &head["width"]), (&json!(2), &json!(100)), "{kind}");
    let said: String = lines
        .map(serde_json::from_str::<Value>)
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .filter(|event| event[1] == "o")
        .filter_map(|event| event[2].as_str())
        .collect();
    assert!(said.contains("grüße-42"), "{said}");

    let other = open_pty(api, &workspace, "sleep 1000").await?;
    let (status, closed) = api.request("DELETE", &format!("{at}/{other}?grace_ms=0"), None).await?;
    assert_eq!((status, &closed["state"]), (200, &json!("exited")), "{closed}");
    close_all(api, &workspace).await
}

#[tokio::test]
async fn b33_input_that_cannot_be_typed_is_refused_by_name() -> Result<()> {
    let (world, workspace) = world().await?;
    let api = world.api();
    let mut rows = Rows::new();
    let pty = open_pty(api, &workspace, QUIET).await?;
    let mut writer = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=a").await?;
    let mut reader = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=b").await?;
    let refused = |told: Value| told["code"].as_str().unwrap_or_default().to_owned();

    reader.type_text("echo no\r").await?;
    let code = refused(reader.until(is("refused")).await?);
    rows.fact("B33 as a read-only viewer", code == "read_only", &code);
    writer.say(&json!({"type": "input", "seq": 9, "text": "echo early\r"})).await?;
    let code = refused(writer.until(is("refused")).await?);
    rows.fact("B33 out of turn, as before an attach", code == "not_attached", &code);
    for (row, said, code) in [
        ("B30 an unknown type", json!({"type": "dance"}), "unknown_type"),
        ("B30 input without text", json!({"type": "input", "seq": 1}), "invalid_event"),
        ("B30 a list", json!([1]), "invalid_event"),
        (
            "B33 a single input over the limit",
            json!({"type": "input", "seq": 1, "text": "x".repeat(65 * 1024)}),
            "invalid_event",
        ),
    ] {
        writer.say(&said).await?;
        let found = refused(writer.until(is("refused")).await?);
        rows.fact(row, found == code, &found);
    }
    writer.type_text("echo still-$((1 + 1))\r").await?;
    let shown = reader.shows("still-2").await;
    rows.fact("B33 the sockets stay", shown.is_ok(), &format!("{shown:?}"));

    let key = api.post("/api-keys", &json!({"name": "look", "scopes": ["read"]})).await?;
    let looks = Api::new(&world.programs.url(), key["key"].as_str().context("no key")?)?;
    let (status, code) =
        PtyViewer::refused(&looks, &workspace, &pty, "write=take&viewer=c").await?;
    rows.fact(
        "B33 a key that may only look",
        (status, code.as_str()) == (403, "missing_scope"),
        &code,
    );
    let mut watcher = PtyViewer::open(&looks, &workspace, &pty, "viewer=c").await?;
    watcher.type_text("echo no\r").await?;
    let code = refused(watcher.until(is("refused")).await?);
    rows.fact("B33 it types all the same", code == "missing_scope", &code);
    watcher.say(&json!({"type": "take"})).await?;
    let code = refused(watcher.until(is("refused")).await?);
    rows.fact("B33 it takes over all the same", code == "missing_scope", &code);
    let id = key["id"].as_str().context("no id")?;
    api.request("DELETE", &format!("/api-keys/{id}"), None).await?;
    let (code, reason) = watcher.closed().await?;
    rows.fact("B34 its key is revoked", code == 4401, &format!("{code} {reason}"));

    let mut twin = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=a").await?;
    let (code, reason) = writer.closed().await?;
    rows.fact("B33 another with its name", code == 4409, &format!("{code} {reason}"));
    rows.fact("B33 which has its role", twin.is_writer(), &twin.attached.to_string());
    twin.type_text("exit\r").await?;
    twin.until(is("end")).await?;
    twin.type_text("late\r").await?;
    let code = refused(twin.until(is("refused")).await?);
    rows.fact("B33 after the exit", code == "exited", &code);
    let (status, code) =
        PtyViewer::refused(api, &workspace, "pty_01J9ZQ4Y3M8T6V5W2X1R0P7N6K", "").await?;
    rows.fact("B33 no such terminal", (status, code.as_str()) == (404, "pty_not_found"), &code);
    for (query, expected) in
        [("window=1", 400), ("write=maybe", 400), ("offset=1&scrollback=1", 400), ("dance=1", 400)]
    {
        let (status, code) = PtyViewer::refused(api, &workspace, &pty, query).await?;
        rows.fact(&format!("B33 ?{query}"), status == expected, &code);
    }
    close_all(api, &workspace).await?;
    rows.report("B33 B34");
    Ok(())
}

#[tokio::test]
async fn b33_a_huge_paste_waits_for_the_program_and_arrives_whole() -> Result<()> {
    let (world, workspace) = world().await?;
    let api = world.api();
    let total = trials(4, 100) * 1024 * 1024;
    let command = format!("stty raw -echo; echo ready; head -c {total} | sha256sum; sleep 1000");
    let pty = open_pty(api, &workspace, &command).await?;
    let mut viewer = PtyViewer::open(api, &workspace, &pty, "write=if_free").await?;
    viewer.shows("ready").await?;
    let before = rss_mib(world.programs.server_pid()?)?;
    let mut hash = <sha2::Sha256 as sha2::Digest>::new();
    let (mut sent, mut most) = (0, before);
    while sent < total {
        let piece: String =
            (0..16 * 1024).map(|i| char::from(b'a' + ((sent + i) % 23) as u8)).collect();
        sha2::Digest::update(&mut hash, &piece);
        viewer.type_text(&piece).await?;
        sent += piece.len();
        if sent % (1024 * 1024) == 0 {
            most = most.max(rss_mib(world.programs.server_pid()?)?);
        }
    }
    let expected = hex(&sha2::Digest::finalize(hash));
    viewer.shows(&expected).await?;
    println!(
        "B33: a paste of {} MiB arrived whole; the server grew by {:.1} MiB",
        total >> 20,
        most - before
    );
    let mut report = BadInput::new();
    report.check("B33 a paste of 100 MB", most - before < 64.0);
    report.report("B33");
    ensure!(most - before < 64.0, "the server grew from {before} to {most} MiB");
    close_all(api, &workspace).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_viewer_that_is_behind_is_given_a_new_screen_and_told_what_it_missed() -> Result<()> {
    let (world, workspace) = world().await?;
    let api = world.api();
    let pty = open_pty(api, &workspace, QUIET).await?;
    // It acknowledges nothing, so it is sent no more than its window; what windows on the way can hold is
    // much less than the flood, 22 MiB.
    let query = "viewer=b&window=65536&behind=65536";
    let mut viewer = PtyViewer::open(api, &workspace, &pty, query).await?;
    let mut writer = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=a").await?;
    writer.type_text("seq 1 3000000; echo flood-$((1 + 1))\r").await?;
    writer.shows("flood-2").await?;
    // Now it acknowledges all that it gets.
    let (mut got, mut dropped) = (0, 0);
    while !String::from_utf8_lossy(&viewer.screen).contains("flood-2")
        && !String::from_utf8_lossy(&viewer.output).contains("flood-2")
    {
        match viewer.next().await? {
            Came::Bytes => {
                got = viewer.output.len() as u64;
                viewer.say(&json!({"type": "ack", "bytes": u64::MAX / 2})).await?;
            }
            Came::Told(told) if told["type"] == "dropped" => {
                dropped += told["to"].as_u64().unwrap_or(0) - told["from"].as_u64().unwrap_or(0);
            }
            Came::Told(_) => {}
            Came::Closed(code, reason) => anyhow::bail!("closed with {code} {reason}"),
        }
    }
    println!("a viewer behind: {got} bytes shown, {dropped} skipped");
    assert!(dropped > 1_000_000, "{dropped} bytes were skipped");
    close_all(api, &workspace).await
}

/// How many watch a terminal: asked until it is as wanted, since nobody is told when one has gone.
async fn until_viewers(api: &Api, at: &str, wanted: u64) -> Result<()> {
    let asking = async {
        loop {
            let pty = api.get(at).await?;
            if pty["viewers"] == wanted {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.context("the viewers stay")?
}

/// A line and what it makes the shell say, again and again.
async fn type_on(viewer: &mut PtyViewer, typed: &mut u64) -> Result<()> {
    loop {
        *typed += 1;
        viewer.type_text(&format!("echo key-$((0 + {typed}))-\r")).await?;
        viewer.shows(&format!("key-{typed}-")).await?;
    }
}

#[tokio::test]
async fn b35_a_viewer_that_reads_nothing_is_closed_with_its_offset_and_harms_nobody() -> Result<()>
{
    let (world, workspace) = world().await?;
    let api = world.api();
    let mut rows = Rows::new();
    let pty = open_pty(api, &workspace, QUIET).await?;
    let at = format!("/workspaces/{workspace}/ptys/{pty}");
    // Nothing is skipped for it, so it is owed more than all windows on the way can hold.
    let query = format!("viewer=slow&offset=0&behind={}", 1_u64 << 40);
    let mut slow = PtyViewer::open(api, &workspace, &pty, &query).await?;
    let mut fast = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=fast").await?;
    fast.type_text("seq 1 3000000; echo flood-$((1 + 1))\r").await?;
    let mut typed = 0;
    let going_on = async {
        fast.shows("flood-2").await?;
        type_on(&mut fast, &mut typed).await
    };
    let ended = tokio::select! {
        failed = going_on => failed,
        gone = until_viewers(api, &at, 1) => gone,
    };
    rows.fact("B35 others go on meanwhile", ended.is_ok(), &format!("{ended:?}"));
    // It reads at last: what was on its way, and why there is no more.
    let (code, reason) = slow.closed().await?;
    rows.fact("B35 closed", code == 4008, &format!("{code} {reason}"));
    let offset = reason.strip_prefix("slow_consumer ").and_then(|text| text.parse::<usize>().ok());
    let Some(offset) = offset else { anyhow::bail!("no offset in {code} {reason:?}") };
    rows.fact(
        "B35 with an offset that it has reached",
        offset > 0 && offset <= slow.output.len(),
        &format!("{offset} of {}", slow.output.len()),
    );

    let query = format!("viewer=slow&offset={offset}&behind={}", 1_u64 << 40);
    let mut again = PtyViewer::open(api, &workspace, &pty, &query).await?;
    fast.type_text("echo the-end-$((1 + 1))\r").await?;
    let shown = fast.shows("the-end-2").await;
    rows.fact("B35 others see everything", shown.is_ok(), &format!("{shown:?}"));
    again.shows("the-end-2").await?;
    let mut whole = slow.output[..offset].to_vec();
    whole.extend_from_slice(&again.output);
    let mut expected: Vec<u8> = Vec::new();
    (1..=3_000_000).for_each(|n: u32| expected.extend_from_slice(format!("{n}\r\n").as_bytes()));
    expected.extend_from_slice(b"flood-2\r\n");
    let is_whole = whole.starts_with(&expected);
    rows.fact("B35 nothing is missing and nothing twice", is_whole, "other bytes");
    println!(
        "B35: a viewer that reads nothing was closed with 4008 at {offset} of {} bytes and told so; another \
         typed {typed} lines meanwhile",
        whole.len()
    );
    close_all(api, &workspace).await?;
    rows.report("B35");
    Ok(())
}

/// The API gives a key its scopes for life; an operator may take them away in the database.
#[tokio::test]
async fn b34_a_terminal_is_closed_to_a_key_that_may_no_longer_look() -> Result<()> {
    let (world, workspace) = world().await?;
    let api = world.api();
    let mut rows = Rows::new();
    let pty = open_pty(api, &workspace, QUIET).await?;
    let made = api.post("/api-keys", &json!({"name": "looks", "scopes": ["read"]})).await?;
    let looks = Api::new(&world.programs.url(), made["key"].as_str().context("no key")?)?;
    let mut viewer = PtyViewer::open(&looks, &workspace, &pty, "viewer=looks").await?;
    let mut other = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=other").await?;

    let database = world.programs.home().join("server/holdfast.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", database.display())).await?;
    let update = sqlx::query("UPDATE api_keys SET scopes = 'write' WHERE id = $1");
    let updated = update.bind(made["id"].as_str()).execute(&pool).await?;
    ensure!(updated.rows_affected() == 1);
    pool.close().await;
    let (code, reason) = viewer.closed().await?;
    let found = (code, reason.as_str());
    rows.fact(
        "B34 a terminal, scope taken away",
        found == (4403, "missing_scope"),
        &format!("{found:?}"),
    );
    let refused = PtyViewer::refused(&looks, &workspace, &pty, "viewer=looks").await?;
    rows.fact(
        "B34 and so at its door",
        refused == (403, "missing_scope".to_owned()),
        &format!("{refused:?}"),
    );
    other.type_text("echo goes-$((1 + 1))\r").await?;
    let shown = other.shows("goes-2").await;
    rows.fact("B34 other viewers of the terminal go on", shown.is_ok(), &format!("{shown:?}"));
    close_all(api, &workspace).await?;
    rows.report("B34 terminals");
    Ok(())
}

#[tokio::test]
async fn a_killed_daemon_is_waited_for_and_nothing_is_typed_twice() -> Result<()> {
    let (mut world, workspace) = world().await?;
    let api = world.api().clone();
    let pty = open_pty(&api, &workspace, QUIET).await?;
    let mut viewer = PtyViewer::open(&api, &workspace, &pty, "write=if_free&viewer=a").await?;
    viewer.type_text("echo one >> ledger; echo did-$((1 + 0))\r").await?;
    viewer.shows("did-1").await?;
    for round in 2..5_u64 {
        let seq = viewer
            .type_text(&format!("echo {round} >> ledger; echo did-$((0 + {round}))\r"))
            .await?;
        world.programs.kill_daemon()?;
        world.programs.start_daemon_unwatched()?;
        let attached = viewer.until(is("attached")).await?;
        ensure!(attached["screen"].is_null(), "it goes on where it was: {attached}");
        ensure!(attached["is_writer"] == true, "{attached}");
        if attached["taken_seq"].as_u64().context("no number")? < seq {
            viewer
                .type_text(&format!("echo {round} >> ledger; echo did-$((0 + {round}))\r"))
                .await?;
        }
        viewer.shows(&format!("did-{round}")).await?;
    }
    let ledger = std::fs::read_to_string(world.programs.root().join("ledger"))?;
    assert_eq!(ledger, "one\n2\n3\n4\n");
    let shown = String::from_utf8_lossy(&viewer.output).into_owned();
    for round in 1..5 {
        assert_eq!(shown.matches(&format!("did-{round}")).count(), 1, "{shown}");
    }
    close_all(&api, &workspace).await
}

#[tokio::test]
async fn b78_to_b81_sizes_sequences_crowds_and_shells() -> Result<()> {
    let (world, workspace) = world().await?;
    let api = world.api();
    let at = format!("/workspaces/{workspace}/ptys");
    let mut rows = Rows::new();
    for (cols, rows_asked, expected) in
        [(0, 0, (1, 1)), (65_535, 65_535, (1_000, 1_000)), (-5, i64::MIN, (1, 1))]
    {
        let body = json!({"command": "sleep 1000", "cols": cols, "rows": rows_asked});
        let made = api.post(&at, &body).await?;
        let size = (made["cols"].as_i64().unwrap_or(-1), made["rows"].as_i64().unwrap_or(-1));
        rows.fact(&format!("B78 {cols}x{rows_asked}"), size == expected, &made.to_string());
    }
    let body = json!({"command": "sleep 1000", "cols": "wide"});
    let (status, problem) = api.request("POST", &at, Some(&body)).await?;
    rows.fact(
        "B78 no number",
        (status, &problem["code"]) == (400, &json!("invalid_type")),
        &problem.to_string(),
    );

    let pty = open_pty(api, &workspace, QUIET).await?;
    let mut viewer = PtyViewer::open(api, &workspace, &pty, "write=if_free&viewer=a").await?;
    for i in 0..1_000 {
        viewer.say(&json!({"type": "resize", "cols": 40 + i % 100, "rows": 20 + i % 30})).await?;
    }
    viewer.say(&json!({"type": "resize", "cols": 77, "rows": 33})).await?;
    let last = viewer.until(|told| told["type"] == "resized" && told["cols"] == 77).await?;
    let count = viewer.told.iter().filter(|told| told["type"] == "resized").count();
    rows.fact(
        "B78 1,000 resizes",
        last["rows"] == 33 && count <= 1_001,
        &format!("{count} {last}"),
    );
    viewer.type_text("stty size\r").await?;
    let shown = viewer.shows("33 77").await;
    rows.fact("B78 the last one counts", shown.is_ok(), &format!("{shown:?}"));

    // A string without end, and a string in a string; what comes after is shown.
    for (row, sequence) in [
        (
            "B79 an OSC without end",
            "printf '\\033]0;'; head -c 8000000 /dev/zero | tr '\\0' x; printf '\\007'",
        ),
        ("B79 a DCS in a DCS", "printf '\\033P\\033P$q\\033\\\\\\033\\\\'"),
        (
            "B79 a sequence in pieces",
            "printf '\\033'; sleep 0.01; printf '['; sleep 0.01; printf '1;31'; printf m",
        ),
    ] {
        let word = format!("after-{}", row.len());
        viewer.output.clear();
        viewer.type_text(&format!("{sequence}; echo; echo {word}\r")).await?;
        let shown = viewer.shows(&word).await;
        rows.fact(row, shown.is_ok(), &format!("{shown:?}"));
    }
    let screen = api.get(&format!("{at}/{pty}/screen")).await?;
    let last = screen["lines"].as_array().into_iter().flatten().rfind(|line| *line != "");
    rows.fact(
        "B79 the screen recovers",
        last.is_some_and(|line| line == "after-24"),
        &screen.to_string(),
    );

    let mut other = PtyViewer::open(api, &workspace, &pty, "viewer=b").await?;
    other.say(&json!({"type": "take"})).await?;
    other.until(|told| told["type"] == "writer" && told["is_you"] == true).await?;
    viewer.until(|told| told["type"] == "writer" && told["is_you"] == false).await?;
    other.type_text("printf '%s-' o t h e r; echo\r").await?;
    viewer.type_text("printf '%s-' m i n e; echo\r").await?;
    viewer.until(is("refused")).await?;
    let shown = viewer.shows("o-t-h-e-r-").await;
    let mixed = String::from_utf8_lossy(&viewer.output).contains("m-i-n-e-");
    rows.fact("B80 two writers", shown.is_ok() && !mixed, &format!("{shown:?}"));

    let mut crowd = Vec::new();
    let refused = loop {
        let name = format!("viewer=crowd{}", crowd.len());
        if crowd.len() >= 62 {
            break PtyViewer::refused(api, &workspace, &pty, &name).await?;
        }
        crowd.push(PtyViewer::open(api, &workspace, &pty, &name).await?);
    };
    rows.fact(
        "B80 more viewers than may be",
        refused == (429, "too_many_viewers".to_owned()),
        &format!("{refused:?}"),
    );
    other.type_text("echo to-all-$((3 * 3))\r").await?;
    let mut all = true;
    for one in &mut crowd {
        all &= one.shows("to-all-9").await.is_ok();
    }
    rows.fact("B80 all of them see it", all, "somebody does not");
    crowd.truncate(1);
    // In the middle of a sequence, and gone: who comes next has a screen that is whole.
    other
        .type_text("printf '\\033[1;3'; read -r rest; printf '1mred\\033[0m\\n'; echo whole\r")
        .await?;
    drop(viewer);
    other.type_text("go\r").await?;
    let mut next = PtyViewer::open(api, &workspace, &pty, "viewer=next").await?;
    let shown = next.shows("whole").await;
    rows.fact("B80 detached in a sequence", shown.is_ok(), &format!("{shown:?}"));

    let (status, problem) =
        api.request("POST", &at, Some(&json!({"argv": ["/no/such/shell"]}))).await?;
    let is_failed = problem["code"] == "spawn_failed" || problem["state"] == "not_started";
    rows.fact("B81 shell missing", is_failed, &format!("{status} {problem}"));
    let gone = api.post(&at, &json!({"command": "exit 3"})).await?;
    let gone = gone["id"].as_str().context("no id")?;
    let mut late = PtyViewer::open(api, &workspace, gone, "write=if_free").await?;
    let end = late.until(is("end")).await?;
    rows.fact(
        "B81 the shell exits at once",
        end["pty"]["exit"] == json!({"code": 3}),
        &end.to_string(),
    );
    let body =
        json!({"command": "echo term=$TERM; sleep 1000", "env": {"TERM": "no-such-terminal"}});
    let odd = api.post(&at, &body).await?;
    let mut odd =
        PtyViewer::open(api, &workspace, odd["id"].as_str().context("no id")?, "").await?;
    let shown = odd.shows("term=dumb").await;
    rows.fact("B81 TERM unknown", shown.is_ok(), &format!("{shown:?}"));
    close_all(api, &workspace).await?;
    rows.report("B78 B79 B80 B81");
    Ok(())
}
