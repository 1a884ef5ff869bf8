//! A process about which nothing can change any more, in little room.
//!
//! ```text
//! as a process      three channels, a log, its parts: 2.5 KiB each, all over the heap
//! settled           its records as they stand on disk, and what is left of its log: half a KiB, in one piece
//! ```
//!
//! Ten thousand are kept. Who asks for one is given a process that is made of it again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use shared::ids::ProcessId;

use super::log::{Budget, LogState, OutputLog};
use super::record::Record;
use super::restore::Replay;
use super::table::Process;

/// See the module's text.
pub(super) struct Settled {
    /// What stands behind a length of four bytes: each record, and the state of the log.
    bytes: Box<[u8]>,
    /// Unix milliseconds.
    pub(super) over_at_ms: i64,
    /// Bytes of output on disk.
    pub(super) kept_bytes: u64,
    pub(super) is_terminal: bool,
    /// Of its chat: tells most of those apart that are not asked for.
    chat: u64,
}

impl Settled {
    /// None: something about it can still change.
    pub(super) fn of(process: &Process) -> Option<Self> {
        if !process.is_final() {
            return None;
        }
        let mut bytes = Vec::new();
        for record in process.records() {
            // Where it ran is asked of what may still run.
            if !matches!(record, Record::Running { .. }) {
                add(&mut bytes, &record.encode());
            }
        }
        add(&mut bytes, &shared::wire::encode(&process.log.state()));
        Some(Self {
            bytes: bytes.into(),
            over_at_ms: process.over_at_ms(),
            kept_bytes: process.log.kept_bytes(),
            is_terminal: process.terminal.is_some(),
            chat: hash(process.started.chat.as_deref()),
        })
    }

    /// The process again; none only if what this program wrote cannot be read by it.
    pub(super) fn process(&self, dir: &Arc<Path>, budget: &Arc<Budget>) -> Option<Arc<Process>> {
        let mut parts = self.parts();
        let log: LogState = shared::wire::decode(parts.next_back()?).ok()?;
        let mut replay = Replay::default();
        for record in parts {
            replay.take(Record::decode(record)?);
        }
        let (started, durable) = replay.into_processes().next()?;
        let (sizes, dir, budget) = (dir, Arc::clone(dir), Arc::clone(budget));
        let log = OutputLog::again(dir, started.process, log, budget);
        let phase = durable.phase();
        let process = Process::new(started, log, phase);
        process.detail().durable = durable;
        process.heard.send_replace(true);
        if let Some(terminal) = &process.terminal {
            terminal.settle(&sizes.join(process.id().to_string()));
        }
        Some(process)
    }

    /// Its records, encoded.
    pub(super) fn records(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut parts = self.parts();
        parts.next_back();
        parts.map(<[u8]>::to_vec)
    }

    /// False: it is not of this chat.
    pub(super) fn may_be_of(&self, chat: Option<&str>) -> bool {
        chat.is_none() || self.chat == hash(chat)
    }

    fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let mut rest = &*self.bytes;
        let next = move || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some(part)
        };
        std::iter::from_fn(next).collect::<Vec<_>>().into_iter()
    }
}

fn add(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(part);
}

fn hash(chat: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    chat.hash(&mut hasher);
    hasher.finish()
}

/// Those that somebody holds: there is never a second one of the same process.
#[derive(Default)]
pub(super) struct Held(Vec<(ProcessId, std::sync::Weak<Process>)>);

impl Held {
    pub(super) fn find(&self, id: ProcessId) -> Option<Arc<Process>> {
        self.0.iter().find(|(held, _)| *held == id).and_then(|(_, process)| process.upgrade())
    }

