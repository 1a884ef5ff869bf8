//! What a spare does before its order comes: everything that an order will make it do, once, with
//! nothing. A page of code or of the heap costs a microsecond when it is first touched, and a start
//! touches two hundred of them.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use shared::protocol::process::{Exit, ProcessFacts};
use shared::wire::Frame;

use super::image::{self, Head, Image, InputKind};
use super::protocol::{Leader, Life, Said, Status};
use super::record::{Note, Usage};
use crate::process::cgroup::GroupPlan;
use crate::process::log::{Budget, LogWriter, OutputLog};
use crate::process::tree;

/// A process that there never is.
const NOBODY: &str = "proc_00000000000000000000000000";

/// Leaves nothing behind. What goes wrong here goes wrong again with the order, and is told then.
pub(super) fn rehearse() {
    let Ok(process) = NOBODY.parse() else { return };
    let leader = Leader { pid: 0, start_time: 0, boot_id: String::new() };
    let plan = GroupPlan {
        unified: Some("/".into()),
        legacy: vec![("memory".to_owned(), "/".into())],
        ..GroupPlan::default()
    };
    let head = Head::new(process, Path::new("/"), 0, "", InputKind::Closed).contained(plan, None);
    let image =
        image::write(head, &c"/".into(), &[c"".into()], &[c"".into()]).and_then(Image::read);
    drop(image.map(|image| image.pointers().argv.len()));
    let log = OutputLog::new(Path::new("/").into(), process, 0, Arc::new(Budget::new(0)));
    drop(LogWriter::new(Arc::clone(&log)));
    let start_time = tree::start_time(std::process::id()).unwrap_or(0);
    let exit = Exit::Code { code: 0 };
    let hello = Said::Hello {
        version: super::protocol::own_version(),
        process,
        keeper: 0,
        has_input: false,
        can_stop: true,
        typed: Vec::new(),
    };
    let status = |life| {
        let (output, facts, fresh) = (log.state(), ProcessFacts::default(), Vec::new());
        let pipes = vec![0, 0];
        Said::Status(Box::new(Status { life, output, pipes, facts, terminal: None, fresh }))
    };
    let running = Life::Running(Leader { start_time, ..leader.clone() });
    let ended = Life::Ended { leader: leader.clone(), exit, ago_ms: 0 };
    let mut out = BytesMut::new();
    for said in [hello, status(running), status(ended)] {
        let _ = Frame::message(&said).write_to(&mut out);
    }
    let exited = Note::Exited { exit, at_ms: 0, usage: Usage::default() };
    for note in [Note::Begun, Note::Running(leader), exited, Note::Complete { total: 0 }] {
        let _ = Frame::message(&note).write_to(&mut out);
    }
}
