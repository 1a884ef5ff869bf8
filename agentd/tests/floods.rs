//! Floods of output, of processes and of descriptors: memory flat, counts exact, nothing left behind.
//! Promises P26, P27, P30 and P31.

mod bench;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use agentd::process::FollowStep;
use agentd::resident::HEAP_TUNABLES;
use bench::measured::{
    bytes_below, keeper_of, open_descriptors, output_on_disk, own_bytes_of, resident_bytes,
    resident_bytes_of, zombies,
};
use bench::served::Served;
use bench::{Bench, argv, shell};
use shared::ids::{IdSource, OpId, ProcessId, SystemIds};
use shared::limits::{
    FOLLOW_BYTES_PER_SECOND, PROCESS_OUTPUT_KEPT_BYTES, WORKSPACE_OUTPUT_KEPT_BYTES,
};
use shared::protocol::process::{
    Exit, FollowItem, GetProcess, OutputWindow, ProcessState, ProcessView, StartProcess, Stdin,
    ViewOutput, WaitProcess, WriteStdin,
};
use shared::testing::{Distribution, trials};

const MIB: u64 = 1 << 20;

/// Not a test by itself: the child that [`Served::start`] starts.
#[tokio::test]
async fn serve_a_daemon_when_asked_to() {
    bench::served::serve_when_asked_to().await;
}

/// A daemon in a process of its own, so that its memory can be told from the test's.
struct Scene {
    dir: tempfile::TempDir,
    ids: SystemIds,
    served: Option<Served>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let served = Some(Served::start(dir.path(), None));
        Self { dir, ids: SystemIds::new(), served }
    }

    fn daemon(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    fn op(&self) -> OpId {
        (&self.ids as &dyn IdSource).id()
    }

    async fn start(&self, request: StartProcess) -> ProcessView {
        let process_id = (&self.ids as &dyn IdSource).id();
        let request = StartProcess { process_id, ..request };
        self.daemon().call(self.op(), &request).await.unwrap()
    }

    async fn ended(&self, process_id: ProcessId) -> ProcessView {
        loop {
            let wait = WaitProcess { process_id, timeout_ms: 60_000 };
            let view = self.daemon().call(self.op(), &wait).await.unwrap();
            if !matches!(view.state, ProcessState::Running) {
                return view;
            }
        }
    }

    /// Follows to the end: bytes seen, bytes told as dropped.
    async fn follow(&self, process_id: ProcessId) -> (u64, u64) {
        let mut items = self.daemon().follow(process_id).await;
        let (mut seen, mut dropped) = (0, 0);
        loop {
            match items.next().await {
                FollowItem::Chunk { offset, len, .. } => {
                    assert_eq!(offset, seen + dropped, "no gap that is not told");
                    seen += u64::from(len);
                }
                FollowItem::Dropped { from, to } => {
                    assert_eq!(from, seen + dropped);
                    dropped += to - from;
                }
                FollowItem::End { process } => {
                    assert_eq!(seen + dropped, process.output_total);
                    return (seen, dropped);
                }
            }
        }
    }

    /// Asks the daemon again and again until `ended`, and looks at memory each time.
    async fn watch(&self, keepers: &[i32], ended: impl Future<Output = ()>) -> Watched {
        let daemon = self.daemon().pid();
        let idle = self.start(shell("exec sleep 600")).await;
        let mut watched = Watched::default();
        let before = resident_bytes_of(daemon);
        let asking = async {
            loop {
                let start = tokio::time::Instant::now();
                let get = GetProcess { process_id: idle.process_id };
                self.daemon().call(self.op(), &get).await.unwrap();
                watched.pings.push(start.elapsed());
                let grown = resident_bytes_of(daemon).saturating_sub(before);
                watched.daemon_grown = watched.daemon_grown.max(grown);
                for keeper in keepers {
                    watched.keeper = watched.keeper.max(own_bytes_of(*keeper));
                }
            }
        };
        tokio::select! {
            () = asking => {}
            () = ended => {}
        }
        let idle = own_bytes_of(keeper_of(idle.os_pid.unwrap()));
        watched.keeper_grown = watched.keeper.saturating_sub(idle);
        watched
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            served.kill();
        }
        bench::end_processes(&self.dir.path().join("state/processes"));
    }
}