    pub(super) fn add(&mut self, process: &Arc<Process>) {
        let id = process.id();
        self.0.retain(|(held, process)| *held != id && process.strong_count() > 0);
        self.0.push((id, Arc::downgrade(process)));
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::{IdSource, SystemIds};
    use shared::protocol::process::{Exit, ProcessFacts, ProcessUsage};

    use super::super::log::LogWriter;
    use super::super::machine::{End, Phase};
    use super::super::record::Started;
    use super::super::table::{Known, ProcessTable};
    use super::*;
    use crate::records::Live;
    use shared::protocol::process::OutputStream;

    fn ended(dir: &Arc<Path>, budget: &Arc<Budget>, chat: &str, text: &[u8]) -> Arc<Process> {
        let ids = SystemIds::new();
        let started = Started {
            process: (&ids as &dyn IdSource).id(),
            op: (&ids as &dyn IdSource).id(),
            command: "echo".to_owned(),
            cwd: "/root".to_owned(),
            chat: Some(chat.to_owned()),
            at_ms: 5,
            boot_id: "boot".to_owned(),
            terminal: None,
            sandbox: None,
        };
        let log = OutputLog::new(Arc::clone(dir), started.process, 1 << 20, Arc::clone(budget));
        let mut writer = LogWriter::new(Arc::clone(&log));
        writer.append(OutputStream::Stdout, text);
        drop(writer);
        let end = End { exit: Exit::Code { code: 3 }, at_ms: 9 };
        let process = Process::new(started, log, Phase::Ended { end });
        let mut detail = process.detail();
        detail.durable.end = Some(end);
        detail.durable.total = Some(text.len() as u64);
        let usage = ProcessUsage { user_ms: 1, system_ms: 2, max_rss_bytes: 3 };
        detail.durable.facts = ProcessFacts { usage: Some(usage), ..ProcessFacts::default() };
        drop(detail);
        process
    }

    #[test]
    fn what_is_settled_is_the_same_to_all_who_ask() {
        let folder = tempfile::tempdir().unwrap();
        let dir: Arc<Path> = folder.path().into();
        let budget = Arc::new(Budget::new(4));
        let table = ProcessTable::new(Arc::clone(&dir), Arc::clone(&budget));
        let process = ended(&dir, &budget, "a", b"output");
        let (id, op, before) = (process.id(), process.started.op, process.view());
        table.insert(Arc::clone(&process));
        let records = table.live().len();
        table.settle(&process);
        assert_eq!(table.live().len(), records, "nothing is lost to a rewrite of the records");
        let Known::Here(same) = table.known(id) else { panic!("it is known") };
        assert!(Arc::ptr_eq(&same, &process), "while somebody holds it there is one");
        drop((process, same));
        let Known::Here(again) = table.known(id) else { panic!("it is known") };
        assert_eq!(again.view(), before);
        assert_eq!(table.by_op(op).map(|found| found.id()), Some(id));
        assert!(table.views(Some("a")) == std::slice::from_ref(&before));
        assert_eq!(table.views(None).len(), 1);
        assert_eq!(table.views(Some("b")), []);
        // What changes about it is kept, and is counted once.
        assert_eq!(budget.excess(), 2);
        again.log.discard();
        table.settle(&again);
        drop(again);
        assert_eq!(budget.excess(), 0);
        let Known::Here(again) = table.known(id) else { panic!("it is known") };
        assert_eq!(again.view().dropped_to, 6);
        let gone = table.prune(id, 9).unwrap();
        assert_eq!(gone.id(), id);
        assert!(matches!(table.known(id), Known::Pruned { ended_at_ms: 9 }));
        assert!(table.by_op(op).is_none());
        let live: Vec<_> =
            table.live().into_iter().map(|record| record.into_bytes().unwrap()).collect();
        let pruned = Record::Pruned { process: id, ended_at_ms: 9 };
        assert_eq!(live, [pruned.encode()]);
    }

    /// Elsewhere a process vanished from the table, and nobody was told how it had ended.
    #[test]
    fn a_final_record_is_kept_for_seven_days_and_its_end_is_known_behind_them() {
        const WEEK_MS: i64 = 7 * 24 * 3_600_000;
        let folder = tempfile::tempdir().unwrap();
        let dir: Arc<Path> = folder.path().into();
        let budget = Arc::new(Budget::new(u64::MAX));
        for settles in [false, true] {
            let table = ProcessTable::new(Arc::clone(&dir), Arc::clone(&budget));
            let process = ended(&dir, &budget, "a", b"x");
            let (id, before) = (process.id(), process.view());
            table.insert(Arc::clone(&process));
            if settles {
                table.settle(&process);
            }
            drop(process);
            // It ended at 9; whoever asks until then gets all of it.
            for now_ms in [9, 9 + WEEK_MS / 2, 9 + WEEK_MS - 1] {
                assert_eq!(table.due(now_ms), []);
                let Known::Here(kept) = table.known(id) else { panic!("it is known") };
                assert_eq!(kept.view(), before);
            }
            assert_eq!(table.due(9 + WEEK_MS), [(id, 9)]);
            table.prune(id, 9).unwrap();
            assert!(matches!(table.known(id), Known::Pruned { ended_at_ms: 9 }));
        }
    }

    #[test]
    fn what_runs_is_not_settled() {
        let folder = tempfile::tempdir().unwrap();
        let dir: Arc<Path> = folder.path().into();
        let budget = Arc::new(Budget::new(u64::MAX));
        let process = ended(&dir, &budget, "a", b"x");
        assert!(Settled::of(&process).is_some());
        process.phase.send_replace(Phase::Running);
        assert!(Settled::of(&process).is_none());
    }
}
