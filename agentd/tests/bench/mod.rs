//! A process service on a temporary directory, and what tests ask of it again and again.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::allow_attributes, reason = "an expectation would fail where all of it is used")]

pub mod events;
pub mod measured;
pub mod served;
pub mod terminals;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentd::process::{Containment, Environment, FollowStep, KeeperProgram, ProcessHandle};
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::lifecycle::Lifecycle;
use shared::protocol::WireError;
use shared::protocol::process::{
    Exit, OutputStream, OutputWindow, ProcessState, ProcessView, Program, SandboxKind,
    StartProcess, StartSandboxed, Stdin, StopProcess, ViewOutput, WaitProcess,
};
use shared::testing::ManualClock;
use shared::testing::bad_input::BadInput;

pub struct Bench {
    pub processes: ProcessHandle,
    pub lifecycle: Lifecycle,
    pub clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    ids: SystemIds,
}

impl Bench {
    pub fn new() -> Self {
        Self::contained(Containment::default())
    }

    pub fn contained(containment: Containment) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let clock = Arc::new(ManualClock::at(1_790_000_000_000));
        let lifecycle = Lifecycle::new();
        let root = std::fs::canonicalize(dir.path().join("root")).unwrap();
        let processes = ProcessHandle::open(
            &dir.path().join("state"),
            &root,
            Environment::read(),
            KeeperProgram::at(env!("CARGO_BIN_EXE_agentd")).with(containment),
            &lifecycle,
            Arc::clone(&clock) as _,
        )
        .unwrap();
        Self { processes, lifecycle, clock, dir, ids: SystemIds::new() }
    }

    pub fn root(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path().join("root")).unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn file(&self, name: &str, content: &str, mode: u32) {
        let path = self.root().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn id(&self) -> ProcessId {
        (&self.ids as &dyn IdSource).id()
    }

    pub fn op(&self) -> OpId {
        (&self.ids as &dyn IdSource).id()
    }

    pub async fn start(&self, mut request: StartProcess) -> Result<ProcessView, WireError> {
        if request.process_id == unset() {
            request.process_id = self.id();
        }
        self.processes.start(self.op(), &request, std::future::ready(Ok(()))).await
    }

    /// As [`start`](Self::start), in a sandbox.
    pub async fn start_sandboxed(&self, mut start: StartProcess) -> Result<ProcessView, WireError> {
        if start.process_id == unset() {
            start.process_id = self.id();
        }
        let request = StartSandboxed { start, sandbox: SandboxKind::ReadOnly };
        self.processes.start_sandboxed(self.op(), &request, std::future::ready(Ok(()))).await
    }

    /// Starts it in a sandbox and waits for its end.
    pub async fn run_sandboxed(&self, request: StartProcess) -> (ProcessView, String) {
        let view = self.start_sandboxed(request).await.unwrap();
        let view = self.ended(view.process_id).await;
        let text = self.text(view.process_id).await;
        (view, text)
    }

    pub async fn run(&self, request: StartProcess) -> ProcessView {
        let view = self.start(request).await.unwrap();
        self.ended(view.process_id).await
    }

    pub async fn ended(&self, process_id: ProcessId) -> ProcessView {
        let wait = WaitProcess { process_id, timeout_ms: 60_000 };
        let view = self.processes.wait(&wait).await.unwrap();
        assert!(!matches!(view.state, ProcessState::Running), "it still runs: {view:?}");
        view
    }

    pub async fn stop(&self, process_id: ProcessId) -> ProcessView {
        self.processes.stop(&StopProcess { process_id, grace_ms: 200 }).await.unwrap()
    }

    pub async fn text(&self, process_id: ProcessId) -> String {
        let window = OutputWindow::HeadTail { head_bytes: None, tail_bytes: None };
        self.processes.view(ViewOutput { process_id, window }).await.unwrap().text
    }

    /// The head of the log as it lies on disk, for when there is no service to ask.
    pub fn text_on_disk(&self, process_id: ProcessId) -> String {
        let path = self.state().join("output").join(format!("{process_id}.head"));
        std::fs::read_to_string(path).unwrap()
    }

    /// Waits until a view is as wanted. Looks again at every output and at every end.
    pub async fn until(
        &self,
        process_id: ProcessId,
        wanted: impl Fn(&ProcessView) -> bool,
    ) -> ProcessView {
        let mut follower = self.processes.follow(process_id, 0).unwrap();
        let (mut ended, mut is_over) = (self.processes.ended(), false);
        let waiting = async {
            loop {
                ended.borrow_and_update();
                let view = self.processes.get(process_id).await.unwrap();
                if wanted(&view) {
                    return view;
                }
                tokio::select! {
                    changed = ended.changed() => changed.unwrap(),
                    step = follower.next(), if !is_over => {
                        is_over = matches!(step.unwrap(), FollowStep::End(_));
                    }
                }
            }
        };
        let view = events::in_time(waiting).await;
        view.expect("it never came to that")
    }

    /// Waits until the output has a line `up`.
    pub async fn is_up(&self, process_id: ProcessId) {
        let mut follower = self.processes.follow(process_id, 0).unwrap();
        let mut text = Vec::new();
        while !text.split(|byte| *byte == b'\n').any(|line| line == b"up") {
            match follower.next().await.unwrap() {
                FollowStep::Chunk { bytes, .. } => text.extend_from_slice(&bytes),
                step => panic!("{step:?} after {:?}", String::from_utf8_lossy(&text)),
            }
        }
    }

    /// Waits until the record of a process was dropped; what is answered then.
    pub async fn wait_for_error(&self, process_id: ProcessId) -> WireError {
        let mut told = self.processes.ended();
        let waiting = async {
            loop {
                told.borrow_and_update();
                if let Err(error) = self.processes.get(process_id).await {
                    return error;
                }
                told.changed().await.unwrap();
            }
        };
        events::in_time(waiting).await.expect("it is still known")
    }

    pub async fn follow(&self, process_id: ProcessId, offset: u64) -> Followed {
        let mut follower = self.processes.follow(process_id, offset).unwrap();
        let mut followed = Followed { next: offset, ..Followed::default() };
        loop {
            match follower.next().await.unwrap() {
                FollowStep::Chunk { offset, stream, bytes } => {
                    assert_eq!(offset, followed.next, "no gap that is not told");
                    followed.next += bytes.len() as u64;
                    followed.chunks.push((stream, bytes.to_vec()));
                    followed.bytes.extend_from_slice(&bytes);
                }
                FollowStep::Dropped { from, to } => {
                    assert_eq!(from, followed.next);
                    followed.next = to;
                    followed.dropped += to - from;
                }
                FollowStep::End(view) => {
                    followed.end = Some(view);
                    return followed;
                }
            }
        }
    }
}