#[derive(Default)]
struct Watched {
    pings: Vec<Duration>,
    daemon_grown: u64,
    keeper: u64,
    /// Of the largest keeper, beyond that of a silent process.
    keeper_grown: u64,
}

#[tokio::test]
async fn p26_floods_cost_no_memory_and_are_counted_to_the_byte() {
    let one = trials(512, 32 * 1_024) as u64 * MIB;
    let ten = trials(60, 5_723) as u64 * MIB; // 100 MB/s for 60 s
    let scene = Scene::new();
    // Both streams at once, alone and without any limit.
    let both = scene
        .start(shell(&format!("head -c {one} /dev/zero & head -c {one} /dev/zero >&2; wait")))
        .await;
    let start = tokio::time::Instant::now();
    let keepers = [keeper_of(both.os_pid.unwrap())];
    let single = scene
        .watch(&keepers, async {
            assert_eq!(scene.ended(both.process_id).await.output_total, 2 * one);
        })
        .await;
    let rate = (2 * one / MIB) as f64 / start.elapsed().as_secs_f64();
    // Ten at once, one of them followed.
    let mut floods = Vec::new();
    for _ in 0..10 {
        // Each begins when its keeper is known.
        let flood = shell(&format!("read go; head -c {ten} /dev/zero"));
        let flood = StartProcess { output_kept_bytes: Some(2 * MIB), stdin: Stdin::Open, ..flood };
        floods.push(scene.start(flood).await);
    }
    let keepers: Vec<i32> = floods.iter().filter_map(|view| view.os_pid).map(keeper_of).collect();
    for flood in &floods {
        let go = WriteStdin { process_id: flood.process_id, data: b"go\n".to_vec(), close: true };
        scene.daemon().call(scene.op(), &go).await.unwrap();
    }
    let start = tokio::time::Instant::now();
    let mut followed = (0, 0, Duration::ZERO);
    let many = scene
        .watch(&keepers, async {
            let (seen, dropped) = scene.follow(floods[0].process_id).await;
            followed = (seen, dropped, start.elapsed());
            for flood in &floods {
                let view = scene.ended(flood.process_id).await;
                assert_eq!(view.output_total, ten);
                assert!(bench::kept(&view) <= 2 * MIB, "{view:?}");
            }
        })
        .await;
    let (seen, dropped, took) = followed;
    assert_eq!(seen + dropped, ten, "seen and dropped are everything");
    let allowed = FOLLOW_BYTES_PER_SECOND as f64 * (took.as_secs_f64() + 1.0) + 256.0 * 1_024.0;
    assert!(seen as f64 <= allowed, "{seen} bytes in {took:?}");
    for (name, watched, processes) in [("one", &single, 1), ("ten", &many, 10)] {
        let (daemon, keeper) = (watched.daemon_grown, watched.keeper_grown);
        assert!(daemon <= processes * MIB, "{name}: the daemon grew by {daemon} bytes");
        assert!(keeper <= MIB, "{name}: a keeper grew by {keeper} bytes");
    }
    let pings: Distribution = single.pings.iter().chain(&many.pings).copied().collect();
    println!(
        "P26: {} MiB of both streams at {rate:.0} MiB/s, 10 x {} MiB at once: every byte counted; \
         daemon grew by {} and {} KiB, a keeper by {} and {} KiB at most; ping {pings}; a follower saw \
         {:.2} MiB/s, {seen} bytes, and {dropped} were told as dropped",
        2 * one / MIB,
        ten / MIB,
        single.daemon_grown >> 10,
        many.daemon_grown >> 10,
        single.keeper_grown >> 10,
        many.keeper_grown >> 10,
        seen as f64 / MIB as f64 / took.as_secs_f64().max(1.0),
    );
}

