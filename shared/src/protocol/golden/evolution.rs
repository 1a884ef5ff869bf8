//! Versions N and N-1 side by side: what a newer peer may send, an older one reads, and the other
//! way round.

use serde_json::{Value, json};

use super::samples::{id, samples, start};
use crate::ids::{OpId, ProcessId};
use crate::protocol::call::CallHeader;
use crate::protocol::files::{Expect, ReadLines, SearchFiles, WriteFile};
use crate::protocol::notice::{ControlNotice, DaemonNotice};
use crate::protocol::process::{
    Exit, GetProcess, ListProcesses, OutputWindow, ProcessState, ReadOutput, StartProcess,
    StopMeans, ViewOutput,
};
use crate::protocol::{ErrorCode, Outcome, WireError};
use crate::wire::{decode, encode};

/// The same MessagePack map with one more field at its end, as a newer peer would send it.
fn with_extra_field(bytes: &[u8]) -> Vec<u8> {
    let (&first, rest) = bytes.split_first().expect("a message has bytes");
    assert!((0x80..0x8f).contains(&first), "a map of under 15 fields, not {first:#x}");
    let mut out = vec![first + 1];
    out.extend_from_slice(rest);
    out.extend(encode(&"a field of 1.9"));
    out.extend(encode(&vec![json!({"deep": [1, 2]})]));
    out
}

#[test]
fn a_newer_peers_extra_field_is_ignored_in_every_message() {
    let mut tried = 0;
    for sample in samples().iter().filter(|sample| sample.open) {
        let reread = (sample.reread)(&with_extra_field(&sample.bytes))
            .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        assert_eq!(reread.bytes, sample.bytes, "{}", sample.name);
        tried += 1;
    }
    assert!(tried >= 45, "only {tried} messages were tried");
}

#[test]
fn bytes_after_a_message_and_half_a_message_are_never_half_understood() {
    for sample in samples() {
        for len in 0..sample.bytes.len() {
            assert!((sample.reread)(&sample.bytes[..len]).is_err(), "{} at {len}", sample.name);
        }
    }
}

#[test]
fn a_notice_that_is_not_known_yet_is_unknown_and_harmless() {
    let newer = encode(&json!({"notice": "tide_turned", "height": 3, "deep": {"a": [1]}}));
    assert_eq!(decode::<DaemonNotice>(&newer).unwrap(), DaemonNotice::Unknown);
    assert_eq!(decode::<ControlNotice>(&newer).unwrap(), ControlNotice::Unknown);
}

#[test]
fn an_error_code_of_a_newer_peer_survives_as_text() {
    let newer = encode(&json!({"code": "moon_full", "message": "wait", "outcome": "refused"}));
    let error: WireError = decode(&newer).unwrap();
    assert_eq!((error.known_code(), error.code.as_str()), (None, "moon_full"));
    assert_eq!(error.outcome, Outcome::Refused);
    for code in ErrorCode::ALL {
        assert_eq!(WireError::refused(*code, "").known_code(), Some(*code));
    }
}

/// What an older peer sends, without the fields that are optional, reads as their defaults.
#[test]
fn a_missing_optional_field_is_its_default() {
    fn reads_as<T>(sent: &Value, expected: &T)
    where
        T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        assert_eq!(decode::<T>(&encode(sent)).unwrap(), *expected);
    }
    let process_id: ProcessId = id();
    let id_text = process_id.to_string();
    let shell = json!({"kind": "shell", "command": "cargo test"});
    reads_as::<StartProcess>(&json!({"process_id": id_text, "program": shell}), &start());
    reads_as(&json!({}), &ListProcesses::default());
    let path = json!({"path": "a"});
    reads_as(&json!({"path": path}), &ReadLines { path: "a".into(), line: None, limit: None });
    reads_as(
        &json!({"path": path, "len": 3}),
        &WriteFile { path: "a".into(), len: 3, expect: Expect::Any, mode: None },
    );
    reads_as(
        &json!({"pattern": "x"}),
        &SearchFiles {
            pattern: "x".to_owned(),
            literal: false,
            ignore_case: false,
            path: None,
            glob: None,
            context: 0,
            limit: None,
        },
    );
    reads_as(
        &json!({"process_id": id_text, "offset": 1, "limit_bytes": 2}),
        &ReadOutput { process_id, offset: 1, limit_bytes: 2, from_end: false },
    );
    reads_as(
        &json!({"process_id": id_text, "window": {"window": "head_tail"}}),
        &ViewOutput {
            process_id,
            window: OutputWindow::HeadTail { head_bytes: None, tail_bytes: None },
        },
    );
    reads_as(
        &json!({"state": "exited", "exit": {"how": "code", "code": 0}, "ended_at_ms": 5}),
        &ProcessState::Exited { exit: Exit::Code { code: 0 }, ended_at_ms: 5, output_held_by: 0 },
    );
    reads_as(
        &json!({"method": "m", "id": "x"}),
        &CallHeader {
            method: "m".to_owned(),
            id: "x".to_owned(),
            deadline_ms: None,
            fence: None,
            traceparent: None,
            resume_from: None,
            read_only: false,
        },
    );
}

#[test]
fn a_means_of_stopping_that_a_newer_daemon_has_is_another_one() {
    let read: StopMeans = decode(&encode(&json!("vaporised"))).unwrap();
    assert_eq!(read, StopMeans::Other);
}

#[test]
fn a_missing_or_wrong_required_field_is_named() {
    let error = decode::<StartProcess>(&encode(&json!({"process_id": id::<ProcessId>()})));
    assert!(error.unwrap_err().to_string().contains("program"));
    let error = decode::<GetProcess>(&encode(&json!({"process_id": id::<OpId>()})));
    assert!(error.unwrap_err().to_string().contains("process id"));
    let error = decode::<Exit>(&encode(&json!({"how": "vanished"})));
    assert!(error.unwrap_err().to_string().contains("vanished"));
}
