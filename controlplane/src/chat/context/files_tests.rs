//! Which files are shown: promises over any history.

use proptest::prelude::*;
use shared::ids::{AttachmentId, IdSource};
use shared::testing::CountingIds;

use super::*;
use crate::chat::content::StoredPart;
use crate::llm::file_budget;

fn file(media_type: &str, size: u64) -> FileRef {
    let ids: &dyn IdSource = &CountingIds::default();
    let pixels = media_type.starts_with("image/").then_some(800);
    FileRef {
        attachment_id: ids.id::<AttachmentId>(),
        name: "a".into(),
        media_type: media_type.into(),
        size,
        hash: "h".into(),
        width: pixels,
        height: pixels,
    }
}

fn row(seq: i64, files: Vec<FileRef>) -> MessageRow {
    let ids: &dyn IdSource = &CountingIds::default();
    let parts = files.into_iter().map(|file| StoredPart::from(Part::File { file }));
    MessageRow {
        id: ids.id(),
        chat_id: ids.id(),
        seq,
        revision: 0,
        role: Role::User,
        content: parts.collect(),
        raw_kind: None,
        model: None,
        usage: None,
        removed: false,
        parent_id: None,
        fork_id: None,
        variant: 1,
        variants: 1,
        label: None,
        created_at_ms: 0,
    }
}

fn images(seq: i64, count: usize, size: u64) -> MessageRow {
    row(seq, vec![file("image/png", size); count])
}

fn left_out(rows: &[MessageRow], kind: &str, window: Option<u64>) -> LeftOut {
    LeftOut::of(rows, Marks::of(rows), file_budget(kind, "m"), window)
}

/// The files that are shown, by row and place.
fn shown(rows: &[MessageRow], kind: &str, window: Option<u64>) -> Vec<(i64, usize)> {
    let left = left_out(rows, kind, window);
    let places = rows.iter().flat_map(|row| (0..row.content.len()).map(|at| (row.seq, at)));
    places.filter(|(seq, at)| left.why(*seq, *at).is_none()).collect()
}

#[test]
fn what_can_never_be_shown_is_a_stub_that_says_why() {
    let mut wide = file("image/png", 1_000);
    wide.width = Some(9_000);
    let rows: &[(&str, FileRef, Option<Why>)] = &[
        ("anthropic", file("image/png", 1_000), None),
        ("anthropic", file("image/png", 5_000_000), Some(Why::TooLarge(3_932_160))),
        ("anthropic", wide, Some(Why::TooWide(8_000))),
        ("anthropic", file("application/pdf", 1_000), None),
        ("openai", file("application/pdf", 1_000), None),
        ("gemini", file("application/pdf", 1_000), Some(Why::Kind)),
        ("openai_compatible", file("application/pdf", 1_000), Some(Why::Kind)),
        ("openai_compatible", file("text/plain", 9_000_000), None),
        ("anthropic", file("application/octet-stream", 10), Some(Why::Kind)),
        ("openai", file("image/gif", 9_000_000), None),
    ];
    for (kind, file, expected) in rows {
        let rows = [row(1, vec![file.clone()])];
        assert_eq!(left_out(&rows, kind, None).why(1, 0), *expected, "{kind} {file:?}");
    }
    let small = [row(1, vec![file("text/plain", 100_000)])];
    assert_eq!(left_out(&small, "anthropic", Some(8_000)).why(1, 0), Some(Why::Window));
    let text = stub(&file("image/png", 7), Why::TooLarge(5));
    assert_eq!(
        text,
        "[Attached file a (image/png, 7 bytes) is not shown: it is over the limit of 5 bytes.]"
    );
    for why in [Why::Kind, Why::TooWide(8_000), Why::Window, Why::Newer, Why::Pruned, Why::Refused]
    {
        assert!(stub(&file("image/png", 7), why).len() <= STUB_BYTES, "{why:?}");
    }
}