#[tokio::test]
async fn over_the_workspaces_2_gib_the_oldest_finished_processes_lose_their_output() {
    const EACH: u64 = PROCESS_OUTPUT_KEPT_BYTES;
    let mut scene = Scene::new();
    let runs = scene.start(shell("echo up; exec sleep 600")).await.process_id;
    let mut finished = Vec::new();
    for _ in 0..WORKSPACE_OUTPUT_KEPT_BYTES / EACH + 2 {
        let ended = scene.start(shell("echo x")).await.process_id;
        scene.ended(ended).await;
        finished.push(ended);
    }
    scene.served.take().unwrap().kill();
    // As much as each may keep, without a disk that has as much.
    let output = scene.dir.path().join("state/processes/output");
    let head = |id: ProcessId| output.join(format!("{id}.head"));
    for id in &finished {
        std::fs::OpenOptions::new().write(true).open(head(*id)).unwrap().set_len(EACH).unwrap();
    }
    scene.served = Some(Served::start(scene.dir.path(), None));
    // Two are too many, and what runs has a few bytes more: so three of them, and the oldest ones.
    bench::events::until_removed(&head(finished[2]));
    for (n, id) in finished.iter().enumerate() {
        let get = GetProcess { process_id: *id };
        let view = scene.daemon().call(scene.op(), &get).await.unwrap();
        let dropped = if n < 3 { EACH } else { 0 };
        assert_eq!(view.output_total, EACH, "process {n}: offsets keep their meaning");
        assert_eq!((view.dropped_from, view.dropped_to), (0, dropped), "process {n}");
        assert_eq!(head(*id).exists(), n >= 3, "process {n}");
    }
    let get = GetProcess { process_id: runs };
    let view = scene.daemon().call(scene.op(), &get).await.unwrap();
    assert_eq!((view.output_total, view.dropped_to), (3, 0), "what runs keeps its output");
}

#[tokio::test]
async fn ten_floods_at_once_are_exact_and_a_slow_follower_is_told_what_it_missed() {
    const TOTAL: u64 = 100 << 20;
    let bench = Bench::new();
    let mut ids = Vec::new();
    for _ in 0..10 {
        let request = StartProcess {
            output_kept_bytes: Some(1 << 20),
            ..shell(&format!("head -c {TOTAL} /dev/zero"))
        };
        ids.push(bench.start(request).await.unwrap().process_id);
    }
    let mut follower = bench.processes.follow(ids[0], 0).unwrap();
    let (mut seen, mut missed) = (0, 0);
    let mut is_first = true;
    loop {
        match follower.next().await.unwrap() {
            FollowStep::Chunk { bytes, .. } => seen += bytes.len() as u64,
            FollowStep::Dropped { from, to } => missed += to - from,
            FollowStep::End(_) => break,
        }
        // As slow as can be: it looks again when everything is over.
        if std::mem::take(&mut is_first) {
            for id in &ids {
                assert_eq!(bench.ended(*id).await.output_total, TOTAL);
            }
        }
    }
    assert_eq!(seen + missed, TOTAL, "seen and missed are everything");
    assert!(missed >= TOTAL - (1 << 20), "{missed} bytes were missed");
}

