//! Frames under every split, cut and lie of their header.

use ::bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::frame::HEADER_BYTES;
use super::*;
use crate::limits::{MESSAGE_FRAME_MAX_BYTES, RAW_FRAME_MAX_BYTES};

fn frame() -> impl Strategy<Value = Frame> {
    let kind = prop_oneof![Just(FrameKind::Message), Just(FrameKind::Raw)];
    (kind, proptest::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(kind, body)| Frame { kind, body: body.into() })
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.write_to(&mut bytes).unwrap();
    }
    bytes
}

/// All frames of `bytes`, pushed in pieces of these sizes, over and over.
fn decoded(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).min(rest.len());
        let (piece, after) = rest.split_at(size);
        decoder.push(piece);
        rest = after;
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    decoder.finish()?;
    Ok(frames)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_frames(
        frames in proptest::collection::vec(frame(), 0..12),
        pieces in proptest::collection::vec(1_usize..700, 1..20),
    ) {
        let bytes = encoded(&frames);
        prop_assert_eq!(decoded(&bytes, &pieces).unwrap(), frames.clone());
        prop_assert_eq!(decoded(&bytes, &[1]).unwrap(), frames);
    }

    #[test]
    fn a_stream_that_is_cut_gives_its_whole_frames_and_says_what_is_missing(
        frames in proptest::collection::vec(frame(), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encoded(&frames);
        let at = cut.index(bytes.len());
        let mut decoder = FrameDecoder::new();
        decoder.push(&bytes[..at]);
        let mut whole = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            whole.push(frame);
        }
        prop_assert_eq!(&frames[..whole.len()], &whole[..]);
        let used = encoded(&whole).len();
        match decoder.finish() {
            Ok(()) => prop_assert_eq!(used, at),
            Err(FrameError::Truncated { missing }) => prop_assert!(missing > 0 && used < at),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn garbage_is_an_error_or_waits_and_never_makes_room_for_what_it_promises(
        garbage in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut decoder = FrameDecoder::new();
        decoder.push(&garbage);
        while let Ok(Some(_)) = decoder.next_frame() {}
        #[cfg(feature = "runtime")]
        prop_assert!(decoder.room().capacity() <= MESSAGE_FRAME_MAX_BYTES + 8 * 1024);
    }

    #[test]
    fn no_bytes_make_a_decoder_of_messages_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        fuzz_one(&bytes);
    }
}

/// Messages of every kind, as they stand in their golden files.
fn golden_messages() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/golden/v1");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let message = |path: std::path::PathBuf| {
        let file = std::fs::read_to_string(path).unwrap();
        let file: serde_json::Value = serde_json::from_str(&file).unwrap();
        hex::decode(file["bytes"].as_str().unwrap()).unwrap()
    };
    files.map(message).collect()
}

/// Reads with the reader of `rmp-serde` beside ours.
#[derive(Default)]
struct Beside {
    read: usize,
    refused: Vec<String>,
}

impl ReadAs for Beside {
    fn read_as<T: serde::de::DeserializeOwned + serde::Serialize>(&mut self, body: &[u8]) {
        let theirs = rmp_serde::from_slice::<T>(body);
        let kind = std::any::type_name::<T>();
        match (decode::<T>(body), theirs) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(encode(&ours), encode(&theirs), "{kind} of {}", body.escape_ascii());
                self.read += 1;
            }
            (Ok(_), Err(error)) => {
                panic!("only we read {kind} in {}: {error}", body.escape_ascii())
            }
            (Err(error), Ok(_)) => self.refused.push(format!("{kind}: {error}")),
            (Err(_), Err(_)) => {}
        }
    }
}

