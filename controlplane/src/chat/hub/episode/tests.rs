//! The log against readers of any pace.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::client::ClientState;
use crate::chat::event::{ChatEvent, Cursor, Envelope};

const KEY: EpisodeKey = EpisodeKey { history: 7, attempt: 1 };

fn text(index: u32, text: &str) -> Piece<'_> {
    Piece::Delta { index, kind: PreviewKind::Text, text }
}

fn output(index: u32, text: &str) -> Piece<'_> {
    Piece::Delta { index, kind: PreviewKind::ToolResult, text }
}

fn tool(index: u32) -> Piece<'static> {
    Piece::Start { index, kind: PreviewKind::ToolResult, tool_call_id: "c1", name: "execute" }
}

/// Applies a walk to a client as the stream does.
fn apply(client: &mut ClientState, walk: Walk) -> u64 {
    let cursor = Cursor::default();
    if walk.reset {
        client.apply(&Envelope { cursor, event: ChatEvent::PreviewReset });
    }
    for part in walk.parts {
        client.apply(&Envelope { cursor, event: ChatEvent::Part { part } });
    }
    walk.seq
}

fn fresh(episode: &Episode) -> ClientState {
    let mut client = ClientState::default();
    apply(&mut client, episode.since(0, usize::MAX));
    client
}

#[test]
fn neighbours_of_one_part_are_one_event_with_the_last_seq() {
    let mut episode = Episode::new(KEY, 1);
    for piece in ["one ", "two ", "three"] {
        episode.push(text(0, piece));
    }
    let walk = episode.since(0, usize::MAX);
    assert!(walk.reset, "a place before the floor begins again");
    assert_eq!(walk.parts.len(), 1);
    assert_eq!(walk.parts[0].delta.as_deref(), Some("one two three"));
    assert_eq!(walk.parts[0].seq, episode.last_seq());
}

#[test]
fn a_reader_resumes_exactly_behind_its_place() {
    let mut episode = Episode::new(KEY, 1);
    episode.push(text(0, "seen"));
    let place = episode.last_seq();
    episode.push(text(0, " new"));
    let walk = episode.since(place, usize::MAX);
    assert!(!walk.reset);
    assert_eq!(walk.parts[0].delta.as_deref(), Some(" new"));
    assert!(episode.since(walk.seq, usize::MAX).parts.is_empty());
}

#[test]
fn a_place_in_a_former_owners_episode_begins_again() {
    let mut former = Episode::new(KEY, 1);
    let mut ours = Episode::new(KEY, 2);
    for _ in 0..3 {
        former.push(text(0, "x"));
        ours.push(text(0, "y"));
    }
    assert!(ours.since(former.last_seq(), usize::MAX).reset);
    assert!(former.since(ours.last_seq(), usize::MAX).reset, "nor one that is ahead");
}

#[test]
fn interleaved_tools_keep_their_order_so_that_any_cut_is_exact() {
    let mut episode = Episode::new(KEY, 1);
    for round in 0..3 {
        episode.push(output(0, &format!("a{round}")));
        episode.push(output(1, &format!("b{round}")));
    }
    let walk = episode.since(0, usize::MAX);
    let seqs: Vec<u64> = walk.parts.iter().map(|part| part.seq).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    // Cut after the third event, resume behind it.
    let mut client = ClientState::default();
    let cut = Walk { reset: true, parts: walk.parts[..3].to_vec(), seq: walk.parts[2].seq };
    let place = apply(&mut client, cut);
    apply(&mut client, episode.since(place, usize::MAX));
    assert_eq!(client, fresh(&episode));
}

#[test]
fn live_output_is_cut_to_its_end_and_memory_stays_bounded() {
    let mut episode = Episode::new(KEY, 1);
    episode.push(tool(0));
    let line = "0123456789abcdef\u{e9}\n".repeat(64);
    for _ in 0..10_000 {
        episode.push(output(0, &line));
    }
    let shown = fresh(&episode).preview[&0].text.len();
    assert!((LIVE_TAIL_BYTES..=LIVE_TAIL_BYTES + 2 * SLACK_BYTES).contains(&shown), "{shown}");
    assert!(episode.log.len() < 2_000, "{} entries", episode.log.len());
    assert_eq!(fresh(&episode).preview[&0].name.as_deref(), Some("execute"));
}

#[test]
fn the_models_own_text_is_never_cut() {
    let mut episode = Episode::new(KEY, 1);
    for _ in 0..200_000 {
        episode.push(text(0, "0123456789"));
    }
    assert_eq!(fresh(&episode).preview[&0].text.len(), 2_000_000);
    assert_eq!(episode.model_bytes(), 2_000_000);
}

