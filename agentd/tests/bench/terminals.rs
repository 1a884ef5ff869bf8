//! Terminals of a daemon that can be killed, and viewers of them.

use std::path::PathBuf;
use std::time::Duration;

use agentd::pty::emulator::{Emulator, Row};
use shared::ids::{CallId, IdSource, OpId, PtyId, SystemIds};
use shared::protocol::call::CallHeader;
use shared::protocol::process::{Exit, ProcessState, Program};
use shared::protocol::pty::{
    AttachFrom, AttachPty, ClosePty, GetPty, OpenPty, PtyAttached, PtyItem, PtySay, PtyScreenText,
    PtySize, PtyView, ReadPtyOutput, ReadPtyScreen, WriteWish,
};
use shared::protocol::{Method, Reply, WireError};
use shared::wire::{Frame, FrameKind, FrameReader, FrameWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::served::Served;

/// What waits for something that must come gives up after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A state directory, a root, and the daemon of the moment.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub ids: SystemIds,
    served: Option<Served>,
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let served = Some(Served::start(dir.path(), None));
        Self { dir, ids: SystemIds::new(), served }
    }

    pub fn root(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path().join("root")).unwrap()
    }

    pub fn op(&self) -> OpId {
        (&self.ids as &dyn IdSource).id()
    }

    pub fn pty_id(&self) -> PtyId {
        (&self.ids as &dyn IdSource).id()
    }

    pub fn daemon(&self) -> &Served {
        self.served.as_ref().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.served.take().unwrap().kill();
    }

    /// Gives how long it took until the daemon served again.
    pub fn start_again(&mut self) -> Duration {
        let start = tokio::time::Instant::now();
        self.served = Some(Served::start(self.dir.path(), None));
        start.elapsed()
    }

    pub fn request(&self, command: &str) -> OpenPty {
        OpenPty {
            pty_id: self.pty_id(),
            program: Some(Program::Shell { command: command.to_owned() }),
            cwd: None,
            env: std::collections::BTreeMap::new(),
            size: PtySize::default(),
            chat_id: None,
            output_kept_bytes: None,
        }
    }

    pub async fn ask<M: Method>(&self, request: &M) -> Result<M::Reply, WireError> {
        self.daemon().call(self.op(), request).await
    }

    pub async fn open(&self, request: &OpenPty) -> PtyView {
        self.ask(request).await.unwrap()
    }

    pub async fn shell(&self, command: &str) -> PtyId {
        self.open(&self.request(command)).await.pty_id
    }

    pub async fn get(&self, pty_id: PtyId) -> PtyView {
        self.ask(&GetPty { pty_id }).await.unwrap()
    }

    pub async fn close(&self, pty_id: PtyId) -> PtyView {
        self.ask(&ClosePty { pty_id, grace_ms: 2_000 }).await.unwrap()
    }

    pub async fn screen(&self, pty_id: PtyId) -> PtyScreenText {
        self.ask(&ReadPtyScreen { pty_id }).await.unwrap()
    }

    /// All raw output, of which nothing was dropped.
    pub async fn output(&self, pty_id: PtyId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let offset = all.len() as u64;
            let request = ReadPtyOutput { pty_id, offset, limit_bytes: 1 << 22, from_end: false };
            let mut call = Call::begin(self, &request).await;
            let head = call.reply::<ReadPtyOutput>().await.unwrap();
            if head.len == 0 {
                return all;
            }
            all.extend(call.raw(head.len).await);
        }
    }

    pub async fn attach(&self, pty_id: PtyId, viewer: &str, write: WriteWish) -> Viewer {
        self.attach_as(request(pty_id, viewer, write)).await.unwrap()
    }

    pub async fn attach_as(&self, request: AttachPty) -> Result<Viewer, WireError> {
        let mut call = Call::begin(self, &request).await;
        let head = call.reply::<AttachPty>().await?;
        let size = head.screen.map_or(head.pty.size, |screen| screen.size);
        let mut emulator = Emulator::new(size).with_scrollback(20_000);
        if let Some(screen) = head.screen {
            emulator.feed(&call.raw(screen.len).await);
        }
        let offset = head.offset;
        let seq = head.taken_seq;
        Ok(Viewer { call, head, emulator, offset, seq, bytes: Vec::new(), items: Vec::new() })
    }
}