/// What still runs ends with its test: keepers would outlive it.
impl Drop for Bench {
    fn drop(&mut self) {
        end_processes(&self.state());
    }
}

/// [`end_processes`], and removes the groups of a workspace whose daemon was killed.
pub fn end_workspace(dir: &Path) {
    end_processes(dir);
    // What was killed leaves its group a moment later.
    events::seen_blocking("the groups are gone", || {
        agentd::process::remove_groups(dir).then_some(())
    });
}

/// Keepers that have something on disk, below the process records in `dir`.
pub fn keepers(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir.join("keepers")).unwrap().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

/// SIGKILL to everything that was started with the process records in `dir` and still runs.
pub fn end_processes(dir: &Path) {
    let entries = std::fs::read_dir(dir.join("keepers")).into_iter().flatten().flatten();
    let marks: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.parse::<ProcessId>().is_ok())
        .map(|id| format!("HOLDFAST_PROCESS_ID={id}"))
        .collect();
    if marks.is_empty() {
        return;
    }
    marked_pids(|mark| marks.iter().any(|known| known.as_bytes() == mark))
        .into_iter()
        .for_each(events::kill);
}

/// What one follower saw.
#[derive(Default)]
pub struct Followed {
    next: u64,
    pub bytes: Vec<u8>,
    pub dropped: u64,
    pub end: Option<ProcessView>,
    chunks: Vec<(OutputStream, Vec<u8>)>,
}

