//! Calls over an in-memory link with faults: what each fault turns into.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shared::clock::SystemClock;
use shared::ids::{IdSource, OpId, SystemIds, WorkspaceId};
use shared::lifecycle::Lifecycle;
use shared::protocol::call::Fence;
use shared::protocol::close::CloseCode;
use shared::protocol::files::{Expect, ReadBytes, WriteFile, Written};
use shared::protocol::hello::Hello;
use shared::protocol::operation::{CancelOperation, OperationState, QueryOperation};
use shared::protocol::process::{
    FollowItem, FollowOutput, Following, OutputStream, ProcessState, ProcessView,
};
use shared::protocol::{ErrorCode, Method, Reply, WireError};
use shared::testing::link::{CutPoint, TestLink, TestStreams};
use shared::wire::{Dispatch, IncomingCall};

use super::*;

/// Answers a few methods in a fixed way and counts what reaches it.
#[derive(Default)]
struct Double {
    calls: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Dispatch for Double {
    async fn handle(&self, mut call: IncomingCall) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match call.header.method.as_str() {
            QueryOperation::NAME => {
                let _ = call.answer.answer(&Reply::Ok(OperationState::Absent)).await;
            }
            CancelOperation::NAME => {
                let error = WireError::refused(ErrorCode::StaleEpoch, "epoch 1 is over");
                let _ = call.answer.fail(error).await;
            }
            WriteFile::NAME => {
                let request: WriteFile = call.decode().unwrap();
                let reply = match call.body.read_exactly(request.len).await {
                    Ok(bytes) => Reply::Ok(Written {
                        path: request.path,
                        created: true,
                        hash: format!("b3:{}", bytes.len()),
                        size: bytes.len() as u64,
                    }),
                    Err(error) => Reply::Err(error.into()),
                };
                let _ = call.answer.answer(&reply).await;
            }
            ReadBytes::NAME => call.cancelled.cancelled().await,
            FollowOutput::NAME => {
                self.follow(call).await;
            }
            other => panic!("the double does not know {other}"),
        }
    }
}

impl Double {
    async fn follow(&self, mut call: IncomingCall) {
        let request: FollowOutput = call.decode().unwrap();
        let process = process_view(&request);
        let _ = call.answer.reply(&Reply::Ok(Following { process: process.clone() })).await;
        let text = Bytes::from_static(b"0123456789");
        let from = usize::try_from(request.offset).unwrap();
        for (offset, byte) in text.iter().enumerate().skip(from) {
            let offset = offset as u64;
            let item = FollowItem::Chunk { offset, stream: OutputStream::Stdout, len: 1 };
            let _ = call.answer.item(&item).await;
            let _ = call.answer.raw(Bytes::copy_from_slice(&[*byte])).await;
        }
        let _ = call.answer.item(&FollowItem::End { process }).await;
        let _ = call.answer.finish().await;
        self.cancelled.fetch_add(usize::from(call.cancelled.is_cancelled()), Ordering::SeqCst);
    }
}

fn process_view(request: &FollowOutput) -> ProcessView {
    ProcessView {
        process_id: request.process_id,
        command: "seq".to_owned(),
        cwd: "/".to_owned(),
        chat_id: None,
        os_pid: None,
        started_at_ms: 0,
        state: ProcessState::Running,
        output_total: 10,
        dropped_from: 0,
        dropped_to: 0,
        facts: None,
    }
}

struct World {
    ids: Arc<dyn IdSource>,
    fleet: Fleet,
    link: Arc<TestLink>,
    double: Arc<Double>,
    workspace: WorkspaceId,
    _attachment: Attachment,
}

impl World {
    fn new() -> Self {
        let ids: Arc<dyn IdSource> = Arc::new(SystemIds::new());
        let fleet = Fleet::new(Arc::new(SystemClock), Arc::clone(&ids));
        let double = Arc::new(Double::default());
        let link = TestLink::new(&Lifecycle::new(), Arc::clone(&double), 1);
        let workspace = ids.id();
        let attachment = fleet.attach(new_link(&ids, workspace, 1, &link)).unwrap();
        Self { ids, fleet, link, double, workspace, _attachment: attachment }
    }