impl Drop for Scene {
    /// Ends the daemon, and what a test that failed has left running.
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            served.kill();
        }
        let keepers = self.dir.path().join("state/processes/keepers");
        let entries = std::fs::read_dir(keepers).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.path().is_dir()) {
            let mark = format!("HOLDFAST_PROCESS_ID={}", entry.file_name().display());
            marked(&[mark]).for_each(|pid| {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            });
        }
    }
}

/// Processes with one of these in their environment.
pub fn marked(marks: &[String]) -> impl Iterator<Item = nix::unistd::Pid> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environ = std::fs::read(entry.path().join("environ")).ok()?;
        let mut variables = environ.split(|byte| *byte == 0);
        let is_marked =
            variables.any(|variable| marks.iter().any(|mark| variable == mark.as_bytes()));
        is_marked.then(|| nix::unistd::Pid::from_raw(pid))
    })
}

pub fn request(pty_id: PtyId, viewer: &str, write: WriteWish) -> AttachPty {
    AttachPty {
        pty_id,
        viewer: viewer.to_owned(),
        // What comes back when the terminal grows, at least.
        from: AttachFrom::Screen { scrollback_lines: 64 },
        write,
        size: None,
        skip_behind_bytes: None,
    }
}

/// One stream.
pub struct Call {
    frames: FrameReader<OwnedReadHalf>,
    pub sink: FrameWriter<OwnedWriteHalf>,
}

impl Call {
    pub async fn begin<M: Method>(scene: &Scene, request: &M) -> Self {
        let header = CallHeader {
            method: M::NAME.to_owned(),
            id: (&scene.ids as &dyn IdSource).id::<CallId>().to_string(),
            deadline_ms: None,
            fence: None,
            traceparent: None,
            resume_from: None,
            read_only: false,
        };
        let stream = UnixStream::connect(scene.daemon().socket()).await.unwrap();
        let (read, write) = stream.into_split();
        let mut sink = FrameWriter::new(write);
        sink.write_together(&[Frame::message(&header), Frame::message(request)]).await.unwrap();
        Self { frames: FrameReader::new(read), sink }
    }

    pub async fn reply<M: Method>(&mut self) -> Result<M::Reply, WireError> {
        let frame = self.frame().await.expect("an answer");
        match shared::wire::decode::<Reply<M::Reply>>(&frame.body).unwrap() {
            Reply::Ok(reply) => Ok(reply),
            Reply::Err(error) => Err(error),
        }
    }

    pub async fn frame(&mut self) -> Option<Frame> {
        let next = tokio::time::timeout(PATIENCE, self.frames.next()).await;
        next.expect("something comes").ok().flatten()
    }

    pub async fn raw(&mut self, len: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            let frame = self.frame().await.expect("raw bytes");
            assert_eq!(frame.kind, FrameKind::Raw);
            all.extend_from_slice(&frame.body);
        }
        assert_eq!(all.len() as u64, len);
        all
    }
}

/// A person's terminal.
pub struct Viewer {
    pub call: Call,
    pub head: PtyAttached,
    /// What it shows.
    pub emulator: Emulator,
    pub offset: u64,
    /// Of the last input.
    pub seq: u64,
    /// Every byte of output that was told.
    pub bytes: Vec<u8>,
    /// Everything else that was told.
    pub items: Vec<PtyItem>,
}

