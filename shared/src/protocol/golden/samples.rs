//! One example per message and variant. The values mean nothing; each field that can be there is
//! there in one of them, and absent in another.

use std::collections::BTreeMap;

use ulid::Ulid;

use super::Sample;
use crate::ids::{CallId, FromUlid, OpId};
use crate::protocol::call::{CallHeader, Fence};
use crate::protocol::enroll::{Certificate, Der, Enroll, RenewCertificate};
use crate::protocol::files::*;
use crate::protocol::hello::{Hello, Welcome};
use crate::protocol::notice::{ControlNotice, DaemonNotice};
use crate::protocol::operation::{CancelOperation, OperationState, QueryOperation};
use crate::protocol::process::*;
use crate::protocol::pty::*;
use crate::protocol::{ErrorCode, Reply, WireError};

/// The same id in every example of a kind.
pub(super) fn id<T: FromUlid>() -> T {
    T::from_ulid(Ulid::from_parts(1_790_000_000_000, 42))
}

fn text(text: &str) -> String {
    text.to_owned()
}

pub(super) fn hello() -> Hello {
    Hello {
        minor_min: 0,
        minor_max: 3,
        version: text("0.1.0"),
        instance_id: id(),
        features: vec![text("keeper"), text("pty")],
        os: text("linux"),
        arch: text("x86_64"),
        hostname: text("big-box"),
        root: text("/srv/code"),
        now_ms: 1_790_000_000_123,
    }
}

pub(super) fn start() -> StartProcess {
    StartProcess {
        process_id: id(),
        program: Program::Shell { command: text("cargo test") },
        cwd: None,
        env: BTreeMap::new(),
        stdin: Stdin::Closed,
        chat_id: None,
        output_kept_bytes: None,
    }
}

pub(super) fn view(state: ProcessState) -> ProcessView {
    ProcessView {
        process_id: id(),
        command: text("cargo test"),
        cwd: text("/srv/code"),
        chat_id: None,
        os_pid: None,
        started_at_ms: 1_790_000_000_000,
        state,
        output_total: 70_000_000_000,
        dropped_from: 16_384,
        dropped_to: 20_000,
        facts: None,
    }
}

fn refused() -> WireError {
    WireError::refused(ErrorCode::RangeDropped, "bytes 0 to 9 were dropped")
        .with("from", 0)
        .with("to", 9)
}

fn odd_path() -> FilePath {
    FilePath { path: text("caf\\xe9"), bytes: Some(b"caf\xe9".to_vec()) }
}

pub(super) fn samples() -> Vec<Sample> {
    let mut all = link();
    all.extend(enrolment());
    all.extend(processes());
    all.extend(outputs());
    all.extend(ptys());
    all.extend(pty_attachments());
    all.extend(files_read());
    all.extend(files_changed());
    all
}