    fn way(&self) -> WorkspaceLink {
        self.fleet.workspace(self.workspace)
    }

    fn query(&self) -> QueryOperation {
        QueryOperation { op_id: self.ids.id() }
    }

    fn operation(&self) -> Operation {
        let fence = Fence { scope: "http".to_owned(), epoch: 1, hash: "00".to_owned() };
        Operation::new(self.ids.id(), fence)
    }
}

fn new_link(
    ids: &Arc<dyn IdSource>,
    workspace_id: WorkspaceId,
    epoch: u64,
    link: &Arc<TestLink>,
) -> NewLink {
    let hello = Hello {
        minor_min: 0,
        minor_max: 0,
        version: "0.1.0".to_owned(),
        instance_id: ids.id(),
        features: Vec::new(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        hostname: "box".to_owned(),
        root: "/work".to_owned(),
        now_ms: 0,
    };
    let streams = Arc::new(TestStreams(Arc::clone(link)));
    NewLink { workspace_id, epoch, hello, streams }
}

#[tokio::test]
async fn a_read_is_answered_and_a_refusal_stays_a_refusal() {
    let world = World::new();
    let state = world.way().read(&world.query(), Deadline::NONE).await.unwrap();
    assert_eq!(state, OperationState::Absent);

    let cancel = CancelOperation { op_id: world.ids.id() };
    let error = world.way().operate(&world.operation(), &cancel).await.unwrap_err();
    let CallError::Refused(error) = error else { panic!("{error:?}") };
    assert_eq!(error.known_code(), Some(ErrorCode::StaleEpoch));
}

#[tokio::test]
async fn without_a_link_nothing_is_sent_and_the_caller_may_wait_for_one() {
    let world = World::new();
    let stranger = world.fleet.workspace(world.ids.id());
    let error = stranger.read(&world.query(), Deadline::NONE).await.unwrap_err();
    assert_eq!(error, CallError::NotConnected { since_ms: None });
    assert_eq!(world.double.calls.load(Ordering::SeqCst), 0);

    let waiting = stranger.connected();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let link = new_link(&world.ids, stranger.workspace_id(), 1, &world.link);
    let _attachment = world.fleet.attach(link).unwrap();
    waiting.await;
}

#[tokio::test]
async fn a_way_outlives_the_daemons_of_its_workspace() {
    let world = World::new();
    let way = world.way();
    way.read(&world.query(), Deadline::NONE).await.unwrap();

    // Another machine enrols: the first daemon's link ends, the way waits for the next.
    world.fleet.revoke(world.workspace);
    assert_eq!(world._attachment.displaced().await, CloseCode::AuthFailed);
    let error = way.read(&world.query(), Deadline::NONE).await.unwrap_err();
    assert!(matches!(error, CallError::NotConnected { since_ms: Some(_) }), "{error:?}");
    let waiting = way.connected();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());

    // It may count its links from anywhere, also from below the first one's.
    let link = new_link(&world.ids, world.workspace, 1, &world.link);
    let _attachment = world.fleet.attach(link).unwrap();
    waiting.await;
    way.read(&world.query(), Deadline::NONE).await.unwrap();
    assert!(world.fleet.presence(world.workspace).connected);
}