#[test]
fn a_partial_answer_keeps_text_and_only_whole_calls() {
    let mut episode = Episode::new(KEY, 1);
    let kind = PreviewKind::ToolCall;
    episode.push(text(0, "I will"));
    for (index, id, args) in [(1, "c1", r#"{"command":"ls"}"#), (2, "c2", r#"{"comm"#)] {
        episode.push(Piece::Start { index, kind, tool_call_id: id, name: "execute" });
        episode.push(Piece::Delta { index, kind, text: args });
    }
    let partial: Vec<Part> = episode.partial().into_iter().map(|stored| stored.part).collect();
    assert_eq!(
        partial,
        [
            Part::Text { text: "I will".into() },
            Part::ToolCall {
                tool_call_id: "c1".into(),
                name: "execute".into(),
                args: json!({"command": "ls"}),
            },
        ]
    );
    assert!(episode.complete().is_empty());
}

#[test]
fn text_that_was_streamed_whole_is_not_sent_again_at_its_end() {
    let mut episode = Episode::new(KEY, 1);
    episode.push(text(0, "all of it"));
    let place = episode.last_seq();
    episode.push(Piece::Done { index: 0, part: Part::Text { text: "all of it".into() }.into() });
    assert!(episode.since(place, usize::MAX).parts.is_empty());
    assert_eq!(episode.complete().len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Text(u32, usize),
    Output(u32, usize),
    Done(u32),
    /// A reader takes up to so many bytes and is cut after so many events.
    Read(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2_u32, 1..40_usize).prop_map(|(part, size)| Step::Text(part, size)),
        4 => (2..4_u32, 1..200_000_usize).prop_map(|(part, size)| Step::Output(part, size)),
        1 => (2..4_u32).prop_map(Step::Done),
        4 => (1..300_000_usize, 0..6_usize).prop_map(|(bytes, cut)| Step::Read(bytes, cut)),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn a_reader_with_any_pace_and_any_cut_ends_equal_to_a_fresh_one(steps in steps()) {
        let mut episode = Episode::new(KEY, 3);
        let (mut client, mut place) = (ClientState::default(), 0);
        for (nth, step) in steps.into_iter().enumerate() {
            let letter = char::from(b'a' + u8::try_from(nth % 26).unwrap()).to_string();
            match step {
                Step::Text(part, size) => {
                    episode.push(text(part, &letter.repeat(size)));
                }
                Step::Output(part, size) => {
                    episode.push(output(part, &letter.repeat(size)));
                }
                Step::Done(index) => {
                    let part = Part::ToolResult {
                        tool_call_id: format!("c{index}"),
                        name: "execute".into(),
                        result: json!({"nth": index}),
                        is_error: false,
                        duration_ms: 1,
                    };
                    episode.push(Piece::Done { index, part: part.into() });
                }
                Step::Read(bytes, cut) => {
                    let mut walk = episode.since(place, bytes);
                    walk.parts.truncate(cut);
                    // Nothing received at all: the client's place has not moved.
                    let Some(last) = walk.parts.last() else { continue };
                    walk.seq = last.seq;
                    place = apply(&mut client, walk);
                }
            }
        }
        let mut left = true;
        while left {
            let walk = episode.since(place, 100_000);
            left = !walk.parts.is_empty() || walk.reset && place != walk.seq;
            place = apply(&mut client, walk);
        }
        prop_assert_eq!(client, fresh(&episode));
    }
}

mod copies {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::hub::Hub;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    /// One thing that a model or a tool says.
    fn piece(kind: u8, index: u32, text: &str) -> Piece<'_> {
        match kind {
            0 => Piece::Delta { index, kind: PreviewKind::Text, text },
            1 => Piece::Start {
                index: index + 10,
                kind: PreviewKind::ToolResult,
                tool_call_id: "call",
                name: "execute",
            },
            2 => Piece::Delta { index: index + 10, kind: PreviewKind::ToolResult, text },
            _ => Piece::Done { index, part: Part::Text { text: text.to_owned() }.into() },
        }
    }

    proptest! {
        #[test]
        fn a_copy_shows_every_reader_what_its_source_shows(
            said in proptest::collection::vec((0..4_u8, 0..3_u32, 0..200_000_usize), 1..40),
            cuts in proptest::collection::vec(1..100_000_usize, 1..8),
            reader_at in 0..60_u64,
        ) {
            let ids: &dyn IdSource = &CountingIds::default();
            let (chat, key) = (ids.id(), EpisodeKey { history: 3, attempt: 1 });
            let (here, there) = (Hub::new(), Hub::new());
            let writer = here.open(chat, key, 7);
            let source = here.source(chat);
            let mut mirror = there.mirror(chat);
            let mut cut = 0;
            for (kind, index, len) in said {
                writer.publish(piece(kind, index, &"ä".repeat(len)));
                // The relay looks now and then, and takes a batch of any size.
                let (has, seq) = mirror.place();
                cut += 1;
                let copy = source.since(has, seq, cuts[cut % cuts.len()]).unwrap();
                if copy.reset {
                    prop_assert!(mirror.open(copy.key, copy.floor));
                }
                prop_assert!(mirror.absorb(copy.entries));
            }
            loop {
                let (has, seq) = mirror.place();
                let copy = source.since(has, seq, 1 << 20).unwrap();
                if copy.reset {
                    prop_assert!(mirror.open(copy.key, copy.floor));
                } else if copy.entries.is_empty() {
                    break;
                }
                prop_assert!(mirror.absorb(copy.entries));
            }
            // A reader of either, from the beginning or from a place of the other.
            let place = (7 << 32) + reader_at;
            for seq in [0, place] {
                let ours = here.join(chat).glance(key, seq, usize::MAX).preview;
                let theirs = there.join(chat).glance(key, seq, usize::MAX).preview;
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn a_copy_of_an_old_owner_takes_no_newer_one_s_place() {
        let ids: &dyn IdSource = &CountingIds::default();
        let (chat, key) = (ids.id(), EpisodeKey { history: 3, attempt: 1 });
        let hub = Hub::new();
        let writer = hub.open(chat, key, 5);
        let mut mirror = hub.mirror(chat);
        assert!(!mirror.open(key, 4 << 32), "an old owner's");
        assert!(!mirror.open(key, 5 << 32), "our own");
        assert!(mirror.open(key, 6 << 32), "a newer owner's");
        writer.publish(piece(0, 0, "late"));
        assert_eq!(mirror.place(), (key, 6 << 32), "the old writer writes no more");
        let newest = hub.open(chat, key, 7);
        assert!(!mirror.absorb(vec![]));
        mirror.close();
        newest.publish(piece(0, 0, "hello"));
        assert_eq!(newest.model_bytes(), 5);
        assert!(hub.source(chat).since(key, 0, 100).is_some());
    }
}