#[test]
fn the_newest_stay_and_room_is_made_by_halves() {
    // Twenty fit. The twenty-first makes room for ten more, so nothing changes for nine messages.
    let rows: Vec<MessageRow> = (1..=30).map(|seq| images(seq, 1, 1_000)).collect();
    assert_eq!(shown(&rows[..20], "anthropic", None).len(), 20);
    let first = |count: usize| shown(&rows[..count], "anthropic", None)[0].0;
    assert_eq!((first(20), first(21), first(30)), (1, 12, 12));
    assert_eq!(shown(&rows[..21], "anthropic", None).len(), 10);
    // A message with more than fit keeps its own newest; one with many keeps all of them.
    assert_eq!(shown(&[images(1, 5, 1), images(2, 18, 1)], "anthropic", None).len(), 18);
    let many = shown(&[images(1, 25, 1)], "anthropic", None);
    assert_eq!((many.len(), many[0]), (20, (1, 5)));
    // Bytes count as numbers do, and text needs none.
    let heavy: Vec<MessageRow> = (1..=6).map(|seq| images(seq, 1, 3_900_000)).collect();
    assert_eq!(shown(&heavy, "anthropic", None), [(5, 0), (6, 0)]);
}

#[test]
fn a_refused_or_pruned_file_never_comes_back_and_a_later_one_is_shown() {
    use crate::chat::content::{Compaction, CompactionMethod, CompactionReason};
    for (method, why) in
        [(CompactionMethod::Files, Why::Refused), (CompactionMethod::Prune, Why::Pruned)]
    {
        let mark = Compaction {
            method,
            reason: CompactionReason::Refused,
            through_seq: 1,
            summary: String::new(),
            tokens_before: 0,
            tokens_after: 0,
        };
        let mut marked = images(2, 0, 0);
        (marked.role, marked.content) = (Role::Assistant, vec![Part::Compaction { mark }.into()]);
        let rows = [images(1, 1, 1), marked, images(3, 1, 1)];
        let left = left_out(&rows, "anthropic", None);
        assert_eq!((left.why(1, 0), left.why(3, 0)), (Some(why), None));
    }
}

fn any_file() -> impl Strategy<Value = FileRef> {
    let kinds = prop_oneof![
        5 => Just("image/png"),
        2 => Just("application/pdf"),
        2 => Just("text/plain"),
        1 => Just("application/octet-stream"),
    ];
    (kinds, 1_u64..6_000_000).prop_map(|(kind, size)| file(kind, size))
}

fn any_history() -> impl Strategy<Value = Vec<MessageRow>> {
    let message = prop::collection::vec(any_file(), 0..6);
    prop::collection::vec(message, 0..25).prop_map(|messages| {
        messages.into_iter().zip(1..).map(|(files, seq)| row(seq, files)).collect()
    })
}

fn any_kind() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("anthropic"), Just("openai"), Just("gemini"), Just("openai_compatible")]
}

proptest! {
    #[test]
    fn the_budget_is_never_exceeded(rows in any_history(), kind in any_kind(), window in prop::option::of(1_000_u64..1_000_000)) {
        let budget = file_budget(kind, "m");
        let shown = shown(&rows, kind, window);
        let files = shown.iter().map(|(seq, at)| match &rows[*seq as usize - 1].content[*at].part {
            Part::File { file } => file,
            other => panic!("{other:?}"),
        });
        let sum = files.fold(Limits::default(), |sum, file| sum.plus(Limits::of_file(file)));
        prop_assert!(sum.over(Limits::of(budget, window)).is_zero(), "{sum:?}");
    }

    #[test]
    fn what_was_left_out_stays_out_and_what_stays_is_the_newest(rows in any_history(), kind in any_kind()) {
        let mut before: Vec<(i64, usize)> = Vec::new();
        for length in 1..=rows.len() {
            let now = shown(&rows[..length], kind, Some(200_000));
            let older = |place: &&(i64, usize)| place.0 < length as i64;
            prop_assert!(now.iter().filter(older).all(|place| before.contains(place)), "one came back");
            before = now;
        }
    }

    #[test]
    fn the_newest_file_that_can_be_shown_is_shown(rows in any_history(), kind in any_kind()) {
        let left = left_out(&rows, kind, None);
        let newest = rows.iter().rev().flat_map(|row| {
            (0..row.content.len()).rev().map(|at| left.why(row.seq, at))
        });
        let first = newest.into_iter().find(|why| !matches!(why, Some(Why::Kind | Why::TooLarge(_) | Why::TooWide(_) | Why::Window)));
        prop_assert!(first.is_none_or(|why| why.is_none()), "{first:?}");
    }
}
