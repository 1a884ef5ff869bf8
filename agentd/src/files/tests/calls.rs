//! Changes through the journal, over an in-memory stream.

use bytes::Bytes;
use shared::ids::{OpId, SystemIds};
use shared::protocol::call::{CallHeader, Fence};
use shared::protocol::files::{BytesPage, Lines, ReadBytes};
use shared::protocol::{Method, Reply};
use shared::wire::{Frame, FrameKind, FrameReader, FrameWriter, IncomingCall};
use tokio_util::sync::CancellationToken;

use super::super::calls::{serve, settle};
use super::*;
use crate::journal::{Admission, JournalHandle, Settlement};

struct Daemon {
    sandbox: Sandbox,
    lifecycle: Lifecycle,
    journal: JournalHandle,
}

impl Daemon {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let (lifecycle, journal, interrupted) = open_journal(&sandbox);
        assert!(interrupted.is_empty());
        Self { sandbox, lifecycle, journal }
    }

    /// One call; the frames of the answer. `body` may be shorter than it was announced.
    async fn call<M: Method>(&self, id: OpId, request: &M, body: &[u8]) -> Vec<Frame> {
        let header = CallHeader {
            method: M::NAME.to_owned(),
            id: id.to_string(),
            deadline_ms: None,
            fence: Some(fence()),
            traceparent: None,
            resume_from: None,
            read_only: false,
        };
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (read, write) = tokio::io::split(theirs);
        let (our_read, our_write) = tokio::io::split(ours);
        let mut writer = FrameWriter::new(our_write);
        writer.write_together(&[Frame::message(&header), Frame::message(request)]).await.unwrap();
        writer.write_raw(Bytes::copy_from_slice(body)).await.unwrap();
        writer.finish().await.unwrap();
        let cancelled = CancellationToken::new();
        let call = IncomingCall::receive(Box::new(read), Box::new(write), cancelled).await.unwrap();
        serve(&self.sandbox.files, &self.journal, call).await;
        let mut reader = FrameReader::new(our_read);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await.unwrap() {
            frames.push(frame);
        }
        frames
    }

    async fn ask<M: Method>(
        &self,
        id: OpId,
        request: &M,
        body: &[u8],
    ) -> Result<M::Reply, WireError> {
        let frames = self.call(id, request, body).await;
        match shared::wire::decode(&frames[0].body).unwrap() {
            Reply::Ok(reply) => Ok(reply),
            Reply::Err(error) => Err(error),
        }
    }
}

fn open_journal(sandbox: &Sandbox) -> (Lifecycle, JournalHandle, Vec<crate::journal::Interrupted>) {
    let lifecycle = Lifecycle::new();
    let directory = sandbox.directory.path().join("state");
    std::fs::create_dir_all(&directory).unwrap();
    let (journal, interrupted) =
        JournalHandle::open(&directory, &lifecycle, Arc::new(SystemClock)).unwrap();
    (lifecycle, journal, interrupted)
}

fn fence() -> Fence {
    Fence { scope: "chat".to_owned(), epoch: 1, hash: "00".repeat(32) }
}

fn new_id() -> OpId {
    let ids: &dyn shared::ids::IdSource = &SystemIds::new();
    ids.id()
}

fn write_of(content: &str) -> WriteFile {
    WriteFile { path: "f".into(), len: content.len() as u64, expect: Expect::Any, mode: None }
}

#[tokio::test]
async fn a_write_that_is_asked_for_again_is_answered_and_not_done_again() {
    let daemon = Daemon::new();
    let id = new_id();
    let first = daemon.ask(id, &write_of("one\n"), b"one\n").await.unwrap();
    daemon.sandbox.put("f", "somebody else's\n");
    let second = daemon.ask(id, &write_of("one\n"), b"one\n").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(daemon.sandbox.content("f"), "somebody else's\n");
}

#[tokio::test]
async fn a_write_whose_content_breaks_off_begins_nothing_and_may_come_again() {
    let daemon = Daemon::new();
    let id = new_id();
    assert_eq!(code(daemon.ask(id, &write_of("one\n"), b"on").await), "invalid_request");
    assert!(!daemon.sandbox.root().join("f").exists());
    daemon.ask(id, &write_of("one\n"), b"one\n").await.unwrap();
    assert_eq!(daemon.sandbox.content("f"), "one\n");
}

#[tokio::test]
async fn a_refusal_is_remembered_like_any_outcome() {
    let daemon = Daemon::new();
    let id = new_id();
    let request = EditFiles { files: vec![edits("missing", vec![edit("a", "b")])] };
    assert_eq!(code(daemon.ask(id, &request, b"").await), "file_not_found");
    daemon.sandbox.put("missing", "a\n");
    assert_eq!(code(daemon.ask(id, &request, b"").await), "file_not_found");
    assert_eq!(daemon.sandbox.content("missing"), "a\n");
}

#[tokio::test]
async fn reads_answer_heads_and_bytes() {
    let daemon = Daemon::new();
    daemon.sandbox.put("f", "one\ntwo\n");
    let lines: Lines = daemon.ask(new_id(), &read("f"), b"").await.unwrap();
    assert_eq!(lines.lines, ["one", "two"]);
    let request = ReadBytes { path: "f".into(), offset: 4, limit_bytes: 3 };
    let frames = daemon.call(new_id(), &request, b"").await;
    let head: Reply<BytesPage> = shared::wire::decode(&frames[0].body).unwrap();
    assert!(matches!(head, Reply::Ok(BytesPage { len: 3, size: 8, .. })), "{head:?}");
    assert_eq!((frames[1].kind, &frames[1].body[..]), (FrameKind::Raw, &b"two"[..]));
}

#[tokio::test]
async fn what_a_crash_interrupted_is_settled_at_the_next_start() {
    let mut daemon = Daemon::new();
    daemon.sandbox.put("f", "old\n");
    let (early, late) = (new_id(), new_id());
    let request = EditFiles { files: vec![edits("f", vec![edit("old", "new")])] };
    for id in [early, late] {
        let Admission::Begin(token) = daemon.journal.begin(id, &fence(), EditFiles::NAME).await
        else {
            panic!("not admitted")
        };
        if id == late {
            let prepared = daemon.sandbox.files.plan_edit(request.clone()).await.unwrap();
            token.prepared(prepared.record().into()).await.unwrap();
            std::mem::forget(prepared);
        }
        std::mem::forget(token);
    }
    daemon.sandbox.restart();
    daemon.lifecycle.stop_hard();
    let (_, _, interrupted) = open_journal(&daemon.sandbox);
    let mut settlements = Vec::new();
    for interrupted in &interrupted {
        let settlement = settle(&daemon.sandbox.files, interrupted).await.unwrap();
        settlements.push((interrupted.op_id, settlement));
    }
    settlements.sort_by_key(|(id, _)| *id == late);
    assert_eq!(settlements[0], (early, Settlement::NeverRan));
    let Settlement::Ended(outcome) = &settlements[1].1 else { panic!("it was prepared") };
    let reply: Reply<Edited> = shared::wire::decode(outcome).unwrap();
    assert!(matches!(reply, Reply::Ok(Edited { files }) if files.len() == 1));
    assert_eq!(daemon.sandbox.content("f"), "new\n");
}