#[tokio::test]
async fn p27_one_endless_line_costs_as_much_as_many_lines() {
    let len = trials(128, 1_024) << 20;
    let bench = Bench::new();
    let block = [b'a'; 1 << 16];
    let mut one = std::io::BufWriter::new(std::fs::File::create(bench.root().join("one")).unwrap());
    let mut many =
        std::io::BufWriter::new(std::fs::File::create(bench.root().join("many")).unwrap());
    let mut lines = block;
    lines.iter_mut().step_by(80).for_each(|byte| *byte = b'\n');
    for _ in 0..len / block.len() {
        one.write_all(&block).unwrap();
        many.write_all(&lines).unwrap();
    }
    one.write_all(b"\nnext\n").unwrap();
    many.write_all(b"\nnext\n").unwrap();
    drop((one, many));
    let before = resident_bytes();
    let (mut times, mut grown) = ([Vec::new(), Vec::new()], 0);
    for _ in 0..3 {
        for (times, file) in times.iter_mut().zip(["one", "many"]) {
            let start = tokio::time::Instant::now();
            let view = bench.run(argv(&["cat", file])).await;
            assert_eq!(view.output_total, len as u64 + 6);
            let look =
                |window| bench.processes.view(ViewOutput { process_id: view.process_id, window });
            let shown =
                look(OutputWindow::HeadTail { head_bytes: None, tail_bytes: None }).await.unwrap();
            assert!(shown.text.ends_with("\nnext\n"), "the next line is shown");
            assert_eq!(shown.next_offset, view.output_total);
            let tail = look(OutputWindow::TailLines { lines: 1 }).await.unwrap();
            assert!(tail.text.ends_with("\nnext\n"), "{}", tail.text);
            let pattern = "next$".to_owned();
            let found = look(OutputWindow::Grep { pattern, context: 1, limit: 10 }).await.unwrap();
            assert!(found.text.ends_with(&format!(":{}: next\n", len + 1)), "it is found");
            times.push(start.elapsed());
            grown = grown.max(resident_bytes().saturating_sub(before));
            if file == "one" {
                let marker = format!(" [… {} more bytes in this line]\n", len - 2_048);
                assert!(
                    shown.text.contains(&marker),
                    "its true length is told: {}",
                    &shown.text[2_000..]
                );
            }
        }
    }
    let [one, many] = times.map(|times| times.into_iter().min().unwrap().as_secs_f64() * 1_000.0);
    assert!(grown < 8 * MIB, "memory grew by {grown} bytes");
    println!(
        "P27: a line of {} MiB in {one:.0} ms, the same bytes in lines of 80 in {many:.0} ms: ratio {:.2} \
         (best of 3, with head and tail, last line and grep); memory grew by {} KiB; its length is told",
        len >> 20,
        one / many,
        grown >> 10
    );
}

/// Not a test by itself: P30's child, whose memory is laid out as the daemon's is.
#[tokio::test]
async fn run_short_processes_when_asked_to() {
    const WARM_UP: usize = 100;
    let count = trials(300, 10_000);
    if std::env::var_os("AGENTD_TEST_SHORT").is_none() {
        return;
    }
    let bench = Bench::new();
    run_short(&bench, WARM_UP).await;
    forget_all(&bench).await;
    let (descriptors, before) = (open_descriptors(), resident_bytes());
    let start = tokio::time::Instant::now();
    run_short(&bench, count).await;
    let each = start.elapsed().as_secs_f64() * 1_000.0 / count as f64;
    let with_records = resident_bytes().saturating_sub(before);
    let (kept, files) = output_on_disk(&bench.state());
    assert!(files <= count + 2, "one file of output each: {files}");
    forget_all(&bench).await;
    // Joins every task: what they held is closed by then, and what they had to remove is gone.
    bench.lifecycle.clone().shut_down(Duration::from_secs(10)).await;
    let after = resident_bytes();
    let state = bytes_below(&bench.state());
    assert_eq!(output_on_disk(&bench.state()).1, 1, "only that of the last process");
    assert_eq!(bench::keepers(&bench.state()), 0, "keepers are gone, with what they had");
    let left = open_descriptors();
    assert_eq!(zombies(), 0);
    let grown = after as f64 / before as f64 * 100.0 - 100.0;
    println!(
        "figures: {count} processes, {each:.2} ms each: 0 zombies, descriptors {descriptors} before and {left} \
         after, memory {} KiB before, {} KiB more while {count} records were kept ({} bytes each), and \
         {grown:+.1} % when they were dropped, output {kept} bytes in {files} files and then none, state \
         directory {} KiB",
        before >> 10,
        with_records >> 10,
        with_records / count as u64,
        state >> 10,
    );
    assert!(left <= descriptors + 5, "{left} descriptors after {descriptors}");
    assert!(after <= before + before / 20, "memory grew by {grown:.1} %");
    assert!(with_records <= count as u64 * 1_536 + 2 * MIB, "records are kept in little room");
}

/// The daemon has one heap, and its main thread is the one that serves: a test has neither, unless it
/// is asked for in a child.
#[tokio::test]
async fn p30_short_processes_leave_nothing_behind() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run_short_processes_when_asked_to", "--nocapture", "--test-threads=1"])
        .env("AGENTD_TEST_SHORT", "1")
        .env(HEAP_TUNABLES.0, HEAP_TUNABLES.1)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let figures = text.lines().find_map(|line| line.split_once("figures: "));
    if let Some((_, figures)) = figures {
        println!("P30: {figures}");
    }
    assert!(output.status.success(), "{text}\n{errors}");
}

