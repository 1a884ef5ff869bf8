//! The journal with its file: repeats, fences, restarts, crashes at every byte, rewrites.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::clock::SystemClock;
use shared::fault::simulation::{Given, Held, Simulation, install};
use shared::fault::{Access, Disk, Fate};
use shared::ids::{IdSource, OpId};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::operation::OperationState;
use shared::protocol::{ErrorCode, Reply, WireError};
use shared::testing::CountingIds;

use super::{Admission, Interrupted, JournalHandle, Settlement, Token};

/// One run of a daemon on a journal directory.
struct Run {
    journal: JournalHandle,
    interrupted: Vec<Interrupted>,
    lifecycle: Lifecycle,
}

impl Run {
    fn open(dir: &Path) -> Self {
        let lifecycle = Lifecycle::new();
        let (journal, interrupted) =
            JournalHandle::open(dir, &lifecycle, Arc::new(SystemClock)).unwrap();
        Self { journal, interrupted, lifecycle }
    }

    /// As a crash: nothing is finished.
    async fn crash(self) {
        self.lifecycle.stop_hard();
        drop(self.journal);
        self.lifecycle.shut_down(Duration::from_secs(5)).await;
    }

    async fn begin(&self, op: OpId) -> Admission {
        self.journal.begin(op, &fence(1, "a"), "process/start").await
    }

    async fn token(&self, op: OpId) -> Token {
        match self.begin(op).await {
            Admission::Begin(token) => token,
            other => panic!("expected to run it, got {}", name(&other)),
        }
    }

    async fn code(&self, op: OpId, fence: &Fence) -> String {
        match self.journal.begin(op, fence, "process/start").await {
            Admission::Refused(error) => error.code,
            other => panic!("expected a refusal, got {}", name(&other)),
        }
    }

    async fn answer(&self, op: OpId) -> Bytes {
        match self.begin(op).await {
            Admission::Answered(outcome) => outcome,
            other => panic!("expected the recorded answer, got {}", name(&other)),
        }
    }
}

fn name(admission: &Admission) -> String {
    match admission {
        Admission::Begin(_) => "begin".to_owned(),
        Admission::Answered(_) => "answered".to_owned(),
        Admission::Attach(_) => "attach".to_owned(),
        Admission::Refused(error) => format!("refused: {error:?}"),
    }
}

fn fence(epoch: u64, hash: &str) -> Fence {
    Fence { scope: "chat_a".to_owned(), epoch, hash: hash.to_owned() }
}

fn ok(text: &str) -> Bytes {
    shared::wire::encode(&Reply::Ok(text.to_owned())).into()
}

fn ids() -> impl FnMut() -> OpId {
    let source = CountingIds::default();
    move || (&source as &dyn IdSource).id()
}

#[tokio::test]
async fn b45_a_repeat_is_answered_and_another_hash_is_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::open(dir.path());
    let op = ids()();
    run.token(op).await.commit(ok("done")).await.unwrap();

    assert_eq!(run.answer(op).await, ok("done"));
    assert_eq!(run.code(op, &fence(1, "b")).await, ErrorCode::OperationConflict.as_str());
    run.crash().await;

    let run = Run::open(dir.path());
    assert_eq!(run.answer(op).await, ok("done"), "also after a restart");
    assert_eq!(run.code(op, &fence(1, "b")).await, ErrorCode::OperationConflict.as_str());
    println!("B45: passed 4/4");
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_runs_and_all_get_its_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::open(dir.path());
    let op = ids()();
    let askers = (0..50).map(|_| async {
        match run.begin(op).await {
            Admission::Begin(token) => {
                tokio::task::yield_now().await;
                (1, token.commit(ok("once")).await.unwrap())
            }
            Admission::Attach(attached) => (0, attached.outcome().await.unwrap()),
            Admission::Answered(outcome) => (0, outcome),
            Admission::Refused(error) => panic!("{error}"),
        }
    });
    let answers = futures_join(askers).await;
    assert_eq!(answers.iter().map(|(ran, _)| ran).sum::<u32>(), 1);
    assert!(answers.iter().all(|(_, outcome)| *outcome == ok("once")));
}

/// Polls all futures to their end, in one task.
async fn futures_join<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|context| {
        let mut open = false;
        for (future, value) in pending.iter_mut().filter(|(_, value)| value.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(ready) => *value = Some(ready),
                std::task::Poll::Pending => open = true,
            }
        }
        if open { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    pending.into_iter().filter_map(|(_, value)| value).collect()
}

