//! Whatever bytes a process writes: the raw bytes come back as they were, and every text of them is
//! valid. Promise P28.

mod bench;

use agentd::process::FollowStep;
use bench::{Bench, argv};
use shared::ids::ProcessId;
use shared::protocol::process::{
    OutputView, OutputWindow, ReadOutput, StartProcess, Stdin, ViewOutput, WriteStdin,
};
use shared::testing::trials;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

const TEXT: &str = "plain, ä, €, 𝄞, e\u{301}, \u{FEFF}, \u{202E}abc\u{202C}, 日本語\r\n";

/// One buffer of up to 6 KiB, of one of the kinds that have broken others' programs.
fn buffer(dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let len = 1 + dice.throw(6_000);
    let repeat = |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().cycle().take(len).collect() };
    match dice.throw(9) {
        0 => ("random", (0..len).map(|_| u8::try_from(dice.throw(256)).unwrap()).collect()),
        1 => ("NUL", vec![0; len]),
        2 => ("lone surrogates", repeat(b"a\xED\xA0\x80\xED\xBF\xBFb\n")),
        3 => ("text, cut anywhere", repeat(TEXT.as_bytes())),
        4 => ("16 bits, little first", repeat(&wide(u16::to_le_bytes))),
        5 => ("16 bits, big first", repeat(&wide(u16::to_be_bytes))),
        6 => {
            ("escapes", repeat(b"\x1b[2J\x1b[1;31mred\x1b]0;title\x07\x1bP1$r\x9b5n\x1b[?1049h\n"))
        }
        7 => ("an escape without end", repeat(b"\x1b]52;c;")),
        _ => ("overlong and cut", repeat(b"\xC0\xAF\xE2\x82\xF0\x9F\x98\xFE\xFF\"\\\n")),
    }
}

fn wide(bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    TEXT.encode_utf16().flat_map(bytes).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec()
}

async fn cat(bench: &Bench) -> ProcessId {
    let request = StartProcess { stdin: Stdin::Open, ..argv(&["cat"]) };
    bench.start(request).await.unwrap().process_id
}

async fn write(bench: &Bench, process_id: ProcessId, data: &[u8], close: bool) {
    let request = WriteStdin { process_id, data: data.to_vec(), close };
    bench.processes.write_stdin(bench.op(), request).await.unwrap();
}

/// A view, once through JSON and back.
async fn view(bench: &Bench, process_id: ProcessId, window: OutputWindow) -> OutputView {
    let view = bench.processes.view(ViewOutput { process_id, window }).await.unwrap();
    let json = serde_json::to_vec(&view).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&json).unwrap()["text"].is_string());
    assert_eq!(serde_json::from_slice::<OutputView>(&json).unwrap(), view);
    view
}

#[tokio::test]
async fn p28_any_bytes_come_back_as_they_were_and_every_text_is_valid() {
    let count = trials(300, 10_000);
    let bench = Bench::new();
    let process_id = cat(&bench).await;
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut buffers = Vec::new();
    let (mut total, mut kinds) = (0, std::collections::BTreeSet::new());
    for _ in 0..count {
        let (kind, bytes) = buffer(&mut dice);
        // In two writes, which may part a character.
        let (first, second) = bytes.split_at(dice.throw(bytes.len() + 1));
        write(&bench, process_id, first, false).await;
        write(&bench, process_id, second, false).await;
        buffers.push((total, bytes.len(), sha256(&bytes)));
        total += bytes.len() as u64;
        kinds.insert(kind);
    }
    write(&bench, process_id, b"", true).await;
    assert_eq!(bench.ended(process_id).await.output_total, total);
    let mut views = 0;
    for (offset, len, expected) in &buffers {
        let request =
            ReadOutput { process_id, offset: *offset, limit_bytes: *len as u64, from_end: false };
        let (page, bytes) = bench.processes.read(&request).await.unwrap();
        assert_eq!((page.offset, page.len), (*offset, *len as u64));
        assert_eq!(&sha256(&bytes), expected, "the buffer at {offset}");
        let limit_bytes = u32::try_from(1 + dice.throw(4_096)).unwrap();
        let shown =
            view(&bench, process_id, OutputWindow::From { offset: *offset, limit_bytes }).await;
        assert!(shown.next_offset > *offset && shown.next_offset <= total);
        views += 1;
    }
    for window in [
        OutputWindow::HeadTail { head_bytes: None, tail_bytes: None },
        OutputWindow::TailLines { lines: 200 },
        OutputWindow::Grep { pattern: "red|[^a]€".to_owned(), context: 2, limit: 100 },
        OutputWindow::Grep { pattern: r"(?-u)\xED\xA0".to_owned(), context: 0, limit: 100 },
    ] {
        view(&bench, process_id, window).await;
        views += 1;
    }
    println!(
        "P28: {count} buffers of {} kinds, {total} bytes: {count} of {count} with the same sha256; {views} texts \
         of them valid in JSON and back; {} characters parted at every byte were never shown in part",
        kinds.len(),
        parted(&bench).await
    );
}

/// Text whose characters come in two writes, parted at every byte: a view between the writes waits
/// for the rest. Gives how many characters were parted.
async fn parted(bench: &Bench) -> usize {
    let mut parted = 0;
    let process_id = cat(bench).await;
    let mut follower = bench.processes.follow(process_id, 0).unwrap();
    let mut written = 0;
    for cut in 1..TEXT.len() {
        let start = written;
        for part in [&TEXT.as_bytes()[..cut], &TEXT.as_bytes()[cut..]] {
            write(bench, process_id, part, false).await;
            written += part.len() as u64;
            let mut seen = written - part.len() as u64;
            while seen < written {
                let FollowStep::Chunk { offset, bytes, .. } = follower.next().await.unwrap() else {
                    panic!("it neither ends nor drops")
                };
                seen = offset + bytes.len() as u64;
            }
            let window = OutputWindow::From { offset: start, limit_bytes: 4_096 };
            let shown = view(bench, process_id, window).await;
            assert!(!shown.text.contains('\u{FFFD}'), "cut at {cut}: {:?}", shown.text);
        }
        parted += usize::from(!TEXT.is_char_boundary(cut));
    }
    write(bench, process_id, b"", true).await;
    bench.ended(process_id).await;
    parted
}