fn link() -> Vec<Sample> {
    let welcome = Welcome {
        minor: 0,
        version: text("0.1.0"),
        replica_id: id(),
        workspace_id: id(),
        workspace_name: text("big box"),
        link_epoch: 7,
        now_ms: 1_790_000_000_456,
        servers: vec![],
    };
    let servers = vec![text("replica-1.example:7443"), text("[2001:db8::1]:7443")];
    let several = Welcome { servers: servers.clone(), ..welcome.clone() };
    let read = CallHeader {
        method: text("process/get"),
        id: id::<CallId>().to_string(),
        deadline_ms: None,
        fence: None,
        traceparent: None,
        resume_from: None,
        read_only: false,
    };
    let operation = CallHeader {
        method: text("process/start"),
        id: id::<OpId>().to_string(),
        deadline_ms: Some(30_000),
        fence: Some(Fence { scope: text("chat_x"), epoch: 3, hash: text("00ff") }),
        traceparent: Some(text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        resume_from: Some(4_294_967_296),
        read_only: false,
    };
    let read_only = CallHeader { read_only: true, ..operation.clone() };
    let version = WireError::refused(ErrorCode::VersionUnsupported, "speaks 1.0 to 1.0")
        .with("supported_min", 0)
        .with("supported_max", 0);
    vec![
        Sample::new("hello", &hello()),
        Sample::new("welcome", &Reply::Ok(welcome)),
        Sample::new("welcome_of_several", &Reply::Ok(several)),
        Sample::new("welcome_refused", &Reply::<Welcome>::Err(version)),
        Sample::new("call_header_read", &read),
        Sample::new("call_header_operation", &operation),
        Sample::new("call_header_read_only", &read_only),
        Sample::new("error_failed", &WireError::failed(ErrorCode::IoFailed, "EIO")),
        Sample::new("error_refused", &refused()),
        Sample::new("notice_process_exited", &DaemonNotice::ProcessExited { process_id: id() }),
        Sample::new("notice_pty_exited", &DaemonNotice::PtyExited { pty_id: id() }),
        Sample::new("notice_daemon_stopping", &DaemonNotice::Stopping),
        Sample::new("notice_acknowledged", &ControlNotice::Acknowledged { op_ids: vec![id()] }),
        Sample::new("notice_control_stopping", &ControlNotice::Stopping),
        Sample::new("notice_servers", &ControlNotice::Servers { servers }),
        Sample::new("operation_query_request", &QueryOperation { op_id: id() }),
        Sample::new("operation_query_reply_absent", &Reply::Ok(OperationState::Absent)),
        Sample::new("operation_query_reply_running", &Reply::Ok(OperationState::Running)),
        Sample::new("operation_query_reply_done", &Reply::Ok(OperationState::Done)),
        Sample::new(
            "operation_query_reply_failed",
            &Reply::Ok(OperationState::Failed { error: refused() }),
        ),
        Sample::new("operation_cancel_request", &CancelOperation { op_id: id() }),
        Sample::new("operation_cancel_reply", &Reply::Ok(OperationState::Cancelled)),
    ]
}

fn enrolment() -> Vec<Sample> {
    let certificate = Certificate {
        workspace_id: id(),
        workspace_name: text("big box"),
        chain_der: vec![Der(vec![0x30, 0x01]), Der(vec![0x30, 0x02])],
        not_after_ms: 1_790_086_400_000,
    };
    let enroll = Enroll {
        token_secret: text("AAECAwQFBgcICQoLDA0ODw"),
        csr_der: vec![0x30, 0x00],
        hostname: text("big-box"),
    };
    vec![
        Sample::new("enroll_request", &enroll),
        Sample::new("enroll_reply", &Reply::Ok(certificate.clone())),
        Sample::new("certificate_renew_request", &RenewCertificate { csr_der: vec![0x30, 0x00] }),
        Sample::new("certificate_renew_reply", &Reply::Ok(certificate)),
    ]
}

fn processes() -> Vec<Sample> {
    let full = StartProcess {
        program: Program::Argv { argv: vec![text("cargo"), text("test")] },
        cwd: Some(text("crates/a")),
        env: BTreeMap::from([(text("RUST_LOG"), text("debug"))]),
        stdin: Stdin::Bytes { data: vec![0, 255] },
        chat_id: Some(text("chat_x")),
        output_kept_bytes: Some(1_048_576),
        ..start()
    };
    let facts_sandboxed = ProcessFacts {
        sandbox: Some(SandboxFacts { landlock_abi: 7, seccomp: true }),
        ..ProcessFacts::default()
    };
    let sandboxed = StartSandboxed { start: full.clone(), sandbox: SandboxKind::ReadOnly };
    let open = StartProcess { stdin: Stdin::Open, ..start() };
    let exited =
        |exit| ProcessState::Exited { exit, ended_at_ms: 1_790_000_009_000, output_held_by: 1 };
    let code = view(exited(Exit::Code { code: 101 }));
    let signal = view(exited(Exit::Signal { signal: 11, core: true }));
    let survivor = SystemProcess { pid: 4_243, command: text("dd if=/dev/sdb") };
    let facts = ProcessView {
        facts: ProcessFacts {
            spool_full: None,
            sandbox: None,
            usage: Some(ProcessUsage { user_ms: 1_200, system_ms: 40, max_rss_bytes: 1 << 30 }),
            oom_killed: Some(OomKilled {
                kills: 1,
                limit_bytes: Some(1 << 30),
                peak_bytes: Some(1 << 30),
            }),
            pids_limit: Some(PidsLimit { refused: 7, limit: Some(512) }),
            output_holders: vec![survivor.clone()],
            stopped: Some(Stopped {
                means: StopMeans::CgroupKill,
                left: 1,
                survivors: vec![survivor],
            }),
        }
        .if_any(),
        ..code.clone()
    };
    let not_started = ProcessState::NotStarted {
        error: WireError::refused(ErrorCode::SpawnFailed, "no such program")
            .with("cause", "not_found"),
    };
    let running = ProcessView {
        chat_id: Some(text("chat_x")),
        os_pid: Some(4_242),
        ..view(ProcessState::Running)
    };
    let list = ListProcesses { chat_id: Some(text("chat_x")), limit: Some(50) };
    let in_sandbox = ProcessView { facts: facts_sandboxed.if_any(), ..running.clone() };
    let items = ProcessList { items: vec![running.clone()], total: 12 };
    let signal_request = SignalProcess { process_id: id(), signal: text("TERM") };
    let stdin = WriteStdin { process_id: id(), data: vec![104, 105, 10], close: true };
    vec![
        Sample::new("process_start_request", &start()),
        Sample::new("process_start_request_full", &full),
        Sample::new("process_start_request_open_stdin", &open),
        Sample::new("process_start_sandboxed_request", &sandboxed),
        Sample::new("process_start_sandboxed_reply", &Reply::Ok(in_sandbox)),
        Sample::new("process_start_reply", &Reply::Ok(running.clone())),
        Sample::new("process_start_reply_not_started", &Reply::Ok(view(not_started))),
        Sample::new("process_get_request", &GetProcess { process_id: id() }),
        Sample::new("process_get_reply_code", &Reply::Ok(code.clone())),
        Sample::new("process_get_reply_signal", &Reply::Ok(signal)),
        Sample::new(
            "process_get_reply_lost",
            &Reply::Ok(view(ProcessState::Lost { noticed_at_ms: 1_790_000_009_000 })),
        ),
        Sample::new("process_list_request", &ListProcesses::default()),
        Sample::new("process_list_request_full", &list),
        Sample::new("process_list_reply", &Reply::Ok(items)),
        Sample::new("process_wait_request", &WaitProcess { process_id: id(), timeout_ms: 10_000 }),
        Sample::new("process_wait_reply", &Reply::Ok(code.clone())),
        Sample::new("process_signal_request", &signal_request),
        Sample::new("process_signal_reply", &Reply::Ok(running)),
        Sample::new("process_stop_request", &StopProcess { process_id: id(), grace_ms: 5_000 }),
        Sample::new("process_stop_reply", &Reply::Ok(code)),
        Sample::new("process_stop_reply_facts", &Reply::Ok(facts)),
        Sample::new("process_stdin_request", &stdin),
        Sample::new("process_stdin_reply", &Reply::Ok(StdinWritten { written: 3 })),
    ]
}

fn outputs() -> Vec<Sample> {
    let window = |window| ViewOutput { process_id: id(), window };
    let head_tail = OutputWindow::HeadTail { head_bytes: None, tail_bytes: None };
    let head_tail_full = OutputWindow::HeadTail { head_bytes: Some(1), tail_bytes: Some(2) };
    let from = OutputWindow::From { offset: 4_294_967_296, limit_bytes: 65_536 };
    let grep = OutputWindow::Grep { pattern: text("error"), context: 2, limit: 10 };
    let output = OutputView {
        process: view(ProcessState::Running),
        text: text("Compiling\n… 7 bytes …\ndone"),
        omitted_bytes: 7,
        next_offset: 40,
        lines_cut: 1,
    };
    let read = ReadOutput { process_id: id(), offset: 0, limit_bytes: 1, from_end: true };
    let page = OutputPage { offset: 5, len: 10, process: view(ProcessState::Running) };
    let chunk = |stream| FollowItem::Chunk { offset: 4_294_967_296, stream, len: 262_144 };
    let process = view(ProcessState::Running);
    vec![
        Sample::new("process_view_request", &window(head_tail)),
        Sample::new("process_view_request_full", &window(head_tail_full)),
        Sample::new("process_view_request_from", &window(from)),
        Sample::new("process_view_request_tail", &window(OutputWindow::TailLines { lines: 20 })),
        Sample::new("process_view_request_grep", &window(grep)),
        Sample::new("process_view_reply", &Reply::Ok(output)),
        Sample::new("process_output_request", &read),
        Sample::new("process_output_reply", &Reply::Ok(page)),
        Sample::new("process_output_reply_dropped", &Reply::<OutputPage>::Err(refused())),
        Sample::new("process_follow_request", &FollowOutput { process_id: id(), offset: 9 }),
        Sample::new("process_follow_reply", &Reply::Ok(Following { process: process.clone() })),
        Sample::new("follow_chunk_stdout", &chunk(OutputStream::Stdout)),
        Sample::new("follow_chunk_stderr", &chunk(OutputStream::Stderr)),
        Sample::new("follow_dropped", &FollowItem::Dropped { from: 1, to: 2 }),
        Sample::new("follow_end", &FollowItem::End { process }),
    ]
}

fn pty_view(state: ProcessState) -> PtyView {
    PtyView {
        pty_id: id(),
        command: text("bash"),
        cwd: text("/srv/code"),
        chat_id: None,
        os_pid: None,
        started_at_ms: 1_790_000_000_000,
        state,
        size: PtySize::clamped(120, 40),
        title: None,
        writer: None,
        viewers: 0,
        output_total: 70_000_000_000,
        dropped_from: 16_384,
        dropped_to: 20_000,
    }
}

fn ptys() -> Vec<Sample> {
    let open = OpenPty {
        pty_id: id(),
        program: None,
        cwd: None,
        env: BTreeMap::new(),
        size: PtySize::default(),
        chat_id: None,
        output_kept_bytes: None,
    };
    let full = OpenPty {
        program: Some(Program::Argv { argv: vec![text("vim"), text("a.rs")] }),
        cwd: Some(text("crates/a")),
        env: BTreeMap::from([(text("TERM"), text("screen"))]),
        size: PtySize::clamped(1_000, 1),
        chat_id: Some(text("chat_x")),
        output_kept_bytes: Some(1_048_576),
        ..open.clone()
    };
    let running = PtyView {
        chat_id: Some(text("chat_x")),
        os_pid: Some(4_242),
        title: Some(text("a.rs - vim")),
        writer: Some(text("tab-1")),
        viewers: 2,
        ..pty_view(ProcessState::Running)
    };
    let exited = pty_view(ProcessState::Exited {
        exit: Exit::Signal { signal: 1, core: false },
        ended_at_ms: 1_790_000_009_000,
        output_held_by: 0,
    });
    let list = ListPtys { chat_id: Some(text("chat_x")), limit: Some(50) };
    let resize = ResizePty { pty_id: id(), size: PtySize::clamped(132, 43) };
    let input = WritePty { pty_id: id(), data: vec![3] };
    let screen = PtyScreenText {
        pty: running.clone(),
        offset: 70_000_000_000,
        rows: vec![text("~"), text("-- INSERT --")],
        cursor_row: 1,
        cursor_col: 12,
        cursor_visible: true,
        alternate: true,
    };
    let output = ReadPtyOutput { pty_id: id(), offset: 9, limit_bytes: 10, from_end: true };
    let page = PtyOutputPage { offset: 5, len: 10, pty: pty_view(ProcessState::Running) };
    vec![
        Sample::new("pty_open_request", &open),
        Sample::new("pty_open_request_full", &full),
        Sample::new("pty_open_reply", &Reply::Ok(running.clone())),
        Sample::new("pty_get_request", &GetPty { pty_id: id() }),
        Sample::new("pty_get_reply", &Reply::Ok(exited.clone())),
        Sample::new("pty_list_request", &ListPtys::default()),
        Sample::new("pty_list_request_full", &list),
        Sample::new(
            "pty_list_reply",
            &Reply::Ok(PtyList { items: vec![running.clone()], total: 9 }),
        ),
        Sample::new("pty_close_request", &ClosePty { pty_id: id(), grace_ms: 5_000 }),
        Sample::new("pty_close_reply", &Reply::Ok(exited)),
        Sample::new("pty_resize_request", &resize),
        Sample::new("pty_resize_reply", &Reply::Ok(running)),
        Sample::new("pty_input_request", &input),
        Sample::new("pty_input_reply", &Reply::Ok(PtyWritten { written: 1 })),
        Sample::new("pty_screen_request", &ReadPtyScreen { pty_id: id() }),
        Sample::new("pty_screen_reply", &Reply::Ok(screen)),
        Sample::new("pty_output_request", &output),
        Sample::new("pty_output_reply", &Reply::Ok(page)),
    ]
}

fn pty_attachments() -> Vec<Sample> {
    let pty = pty_view(ProcessState::Running);
    let screen = PtyScreen { offset: 4_294_967_296, size: PtySize::default(), len: 300_000 };
    let attach = AttachPty {
        pty_id: id(),
        viewer: text("tab-1"),
        from: AttachFrom::Screen { scrollback_lines: 200 },
        write: WriteWish::Never,
        size: None,
        skip_behind_bytes: None,
    };
    let attach_full = AttachPty {
        from: AttachFrom::Offset { offset: 4_294_967_296 },
        write: WriteWish::Take,
        size: Some(PtySize::clamped(100, 30)),
        skip_behind_bytes: Some(1_048_576),
        ..attach.clone()
    };
    let if_free = AttachPty { write: WriteWish::IfFree, ..attach.clone() };
    let attached = PtyAttached {
        pty: pty.clone(),
        is_writer: false,
        taken_seq: 0,
        offset: 9,
        live_from: 4_294_967_296,
        screen: None,
    };
    let attached_screen =
        PtyAttached { is_writer: true, taken_seq: 7, screen: Some(screen), ..attached.clone() };
    let read_only = WireError::refused(ErrorCode::ReadOnly, "tab-2 writes");
    let refused = |seq| PtyItem::Refused { seq, error: read_only.clone() };
    let writer = |viewer, is_you| PtyItem::Writer { viewer, is_you };
    let search = SearchPty {
        pty_id: id(),
        pattern: text("error"),
        ignore_case: false,
        context: 0,
        limit: 10,
        before: None,
    };
    let search_full =
        SearchPty { ignore_case: true, context: 2, before: Some(4_294_967_296), ..search.clone() };
    let found = |before: Vec<String>| PtyMatch {
        offset: 4_294_967_296,
        line: 12,
        text: text("an error"),
        ranges: vec![(3, 8)],
        before: before.clone(),
        after: before,
    };
    let matches = PtyMatches {
        matches: vec![found(vec![]), found(vec![text("x")])],
        total: 200,
        dropped_bytes: 1,
        searched_to: 4_294_967_400,
    };
    let record = RecordPty { pty_id: id(), format: RecordingFormat::AsciicastV2, offset: None };
    let record_full =
        RecordPty { format: RecordingFormat::AsciicastV3, offset: Some(9), ..record.clone() };
    let recording = PtyRecording { pty: pty.clone(), media_type: text("application/x-asciicast") };
    vec![
        Sample::new("pty_attach_request", &attach),
        Sample::new("pty_attach_request_full", &attach_full),
        Sample::new("pty_attach_request_if_free", &if_free),
        Sample::new("pty_attach_reply", &Reply::Ok(attached)),
        Sample::new("pty_attach_reply_screen", &Reply::Ok(attached_screen)),
        Sample::new("pty_say_input", &PtySay::Input { seq: 8, data: vec![27, 91, 65] }),
        Sample::new("pty_say_resize", &PtySay::Resize { size: PtySize::clamped(132, 43) }),
        Sample::new("pty_say_take", &PtySay::Take),
        Sample::new("pty_say_release", &PtySay::Release),
        Sample::new("pty_item_chunk", &PtyItem::Chunk { offset: 9, len: 262_144 }),
        Sample::new("pty_item_dropped", &PtyItem::Dropped { from: 1, to: 2 }),
        Sample::new("pty_item_screen", &PtyItem::Screen { screen }),
        Sample::new("pty_item_resized", &PtyItem::Resized { offset: 9, size: PtySize::default() }),
        Sample::new("pty_item_writer", &writer(Some(text("tab-2")), false)),
        Sample::new("pty_item_writer_none", &writer(None, false)),
        Sample::new("pty_item_taken", &PtyItem::Taken { seq: 8 }),
        Sample::new("pty_item_refused", &refused(None)),
        Sample::new("pty_item_refused_input", &refused(Some(8))),
        Sample::new("pty_item_end", &PtyItem::End { pty }),
        Sample::new("pty_item_replaced", &PtyItem::Replaced),
        Sample::new("pty_search_request", &search),
        Sample::new("pty_search_request_full", &search_full),
        Sample::new("pty_search_reply", &Reply::Ok(matches)),
        Sample::new("pty_recording_request", &record),
        Sample::new("pty_recording_request_full", &record_full),
        Sample::new("pty_recording_reply", &Reply::Ok(recording)),
    ]
}

fn files_read() -> Vec<Sample> {
    let lines = Lines {
        path: "src/a.rs".into(),
        lines: vec![text("fn main() {}"), String::new()],
        first_line: 1,
        next_line: Some(3),
        total_lines: None,
        size: 13,
        hash: Some(text("b3:00ff")),
        lines_cut: 0,
        changed_during_read: false,
        encoding: text("utf-8"),
        line_ending: text("lf"),
    };
    let page = BytesPage {
        offset: 0,
        len: 4,
        size: 4,
        hash: None,
        modified_at_ms: 1_790_000_000_000,
        mode: 0o644,
        changed_during_read: true,
    };
    let entry = |kind: &str, target: Option<&str>| DirectoryEntry {
        name: "a".into(),
        kind: text(kind),
        size: 1,
        modified_at_ms: 2,
        target: target.map(text),
    };
    let entries = vec![entry("file", None), entry("symlink", Some("b"))];
    let list = ListDirectory { path: ".".into(), after: Some(odd_path()), limit: Some(10) };
    let glob = GlobFiles { pattern: text("**/*.rs"), path: Some("src".into()), limit: Some(5) };
    let search = SearchFiles {
        pattern: text("fn "),
        literal: true,
        ignore_case: true,
        path: Some("src".into()),
        glob: Some(text("*.rs")),
        context: 2,
        limit: Some(7),
    };
    let found = SearchResult {
        files: vec![FileMatches {
            path: odd_path(),
            lines: vec![MatchLine { line: 3, text: text("fn a"), is_match: true }],
        }],
        matches: 1,
        files_searched: 2,
        truncated: true,
    };
    vec![
        Sample::new(
            "files_lines_request",
            &ReadLines { path: "src/a.rs".into(), line: None, limit: None },
        ),
        Sample::new(
            "files_lines_request_full",
            &ReadLines { path: odd_path(), line: Some(3), limit: Some(9) },
        ),
        Sample::new("files_lines_reply", &Reply::Ok(lines)),
        Sample::new(
            "files_read_request",
            &ReadBytes { path: "a".into(), offset: 4_294_967_296, limit_bytes: 4 },
        ),
        Sample::new("files_read_reply", &Reply::Ok(page)),
        Sample::new(
            "files_list_request",
            &ListDirectory { path: ".".into(), after: None, limit: None },
        ),
        Sample::new("files_list_request_full", &list),
        Sample::new(
            "files_list_reply",
            &Reply::Ok(DirectoryPage { path: ".".into(), entries, more: true }),
        ),
        Sample::new(
            "files_glob_request",
            &GlobFiles { pattern: text("*"), path: None, limit: None },
        ),
        Sample::new("files_glob_request_full", &glob),
        Sample::new(
            "files_glob_reply",
            &Reply::Ok(GlobResult { paths: vec![odd_path()], truncated: false }),
        ),
        Sample::new("files_search_request_full", &search),
        Sample::new("files_search_reply", &Reply::Ok(found)),
    ]
}

fn files_changed() -> Vec<Sample> {
    let write = WriteFile { path: "a".into(), len: 12, expect: Expect::Any, mode: None };
    let absent = WriteFile { expect: Expect::Absent, mode: Some(0o755), ..write.clone() };
    let hash = Expect::Hash { hash: text("b3:00ff") };
    let written = Written { path: "a".into(), created: true, hash: text("b3:00ff"), size: 12 };
    let edit = Edit { old_text: text("a"), new_text: text("b"), replace_all: true };
    let edits = |expect_hash| EditFiles {
        files: vec![FileEdits { path: "a".into(), edits: vec![edit.clone()], expect_hash }],
    };
    let edited = Edited {
        files: vec![EditedFile {
            path: "a".into(),
            hash: text("b3:00ff"),
            diff: text("-a\n+b\n"),
            added: 1,
            removed: 1,
        }],
    };
    vec![
        Sample::new("files_write_request", &write),
        Sample::new("files_write_request_absent", &absent),
        Sample::new("files_write_request_hash", &WriteFile { expect: hash.clone(), ..write }),
        Sample::new("files_write_reply", &Reply::Ok(written)),
        Sample::new("files_edit_request", &edits(None)),
        Sample::new("files_edit_request_hash", &edits(Some(text("b3:00ff")))),
        Sample::new("files_edit_reply", &Reply::Ok(edited)),
        Sample::new("files_delete_request", &DeleteFile { path: "a".into(), expect: hash }),
        Sample::new("files_delete_reply", &Reply::Ok(Deleted { path: "a".into() })),
    ]
}