impl Viewer {
    /// The next item, applied. None: the stream has ended.
    pub async fn next(&mut self) -> Option<PtyItem> {
        let next = tokio::time::timeout(PATIENCE, self.call.frames.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing comes; shown is:\n{}", self.text()));
        let frame = next.ok().flatten()?;
        let item: PtyItem = shared::wire::decode(&frame.body).unwrap();
        match &item {
            PtyItem::Chunk { offset, len } => {
                assert_eq!(*offset, self.offset, "a chunk goes on where the last one ended");
                let bytes = self.call.raw(u64::from(*len)).await;
                self.emulator.feed(&bytes);
                self.offset += bytes.len() as u64;
                self.bytes.extend(bytes);
            }
            PtyItem::Dropped { from, to } => {
                assert_eq!(*from, self.offset);
                self.offset = *to;
            }
            PtyItem::Screen { screen } => {
                assert_eq!(screen.offset, self.offset);
                let bytes = self.call.raw(screen.len).await;
                self.emulator = Emulator::new(screen.size).with_scrollback(20_000);
                self.emulator.feed(&bytes);
            }
            PtyItem::Resized { size, .. } => self.emulator.resize(*size),
            _ => {}
        }
        if !matches!(item, PtyItem::Chunk { .. }) {
            self.items.push(item.clone());
        }
        Some(item)
    }

    pub async fn say(&mut self, say: &PtySay) {
        self.call.sink.write(&Frame::message(say)).await.unwrap();
    }

    /// A message that is none.
    pub async fn say_raw(&mut self, body: &[u8]) {
        let body = body.to_vec().into();
        self.call.sink.write(&Frame { kind: FrameKind::Message, body }).await.unwrap();
    }

    pub async fn send(&mut self, data: impl AsRef<[u8]>) -> u64 {
        self.seq += 1;
        let (seq, data) = (self.seq, data.as_ref().to_vec());
        self.say(&PtySay::Input { seq, data }).await;
        seq
    }

    /// Goes on until an item is as wanted.
    pub async fn item(&mut self, wanted: impl Fn(&PtyItem) -> bool) -> PtyItem {
        loop {
            let item = self.next().await.unwrap_or_else(|| panic!("ended: {:?}", self.items));
            if wanted(&item) {
                return item;
            }
        }
    }

    /// Goes on until the screen shows `text`.
    pub async fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            let shown = self.text();
            let next = self.next().await;
            assert!(next.is_some(), "ended without {text:?}: {shown}");
        }
    }

    /// Goes on up to an offset.
    pub async fn until_offset(&mut self, offset: u64) {
        while self.offset < offset {
            self.next().await.expect("it goes on");
        }
    }

    pub async fn end(&mut self) -> PtyView {
        match self.item(|item| matches!(item, PtyItem::End { .. })).await {
            PtyItem::End { pty } => pty,
            _ => unreachable!(),
        }
    }

    pub fn text(&self) -> String {
        self.emulator.rows().map(Row::text).collect::<Vec<_>>().join("\n")
    }

    pub async fn detach(mut self) {
        self.call.sink.finish().await.unwrap();
        while self.call.frame().await.is_some() {}
    }
}

/// Everything that can be seen of two terminals, cell by cell.
pub fn assert_same(one: &Emulator, other: &Emulator, when: &str) {
    assert_eq!(one.size(), other.size(), "{when}: size");
    for (row, (a, b)) in one.rows().zip(other.rows()).enumerate() {
        for col in 0..one.size().cols() {
            assert_eq!(a.cell(col), b.cell(col), "{when}: row {row}, column {col}: {}", a.text());
        }
    }
    assert_eq!(one.cursor(), other.cursor(), "{when}: cursor");
    assert_eq!(one.is_cursor_visible(), other.is_cursor_visible(), "{when}: cursor shown");
    assert_eq!(one.is_alternate(), other.is_alternate(), "{when}: alternate screen");
    assert_eq!(one.title(), other.title(), "{when}: title");
    assert_eq!(one.formatted(), other.formatted(), "{when}: switches and everything else");
}

pub fn exit_of(view: &PtyView) -> Exit {
    match view.state {
        ProcessState::Exited { exit, .. } => exit,
        ref other => panic!("{other:?}"),
    }
}

/// A terminal that has seen every byte before `upto`, and every size up to there.
pub async fn replayed(scene: &Scene, pty_id: PtyId, upto: u64) -> Emulator {
    let from = AttachFrom::Offset { offset: 0 };
    let request = AttachPty { from, ..request(pty_id, "replay", WriteWish::Never) };
    let mut call = Call::begin(scene, &request).await;
    call.reply::<AttachPty>().await.unwrap();
    let mut emulator = Emulator::new(PtySize::default());
    let mut at = 0;
    while at < upto {
        let frame = call.frame().await.expect("it goes on");
        match shared::wire::decode::<PtyItem>(&frame.body).unwrap() {
            PtyItem::Chunk { offset, len } => {
                assert_eq!(offset, at);
                let bytes = call.raw(u64::from(len)).await;
                let room = usize::try_from(upto - at).unwrap();
                emulator.feed(&bytes[..bytes.len().min(room)]);
                at += bytes.len() as u64;
            }
            PtyItem::Resized { size, .. } => emulator.resize(size),
            other => panic!("{other:?}"),
        }
    }
    emulator
}

/// Holds what the daemon shows against every byte that was ever written, cell by cell.
pub async fn assert_exact(scene: &Scene, pty_id: PtyId, when: &str) {
    let shown = scene.attach(pty_id, "check", WriteWish::Never).await;
    let replayed = replayed(scene, pty_id, shown.offset).await;
    assert_same(&shown.emulator, &replayed, when);
}