impl Followed {
    /// Runs of one stream, joined.
    pub fn runs(&self) -> Vec<(&'static str, String)> {
        let mut runs: Vec<(&'static str, String)> = Vec::new();
        for (stream, bytes) in &self.chunks {
            let name = if *stream == OutputStream::Stdout { "out" } else { "err" };
            let text = String::from_utf8_lossy(bytes);
            match runs.last_mut() {
                Some((last, joined)) if *last == name => joined.push_str(&text),
                _ => runs.push((name, text.into_owned())),
            }
        }
        runs
    }
}

/// Rows of the catalogue of bad input: all are tried, and what failed is told together.
pub struct Table {
    name: &'static str,
    passed: usize,
    failed: Vec<String>,
    report: BadInput,
}

impl Table {
    pub fn new(name: &'static str) -> Self {
        Self { name, passed: 0, failed: Vec::new(), report: BadInput::new() }
    }

    pub fn row<A: Debug + PartialEq<B>, B: Debug>(&mut self, input: String, found: A, expected: B) {
        self.report.check(&input, found == expected);
        if found == expected {
            self.passed += 1;
        } else {
            self.failed.push(format!("{input}: {found:?}, expected {expected:?}"));
        }
    }

    pub fn finish(self) {
        let all = self.passed + self.failed.len();
        println!("{}: passed {}/{all}", self.name, self.passed);
        self.report.report(self.name);
        assert!(self.failed.is_empty(), "{}:\n{}", self.name, self.failed.join("\n"));
    }
}

/// Replaced by a fresh id at the start.
fn unset() -> ProcessId {
    "proc_00000000000000000000000000".parse().unwrap()
}

fn request(program: Program) -> StartProcess {
    StartProcess {
        process_id: unset(),
        program,
        cwd: None,
        env: BTreeMap::new(),
        stdin: Stdin::Closed,
        chat_id: None,
        output_kept_bytes: None,
    }
}

pub fn shell(command: &str) -> StartProcess {
    request(Program::Shell { command: command.to_owned() })
}

pub fn argv(argv: &[&str]) -> StartProcess {
    request(Program::Argv { argv: argv.iter().map(|text| (*text).to_owned()).collect() })
}

pub fn exit(view: &ProcessView) -> Option<Exit> {
    match view.state {
        ProcessState::Exited { exit, .. } => Some(exit),
        _ => None,
    }
}

pub fn held_by(view: &ProcessView) -> u32 {
    match view.state {
        ProcessState::Exited { output_held_by, .. } => output_held_by,
        _ => 0,
    }
}

/// Processes that carry the mark of `process_id`, zombies excepted.
pub fn members(process_id: ProcessId) -> usize {
    member_pids(process_id).len()
}

/// The pids of [`members`].
pub fn member_pids(process_id: ProcessId) -> Vec<i32> {
    let mark = format!("HOLDFAST_PROCESS_ID={process_id}");
    marked_pids(|found| found == mark.as_bytes())
}

/// Processes with a variable in their environment that is wanted.
fn marked_pids(is_wanted: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let marked = |pid: &Path| {
        std::fs::read(pid.join("environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(&is_wanted))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let marked = entries.filter(|entry| marked(&entry.path()));
    marked.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// SIGKILL to all of [`members`].
pub fn kill_members(process_id: ProcessId) {
    for pid in member_pids(process_id) {
        events::kill(pid);
    }
}

/// Bytes of output that are kept.
pub fn kept(view: &ProcessView) -> u64 {
    view.output_total - (view.dropped_to - view.dropped_from)
}
