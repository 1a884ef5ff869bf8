//! The link in good and bad times.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agentd::link::LinkState;
use controlplane::fleet::{CallError, Deadline, FollowEvent, UnknownReason};
use shared::clock::{Clock, SystemClock};
use shared::ids::OpId;
use shared::lifecycle::Lifecycle;
use shared::limits::CERTIFICATE_LIFE;
use shared::protocol::ErrorCode;
use shared::protocol::files::{DeleteFile, Expect, GlobFiles, ReadBytes};
use shared::protocol::operation::{OperationState, QueryOperation};
use shared::protocol::process::{FollowOutput, WaitProcess};
use tests::relay::Relay;

use crate::world::{OUTPUT_BYTES, World, output_byte, within};

fn delete() -> DeleteFile {
    DeleteFile { path: "a".into(), expect: Expect::Any }
}

fn now() -> Instant {
    SystemClock.now()
}

/// On one thread, as the daemon runs.
#[tokio::test]
async fn a_daemon_joins_connects_and_answers() {
    let world = World::new().await;
    let daemon = world.daemon("big box").await;
    daemon.connected().await;

    let presence = daemon.way.presence();
    assert_eq!(presence.hello.as_ref().unwrap().root, "/work");
    assert!(presence.rtt.is_some() && presence.noted_skew_ms().is_none());

    let query = QueryOperation { op_id: world.ids.id() };
    let state = daemon.way.read(&query, Deadline::after(Duration::from_secs(5))).await.unwrap();
    assert_eq!(state, OperationState::Absent);

    let page = ReadBytes { path: "a".into(), offset: 0, limit_bytes: 1_000_000 };
    let (head, body) = daemon.way.read_raw(&page, Deadline::NONE).await.unwrap();
    let bytes = body.collect(head.len).await.unwrap();
    assert!(bytes.len() == 1_000_000 && bytes.iter().all(|byte| *byte == 7));

    let glob = GlobFiles { pattern: "*".to_owned(), path: None, limit: None };
    let error = daemon.way.read(&glob, Deadline::NONE).await.unwrap_err();
    let CallError::Refused(error) = error else { panic!("{error:?}") };
    assert_eq!(error.known_code(), Some(ErrorCode::Unsupported));

    let status = daemon.link.status();
    assert_eq!((status.state, status.workspace_name.as_str()), (LinkState::Connected, "big box"));
    let row = world.store.workspaces.workspace(daemon.workspace.id).await.unwrap().unwrap();
    assert_eq!(row.hostname.as_deref(), Some("box"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_gives_up_ends_the_wait_in_the_daemon() {
    let world = World::new().await;
    let daemon = world.daemon("a").await;
    daemon.connected().await;
    // More than the streams that a daemon allows: each must be given back.
    for _ in 0..100 {
        let wait = WaitProcess { process_id: world.ids.id(), timeout_ms: 600_000 };
        let deadline = Deadline::after(Duration::from_millis(5));
        let error = daemon.way.read(&wait, deadline).await.unwrap_err();
        assert_eq!(error, CallError::Unknown { reason: UnknownReason::DeadlinePassed });
    }
    let query = QueryOperation { op_id: world.ids.id() };
    within("the link still answers", daemon.way.read(&query, Deadline::NONE)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_of_readers_does_not_stand_in_the_way_of_an_operation() {
    let world = World::new().await;
    let daemon = world.daemon("a").await;
    daemon.connected().await;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let way = daemon.way.clone();
        let wait = WaitProcess { process_id: world.ids.id(), timeout_ms: 600_000 };
        readers.spawn(async move { way.read(&wait, Deadline::NONE).await });
    }
    let operation = world.operation(1, "00");
    within("the operation gets through", daemon.way.operate(&operation, &delete())).await.unwrap();
    let query = QueryOperation { op_id: world.ids.id() };
    within("a short read gets through", daemon.way.read(&query, Deadline::NONE)).await.unwrap();
    assert_eq!(readers.len(), 200);
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b45_a_repeated_operation_is_answered_and_never_run_again() {
    let mut row = crate::Row::new("B45");
    let world = World::new().await;
    let daemon = world.daemon("a").await;
    daemon.connected().await;
    let first = world.operation(7, "aa");
    let answer = daemon.way.operate(&first, &delete()).await.unwrap();
    let again = daemon.way.operate(&first, &delete()).await.unwrap();
    row.check("same hash", answer == again, &again);

    let mut other_hash = first.clone();
    other_hash.fence.hash = "bb".to_owned();
    let refused = daemon.way.operate(&other_hash, &delete()).await.unwrap_err();
    row.check("other hash", code(&refused) == Some(ErrorCode::OperationConflict), &refused);

    let stale = world.operation(6, "aa");
    let refused = daemon.way.operate(&stale, &delete()).await.unwrap_err();
    row.check("older epoch", code(&refused) == Some(ErrorCode::StaleEpoch), &refused);

    let runs = daemon.double.runs.load(Ordering::SeqCst);
    row.check("runs", runs == 1, runs);
    daemon.way.acknowledge(vec![first.op_id]);
    let again = daemon.way.operate(&first, &delete()).await;
    let runs = daemon.double.runs.load(Ordering::SeqCst);
    row.check("after the acknowledgement", runs == 1, &again);
    row.print(5);
}

fn code(error: &CallError) -> Option<ErrorCode> {
    match error {
        CallError::Refused(error) | CallError::Failed(error) => error.known_code(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_cut_is_noticed_and_healed_and_an_operation_runs_once() {
    let world = World::new().await;
    let relay = Relay::seeded(world.address, 7).unwrap();
    let daemon = world.daemon_at("far away", relay.port()).await;
    daemon.connected().await;

    let operation = world.operation(1, "00");
    relay.cut();
    let cut_at = now();
    let lost = daemon.way.operate(&operation, &delete()).await.unwrap_err();
    assert_eq!(lost, CallError::Unknown { reason: UnknownReason::LinkLost });
    daemon.lost().await;
    let noticed = cut_at.elapsed();
    assert!(noticed < Duration::from_secs(26), "noticed after {noticed:?}");
    let presence = daemon.way.presence();
    assert!(presence.rtt.is_none() && presence.since_ms.is_some());

    relay.heal();
    let restored_at = now();
    daemon.connected().await;
    println!("cut noticed after {noticed:?}, healed after {:?}", restored_at.elapsed());
    let answered = daemon.way.operate(&operation, &delete()).await;
    answered.unwrap();
    assert_eq!(daemon.double.runs.load(Ordering::SeqCst), 1);
    assert!(relay.counts().1 > 0, "the control: something was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_every_byte_once_over_a_link_that_rebinds_and_loses() {
    let world = World::new().await;
    let relay = Relay::seeded(world.address, 11).unwrap();
    let daemon = world.daemon_at("roaming", relay.port()).await;
    daemon.connected().await;
    relay.lose(0.02);
    relay.delay(Duration::from_millis(3));
    let mut seen = 0;
    let mut next_rebind = OUTPUT_BYTES / 4;
    while seen < OUTPUT_BYTES {
        let request = FollowOutput { process_id: world.ids.id(), offset: seen };
        let Ok((_, mut follower)) = daemon.way.follow(&request).await else {
            daemon.connected().await;
            continue;
        };
        while let Ok(Some(event)) = within("more output", follower.next()).await {
            if let FollowEvent::Chunk { offset, bytes, .. } = event {
                assert_eq!(offset, seen);
                let right = (offset..).zip(&bytes).all(|(at, byte)| *byte == output_byte(at));
                assert!(right, "the bytes at {offset} are others");
                seen += bytes.len() as u64;
            }
            if seen >= next_rebind {
                next_rebind += OUTPUT_BYTES / 4;
                relay.rebind();
            }
        }
    }
    assert_eq!(seen, OUTPUT_BYTES);
    let status = daemon.link.status();
    assert_eq!(status.failures, 0, "a new source port is a migration, not a new link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_restarts_finds_its_daemons_again() {
    let mut world = World::new().await;
    let first = std::mem::replace(&mut world.lifecycle, Lifecycle::new());
    let daemon = world.daemon("a").await;
    daemon.connected().await;
    first.shut_down(Duration::from_secs(10)).await;
    daemon.lost().await;
    let lifecycle = world.lifecycle.clone();
    // The old socket is given back a moment after the last link has ended.
    let again = async {
        while world.listen(&lifecycle, CERTIFICATE_LIFE).is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("the port is free again", again).await;
    daemon.connected().await;
    assert!(daemon.link.status().fault.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_daemon_of_an_identity_wins_and_the_other_does_not_fight() {
    let world = World::new().await;
    let original = world.daemon("a").await;
    original.connected().await;
    let copy = world.start("a", original.workspace.clone());
    let mut changed = original.link.changed();
    let waiting = changed.wait_for(|status| status.state == LinkState::Waiting);
    let waiting = within("the original gives way", waiting).await.unwrap().clone();
    let fault = waiting.fault.unwrap();
    assert_eq!(fault.name, "identity", "{}", fault.text);
    let pause_ms = waiting.next_try_ms.unwrap() - waiting.since_ms;
    assert!(pause_ms >= 60_000, "it waits {pause_ms} ms");
    copy.connected().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_past_its_half_life_is_renewed_over_the_link() {
    let world = World::with_device_life(CERTIFICATE_LIFE / 3).await;
    let daemon = world.daemon("a").await;
    let before = daemon.link.status().certificate_ends_ms;
    daemon.connected().await;
    let dir = world.identity_dir("a");
    let renewed = async {
        loop {
            let stored = agentd::identity::Enrolment::load(&dir).unwrap().unwrap();
            if stored.not_after_ms > before {
                return stored;
            }
            tokio::task::yield_now().await;
        }
    };
    let stored = within("a fresh certificate is stored", renewed).await;
    assert_eq!(stored.workspace_id, daemon.workspace.id);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_certificate_ended_while_it_was_away_comes_back_by_its_key() {
    let world = World::new().await;
    let workspace = world.workspace("asleep").await;
    let token = world.token(&workspace, world.address.port()).await;
    world.join("asleep", &token).await.unwrap();
    world.expire("asleep", &workspace);
    let daemon = world.start("asleep", workspace);
    let ended_ms = daemon.link.status().certificate_ends_ms;
    assert!(ended_ms < world.clock.now_ms(), "the control: it has ended");
    daemon.connected().await;
    let ends_ms = daemon.link.status().certificate_ends_ms;
    assert!(ends_ms > world.clock.now_ms(), "it has a fresh certificate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_wait_for_the_daemon_and_arrive() {
    let world = World::new().await;
    let daemon = world.daemon("a").await;
    daemon.connected().await;
    let ops: Vec<OpId> = (0..20).map(|_| world.ids.id()).collect();
    let fences: BTreeMap<OpId, _> =
        ops.iter().map(|op| (*op, world.operation(1, "00").fence)).collect();
    for (op, fence) in fences {
        let operation = controlplane::fleet::Operation::new(op, fence);
        daemon.way.operate(&operation, &delete()).await.unwrap();
    }
    daemon.way.acknowledge(ops.clone());
    let forgotten = async {
        while daemon.double.journal.query(ops[19]).await == OperationState::Done {
            tokio::task::yield_now().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), forgotten).await;
    assert_eq!(daemon.double.runs.load(Ordering::SeqCst), 20);
}