#[tokio::test]
async fn an_older_epoch_is_refused_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = ids();
    let run = Run::open(dir.path());
    let Admission::Begin(token) = run.journal.begin(id(), &fence(7, "a"), "m").await else {
        panic!("a new operation begins")
    };
    token.commit(ok("")).await.unwrap();
    assert_eq!(run.code(id(), &fence(6, "a")).await, ErrorCode::StaleEpoch.as_str());
    run.crash().await;
    let run = Run::open(dir.path());
    assert_eq!(run.code(id(), &fence(6, "a")).await, ErrorCode::StaleEpoch.as_str());
    let other = Fence { scope: "chat_b".to_owned(), ..fence(1, "a") };
    let admission = run.journal.begin(id(), &other, "m").await;
    assert!(matches!(admission, Admission::Begin(_)), "scopes are fenced apart");
}

#[tokio::test]
async fn a_cancelled_operation_never_begins_and_one_that_runs_is_not_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = ids();
    let (early, running, ended) = (id(), id(), id());
    let run = Run::open(dir.path());
    let canceller = fence(1, "c");
    let cancel = |op| run.journal.cancel(op, &canceller);
    assert_eq!(cancel(early).await.unwrap(), OperationState::Cancelled);
    assert_eq!(cancel(early).await.unwrap(), OperationState::Cancelled);
    let token = run.token(running).await;
    assert_eq!(cancel(running).await.unwrap(), OperationState::Running);
    run.token(ended).await.commit(ok("x")).await.unwrap();
    assert_eq!(cancel(ended).await.unwrap(), OperationState::Done);
    assert_eq!(run.code(early, &fence(1, "a")).await, "operation_cancelled");
    drop(token);
    run.crash().await;
    let run = Run::open(dir.path());
    assert_eq!(run.code(early, &fence(1, "a")).await, "operation_cancelled");
    assert_eq!(run.journal.query(early).await, OperationState::Cancelled);
}

#[tokio::test]
async fn what_had_begun_is_found_after_a_crash_and_settled_by_its_service() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = ids();
    let (plain, noted, unsettled) = (id(), id(), id());
    let run = Run::open(dir.path());
    let _tokens = (run.token(plain).await, run.token(unsettled).await);
    let token = run.token(noted).await;
    token.prepared(Bytes::from_static(b"temp-1")).await.unwrap();
    assert_eq!(run.journal.query(plain).await, OperationState::Running);
    run.lifecycle.stop_hard(); // before the tokens are dropped, as in a crash
    drop((token, _tokens));
    run.crash().await;

    let run = Run::open(dir.path());
    let method = || "process/start".to_owned();
    let expected = [
        Interrupted { op_id: plain, method: method(), note: None },
        Interrupted { op_id: noted, method: method(), note: Some(Bytes::from_static(b"temp-1")) },
        Interrupted { op_id: unsettled, method: method(), note: None },
    ];
    assert_eq!(run.interrupted, expected);
    run.journal.settle(plain, Settlement::NeverRan).await.unwrap();
    run.journal.settle(noted, Settlement::Ended(ok("made good"))).await.unwrap();
    assert_eq!(run.answer(noted).await, ok("made good"));
    assert_eq!(run.code(unsettled, &fence(1, "a")).await, "outcome_unknown");
    run.token(plain).await.commit(ok("second try")).await.unwrap();
    run.crash().await;

    let run = Run::open(dir.path());
    assert_eq!(run.interrupted.iter().map(|i| i.op_id).collect::<Vec<_>>(), [unsettled]);
    assert_eq!(run.answer(plain).await, ok("second try"));
}

#[tokio::test]
async fn an_operation_whose_handler_panics_is_unknown_and_never_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::open(dir.path());
    let op = ids()();
    let token = run.token(op).await;
    let Admission::Attach(attached) = run.begin(op).await else { panic!("it runs") };
    drop(token);
    let outcome = attached.outcome().await.unwrap();
    let Ok(Reply::<()>::Err(error)) = shared::wire::decode(&outcome) else {
        panic!("an error was recorded")
    };
    assert_eq!(error.code, "outcome_unknown");
    assert_eq!(run.answer(op).await, outcome);
}

#[tokio::test]
async fn an_acknowledged_outcome_is_dropped_and_its_operation_still_never_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::open(dir.path());
    let op = ids()();
    run.token(op).await.commit(ok("x")).await.unwrap();
    run.journal.acknowledge(&[op, ids()()]);
    assert_eq!(run.code(op, &fence(1, "a")).await, "operation_conflict");
    assert_eq!(run.journal.query(op).await, OperationState::Done);
    run.journal.barrier().await;
    run.crash().await;
    let run = Run::open(dir.path());
    assert_eq!(run.code(op, &fence(1, "a")).await, "operation_conflict");
}

#[tokio::test]
async fn a_failed_outcome_is_told_by_query_and_a_huge_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = ids();
    let (failed, huge) = (id(), id());
    let run = Run::open(dir.path());
    let error = WireError::failed(ErrorCode::DiskFull, "no room");
    let outcome = shared::wire::encode(&Reply::<()>::Err(error.clone()));
    run.token(failed).await.commit(outcome.into()).await.unwrap();
    assert_eq!(run.journal.query(failed).await, OperationState::Failed { error });

    let big = Bytes::from(vec![0; shared::limits::OUTCOME_MAX_BYTES + 1]);
    let recorded = run.token(huge).await.commit(big).await.unwrap();
    assert!(recorded.len() < 1_000);
    assert!(matches!(run.journal.query(huge).await, OperationState::Failed { .. }));
}