#[test]
fn whatever_is_written_is_read_as_another_reader_reads_it() {
    let mut beside = Beside::default();
    for message in golden_messages() {
        read_as_all(&message, &mut beside);
        // What is cut is no message, for nobody.
        read_as_all(&message[..message.len() - 1], &mut beside);
    }
    assert!(beside.read > 50, "{}", beside.read);
    assert_eq!(beside.refused, Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    /// Damaged anywhere: what we read another reader reads alike, and what we alone refuse is of the
    /// forms that nobody writes.
    #[test]
    fn what_is_damaged_is_never_read_as_something_else(
        message in proptest::sample::select(golden_messages()),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = message;
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let mut beside = Beside::default();
        read_as_all(&message, &mut beside);
        for refused in beside.refused {
            let is_known = ["sequence", "integer", "byte array", "an extension"]
                .map(|form| format!("invalid type: {form}"));
            prop_assert!(is_known.iter().any(|known| refused.contains(known.as_str())), "{refused}");
        }
    }
}

/// Row B40 of the catalogue, without a network.
#[test]
fn b40_a_length_is_judged_from_the_header_alone() {
    let judge = |len: u32, kind: Option<u8>| {
        let mut decoder = FrameDecoder::new();
        decoder.push(&len.to_be_bytes());
        decoder.push(kind.as_slice());
        decoder.next_frame()
    };
    let limit = u32::try_from(MESSAGE_FRAME_MAX_BYTES).unwrap();
    let raw = u32::try_from(RAW_FRAME_MAX_BYTES).unwrap();
    let too_large = |len: u32, limit: u32| {
        Err(FrameError::TooLarge { len: len as usize, limit: limit as usize })
    };
    assert_eq!(judge(0, None), Err(FrameError::Empty));
    assert_eq!(judge(1, Some(0)), Ok(Some(Frame { kind: FrameKind::Message, body: Bytes::new() })));
    assert_eq!(judge(limit + 1, Some(0)), Ok(None), "exactly the limit is waited for");
    assert_eq!(judge(limit + 2, None), too_large(limit + 1, limit));
    assert_eq!(judge(raw + 1, Some(1)), Ok(None));
    assert_eq!(judge(raw + 2, Some(1)), too_large(raw + 1, raw));
    assert_eq!(judge(u32::MAX, None), too_large(u32::MAX - 1, limit));
    assert_eq!(judge(7, Some(2)), Err(FrameError::UnknownKind(2)));
}

#[test]
fn a_frame_over_its_limit_is_not_written_at_all() {
    let mut out = BytesMut::new();
    let large = Frame::raw(vec![0; RAW_FRAME_MAX_BYTES + 1]);
    assert!(matches!(large.write_to(&mut out), Err(FrameError::TooLarge { .. })));
    assert!(out.is_empty());
    Frame::raw(vec![0; RAW_FRAME_MAX_BYTES]).write_to(&mut out).unwrap();
    assert_eq!(out.len(), RAW_FRAME_MAX_BYTES + HEADER_BYTES);
}

/// A map with one field, known or unknown, that is nested as deep as a message has bytes.
#[test]
fn a_message_that_is_nested_without_end_is_refused_and_does_not_use_up_the_stack() {
    for one_deeper in [0x91_u8, 0x81] {
        let mut bytes = vec![0x81, 0xa1, b'x'];
        bytes.extend(std::iter::repeat_n(one_deeper, MESSAGE_FRAME_MAX_BYTES - 10));
        // The stack of a runtime's worker.
        let refused = std::thread::Builder::new()
            .stack_size(2 * 1024 * 1024)
            .spawn(move || decode::<crate::protocol::hello::Hello>(&bytes).is_err())
            .unwrap();
        assert!(refused.join().unwrap());
    }
}

#[cfg(feature = "runtime")]
mod over_streams {
    use super::*;
    use crate::protocol::call::CallHeader;
    use crate::protocol::operation::{OperationState, QueryOperation};
    use crate::protocol::{ErrorCode, Method, Reply, WireError};
    use tokio::io::AsyncWriteExt;
    use tokio_util::sync::CancellationToken;

    fn call(method: &str) -> Vec<u8> {
        let header = CallHeader {
            method: method.to_owned(),
            id: "call_x".to_owned(),
            deadline_ms: None,
            fence: None,
            traceparent: None,
            resume_from: None,
            read_only: false,
        };
        let op_id = <dyn crate::ids::IdSource>::id(&crate::ids::SystemIds::new());
        let heads = [Frame::message(&header), Frame::message(&QueryOperation { op_id })];
        encoded(&heads).to_vec()
    }

    /// What comes back for these bytes, and what was received.
    async fn receive(
        bytes: Vec<u8>,
    ) -> (Result<IncomingCall, ReceiveError>, tokio::task::JoinHandle<Option<Frame>>) {
        let (caller, answerer) = tokio::io::duplex(64);
        let (read, write) = tokio::io::split(answerer);
        let (caller_read, mut caller_write) = tokio::io::split(caller);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let _ = caller_write.write_all(&bytes).await;
            let _ = caller_write.shutdown().await;
        });
        #[expect(clippy::disallowed_methods, reason = "a test without a lifecycle")]
        let answer = tokio::spawn(async move {
            let frame = FrameReader::new(caller_read).next().await.ok().flatten();
            drop(tasks);
            frame
        });
        let cancelled = CancellationToken::new();
        (IncomingCall::receive(Box::new(read), Box::new(write), cancelled).await, answer)
    }

    #[tokio::test]
    async fn a_call_is_received_and_answered() {
        let (received, answer) = receive(call(QueryOperation::NAME)).await;
        let mut call = received.unwrap();
        assert_eq!(call.header.method, QueryOperation::NAME);
        call.decode::<QueryOperation>().unwrap();
        assert!(call.body.next().await.unwrap().is_none());
        call.answer.answer(&Reply::Ok(OperationState::Absent)).await.unwrap();
        let frame = answer.await.unwrap().unwrap();
        let reply: Reply<OperationState> = decode(&frame.body).unwrap();
        assert_eq!(reply, Reply::Ok(OperationState::Absent));
    }

    #[tokio::test]
    async fn a_malformed_call_is_answered_with_its_code() {
        let whole = call("m");
        for (bytes, code) in [
            (whole[..whole.len() - 1].to_vec(), ErrorCode::TruncatedFrame),
            (encoded(&[Frame::raw(vec![1])]).to_vec(), ErrorCode::ProtocolViolation),
            (encoded(&[Frame::message(&7)]).to_vec(), ErrorCode::UnknownMessage),
            (u32::MAX.to_be_bytes().to_vec(), ErrorCode::FrameTooLarge),
            (call(&"m".repeat(600)), ErrorCode::InvalidRequest),
        ] {
            let (received, answer) = receive(bytes).await;
            let Err(ReceiveError::Rejected(error)) = received else { panic!("it was taken") };
            assert_eq!(error.known_code(), Some(code));
            let frame = answer.await.unwrap().unwrap();
            let told: Reply<()> = decode(&frame.body).unwrap();
            assert_eq!(told, Reply::Err(error));
        }
        assert!(matches!(receive(Vec::new()).await.0, Err(ReceiveError::Empty)));
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_announced_is_refused() {
        for (sent, announced) in [(10, 11), (11, 10), (0, 1)] {
            let mut bytes = call("m");
            bytes.extend(encoded(&[Frame::raw(vec![7; sent])]));
            let (received, _answer) = receive(bytes).await;
            let error = received.unwrap().body.read_exactly(announced).await.unwrap_err();
            assert!(matches!(error, BodyError::Length { .. }), "{error}");
            let error = WireError::from(error);
            assert_eq!(error.known_code(), Some(ErrorCode::InvalidRequest));
        }
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_becomes_an_error_and_not_silence() {
        let (received, answer) = receive(call("m")).await;
        let huge = "x".repeat(MESSAGE_FRAME_MAX_BYTES);
        received.unwrap().answer.answer(&Reply::Ok(huge)).await.unwrap();
        let frame = answer.await.unwrap().unwrap();
        let Reply::Err(error) = decode::<Reply<String>>(&frame.body).unwrap() else { panic!() };
        assert_eq!(error.known_code(), Some(ErrorCode::FrameTooLarge));
    }

    #[tokio::test]
    async fn a_reader_that_is_dropped_half_way_loses_no_byte() {
        let frames: Vec<Frame> = (0..50_u8).map(|n| Frame::raw(vec![n; 100])).collect();
        let bytes = encoded(&frames);
        let (mut near, far) = tokio::io::duplex(7);
        let mut reader = FrameReader::new(far);
        let mut seen = Vec::new();
        let mut sent = 0;
        while seen.len() < frames.len() {
            tokio::select! {
                biased;
                // Dropped and begun anew at each turn of the loop.
                frame = reader.next() => seen.push(frame.unwrap().unwrap()),
                written = near.write(&bytes[sent..]), if sent < bytes.len() => {
                    sent += written.unwrap();
                }
            }
        }
        assert_eq!(seen, frames);
    }
}