async fn run_short(bench: &Bench, count: usize) {
    for _ in 0..count / 10 {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(bench.start(shell("echo short")).await.unwrap().process_id);
        }
        for id in ids {
            let view = bench.ended(id).await;
            assert_eq!(view.output_total, 6);
            assert!(matches!(view.state, ProcessState::Exited { output_held_by: 0, .. }));
        }
    }
}

/// The age passes at which records are dropped, and one more process ends.
async fn forget_all(bench: &Bench) {
    let old = bench.run(shell("true")).await.process_id;
    bench.clock.advance(Duration::from_secs(8 * 24 * 3_600));
    bench.run(shell("echo last")).await;
    bench.wait_for_error(old).await;
}

/// Not a test by itself: P31's child, which has few descriptors.
#[tokio::test]
async fn run_out_of_descriptors_when_asked_to() {
    const STARTS: usize = 200;
    if std::env::var_os("AGENTD_TEST_DESCRIPTORS").is_none() {
        return;
    }
    let bench = Bench::new();
    let before = open_descriptors();
    let mut running = Vec::new();
    let mut refused = 0;
    for n in 0..STARTS {
        let request = StartProcess { stdin: Stdin::Open, ..shell("read line; echo got $line") };
        match bench.start(request).await {
            Ok(view) => running.push((n, view.process_id)),
            Err(error) => {
                assert_eq!(error.code, "too_many_open_files", "{error:?}");
                refused += 1;
            }
        }
    }
    let started = running.len();
    assert!(started >= 10, "{started} were started");
    assert_eq!(started + refused, STARTS);
    // What runs is as it was: it takes input, its output is read, it ends with its code.
    for (n, process_id) in &running {
        let write = WriteStdin {
            process_id: *process_id,
            data: format!("{n}\n").into_bytes(),
            close: true,
        };
        bench.processes.write_stdin(bench.op(), write).await.unwrap();
        let view = bench.ended(*process_id).await;
        assert_eq!(bench::exit(&view), Some(Exit::Code { code: 0 }));
        assert_eq!(bench.text(*process_id).await, format!("got {n}\n"));
    }
    // And it recovers: the same number again, one after the other.
    for _ in 0..STARTS {
        bench.run(shell("true")).await;
    }
    bench.lifecycle.clone().shut_down(Duration::from_secs(10)).await;
    let after = open_descriptors();
    assert!(after <= before + 5, "{after} descriptors after {before}");
    println!(
        "figures: of {STARTS} starts {started} ran and {refused} were refused with too_many_open_files; all \
         {started} went on, took input and ended right; then {STARTS} of {STARTS} starts worked; \
         descriptors {before} before and {after} after"
    );
}

#[tokio::test]
async fn p31_out_of_descriptors_is_said_and_harms_nothing_that_runs() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "run_out_of_descriptors_when_asked_to", "--nocapture"])
        .env("AGENTD_TEST_DESCRIPTORS", "1");
    #[expect(unsafe_code, reason = "a limit of the child's own")]
    // SAFETY: one system call between fork and exec, and nothing is allocated.
    let child = unsafe {
        child.pre_exec(|| {
            let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
            Ok(rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?)
        })
    };
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let figures = text.lines().find_map(|line| line.split_once("figures: ")).expect("figures");
    println!("P31: with 64 descriptors, {}", figures.1);
}

/// Prints what a start costs beside a bare spawn; a figure for people, not a limit.
#[tokio::test]
async fn a_start_beside_a_bare_spawn() {
    let bench = Bench::new();
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..100 {
        let start = tokio::time::Instant::now();
        std::process::Command::new("/bin/true").output().unwrap();
        bare.push(start.elapsed().as_micros());
        let start = tokio::time::Instant::now();
        let view = bench.start(argv(&["/bin/true"])).await.unwrap();
        let started = start.elapsed().as_micros();
        bench.ended(view.process_id).await;
        ours.push((start.elapsed().as_micros(), started));
    }
    bare.sort_unstable();
    ours.sort_unstable();
    let (whole, started) = ours[50];
    println!("start: bare {} µs, ours {whole} µs (answered after {started} µs)", bare[50]);
}