#[tokio::test]
async fn an_answer_lost_with_the_link_is_unknown_and_a_link_lost_before_is_not_connected() {
    let world = World::new();
    world.link.cut_next(CutPoint::AfterRequest);
    let cancel = CancelOperation { op_id: world.ids.id() };
    let error = world.way().operate(&world.operation(), &cancel).await.unwrap_err();
    assert_eq!(error, CallError::Unknown { reason: UnknownReason::LinkLost });
    assert_eq!(world.double.calls.load(Ordering::SeqCst), 1, "the request had arrived");

    let error = world.way().operate(&world.operation(), &cancel).await.unwrap_err();
    assert!(matches!(error, CallError::NotConnected { .. }), "{error:?}");
    assert_eq!(world.double.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_and_tells_the_daemon() {
    let world = World::new();
    let page = ReadBytes { path: "a".into(), offset: 0, limit_bytes: 1 };
    let deadline = Deadline::after(Duration::from_secs(2));
    let error = world.way().read(&page, deadline).await.unwrap_err();
    assert_eq!(error, CallError::Unknown { reason: UnknownReason::DeadlinePassed });
}

#[tokio::test]
async fn a_body_arrives_whole_in_pieces_of_any_size() {
    let world = World::new();
    for (len, pieces) in [(0, 7), (1, 1), (300_000, 16_384), (5_000, 3)] {
        world.link.split(pieces);
        let write = WriteFile { path: "a".into(), len, expect: Expect::Any, mode: None };
        let body = Bytes::from(vec![7; usize::try_from(len).unwrap()]);
        let written = world.way().operate_with_body(&world.operation(), &write, body).await;
        assert_eq!(written.unwrap().size, len);
    }
}

#[tokio::test]
async fn a_follower_that_is_cut_resumes_without_a_gap_or_a_repeat() {
    let world = World::new();
    let process_id = world.ids.id();
    let mut seen = Vec::new();
    let mut offset = 0;
    let mut cut_at = 150;
    loop {
        world.link.cut_next(CutPoint::InAnswer(cut_at));
        cut_at += 150;
        let request = FollowOutput { process_id, offset };
        if let Ok((_, mut follower)) = world.way().follow(&request).await {
            loop {
                match follower.next().await {
                    Ok(Some(FollowEvent::Chunk { bytes, .. })) => seen.extend_from_slice(&bytes),
                    Ok(Some(FollowEvent::End { .. })) => {
                        assert_eq!(seen, b"0123456789");
                        assert!(world.link.cuts() > 0, "the control: something was cut");
                        return;
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => {
                        assert_eq!(error, CallError::Unknown { reason: UnknownReason::LinkLost });
                        break;
                    }
                }
            }
            offset = follower.next_offset();
        }
        world.link.restore();
    }
}

#[tokio::test]
async fn the_newest_link_wins_and_an_older_one_cannot_come_back() {
    let world = World::new();
    let newer = new_link(&world.ids, world.workspace, 2, &world.link);
    let newer = world.fleet.attach(newer).unwrap();
    assert_eq!(world._attachment.displaced().await, CloseCode::Displaced);
    let older = new_link(&world.ids, world.workspace, 1, &world.link);
    assert!(world.fleet.attach(older).is_none());
    assert!(world.fleet.presence(world.workspace).connected);
    drop(newer);
    assert!(!world.fleet.presence(world.workspace).connected);
}

#[tokio::test]
async fn acknowledgements_wait_for_a_link_and_come_in_batches() {
    let world = World::new();
    let ops: Vec<OpId> = (0..1_500).map(|_| world.ids.id()).collect();
    world.way().acknowledge(ops.clone());
    let first = world._attachment.next_acknowledgements().await;
    let second = world._attachment.next_acknowledgements().await;
    assert_eq!((first.len(), second.len()), (1_000, 500));
    assert_eq!([first, second].concat(), ops);
}

#[tokio::test]
async fn every_change_of_presence_has_a_newer_generation() {
    let world = World::new();
    let before = *world.fleet.changes().borrow();
    world._attachment.saw_round_trip(Duration::from_millis(3));
    assert_eq!(world.fleet.changed_since(before), [world.workspace]);
    let presence = world.fleet.presence(world.workspace);
    assert_eq!(presence.rtt, Some(Duration::from_millis(3)));
    world._attachment.missed_round_trips();
    let lost = world.fleet.presence(world.workspace);
    assert!(!lost.connected && lost.generation > presence.generation && lost.rtt.is_none());
}