/// The crash sweep of the file: whatever byte the last write stopped at, an operation whose
/// outcome was acknowledged to its caller is answered, and every other one is absent or
/// interrupted; none is answered with something else.
#[tokio::test]
async fn cut_at_every_byte_no_acknowledged_outcome_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = ids();
    let ops: Vec<OpId> = (0..4).map(|_| id()).collect();
    let file = dir.path().join("operations");
    let run = Run::open(dir.path());
    let mut durable_at = Vec::new();
    for op in &ops {
        run.token(*op).await.commit(ok(&op.to_string())).await.unwrap();
        let bytes = std::fs::read(&file).unwrap();
        durable_at.push(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    }
    run.crash().await;
    let whole = std::fs::read(&file).unwrap();
    let end = *durable_at.last().unwrap();
    for cut in (8..=end).step_by(3).chain([end]) {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let run = Run::open(dir.path());
        for (op, durable_at) in ops.iter().zip(&durable_at) {
            let state = run.journal.query(*op).await;
            if *durable_at <= cut {
                assert_eq!(state, OperationState::Done, "cut {cut}");
                assert_eq!(run.answer(*op).await, ok(&op.to_string()));
            } else {
                let open = matches!(state, OperationState::Absent | OperationState::Running);
                assert!(open, "cut {cut}: {state:?}");
            }
        }
        run.crash().await;
    }
}

#[tokio::test]
async fn rewrites_under_load_lose_nothing_and_keep_the_file_small() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = ids();
    let run = Run::open(dir.path());
    let body = "x".repeat(20_000);
    let mut kept = Vec::new();
    for round in 0..20 {
        let ops: Vec<OpId> = (0..30).map(|_| id()).collect();
        let (run, body) = (&run, &body);
        futures_join(ops.iter().map(|op| async move {
            let outcome = ok(&format!("{op}{body}"));
            run.token(*op).await.commit(outcome).await.unwrap();
        }))
        .await;
        // One of each round is never acknowledged.
        kept.push(ops[round % ops.len()]);
        let rest: Vec<OpId> = ops.into_iter().filter(|op| !kept.contains(op)).collect();
        run.journal.acknowledge(&rest);
    }
    run.journal.barrier().await;
    let len = std::fs::metadata(dir.path().join("operations")).unwrap().len();
    assert!(len < 5_000_000, "12 MB were written and 0.4 MB are live, the file has {len} bytes");
    for op in &kept {
        assert_eq!(run.answer(*op).await, ok(&format!("{op}{body}")));
    }
    run.crash().await;
    let run = Run::open(dir.path());
    assert_eq!(run.interrupted, []);
    for op in &kept {
        assert_eq!(run.answer(*op).await, ok(&format!("{op}{body}")));
    }
}

/// A disk that takes nothing, not even what had room set aside.
struct FullDisk;

impl Simulation for FullDisk {
    fn pass(&self, _: &'static str) -> Option<Held<()>> {
        None
    }

    fn rarely(&self, name: &'static str) -> bool {
        name.starts_with("records: full")
    }

    fn ask(&self, _: Access) -> Held<Given> {
        unreachable!("a journal is no database")
    }

    fn commit(&self, _: u64) -> Held<Fate> {
        unreachable!("a journal is no database")
    }

    fn over(&self, _: u64) {}

    fn disk(&self, _: &Path, _: Disk) {}
}

/// The simulator found it: a daemon whose disk took nothing more did not start, since it could not note
/// what it knew: that an interrupted operation never ran.
#[tokio::test]
async fn a_disk_that_takes_nothing_does_not_keep_the_daemon_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let op: OpId = (&CountingIds::default() as &dyn IdSource).id();
    let run = Run::open(dir.path());
    let Admission::Begin(token) = run.begin(op).await else { panic!("it begins") };
    run.lifecycle.stop_hard();
    drop(token);
    run.crash().await;
    for _ in 0..2 {
        let run = Run::open(dir.path());
        assert_eq!(run.interrupted.len(), 1, "it was not noted, so it is found again");
        let full = install(Arc::new(FullDisk));
        run.journal.settle(op, Settlement::NeverRan).await.unwrap();
        drop(full);
        run.crash().await;
    }
    // With room again it may begin, and is noted.
    let run = Run::open(dir.path());
    run.journal.settle(op, Settlement::NeverRan).await.unwrap();
    run.crash().await;
    let run = Run::open(dir.path());
    assert!(run.interrupted.is_empty());
    assert!(matches!(run.begin(op).await, Admission::Begin(_)));
    run.crash().await;
}
