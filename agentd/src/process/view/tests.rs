//! Windows: borders, counts, and the faults that others' head-and-tail buffers have.

use std::sync::Arc;

use super::*;
use crate::process::log::{Budget, LogWriter};
use proptest::prelude::*;
use shared::protocol::process::OutputStream;

struct Bench {
    _dir: tempfile::TempDir,
    log: Arc<OutputLog>,
}

fn log_of(kept: u64, output: &[u8]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let id = "proc_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap();
    let log = OutputLog::new(dir.path().into(), id, kept, Arc::new(Budget::new(u64::MAX)));
    let mut writer = LogWriter::new(Arc::clone(&log));
    for chunk in output.chunks(7_919) {
        writer.append(OutputStream::Stdout, chunk);
    }
    Bench { _dir: dir, log }
}

fn head_tail(output: &[u8], head: u32, tail: u32) -> Rendered {
    let window = OutputWindow::HeadTail { head_bytes: Some(head), tail_bytes: Some(tail) };
    render(&log_of(1 << 26, output).log, &window, true).unwrap()
}

const MIB: u64 = 1 << 20;

#[test]
fn output_between_one_and_two_limits_is_whole_and_has_no_seam() {
    let text = "0123456789".repeat(3); // over the head, under head and tail together
    let view = head_tail(text.as_bytes(), 16, 16);
    assert_eq!((view.text.as_str(), view.omitted_bytes), (text.as_str(), 0));
}

#[test]
fn cuts_fall_between_lines_and_the_count_is_exact() {
    let output: String = (0..100).map(|n| format!("line {n:03}\n")).collect();
    let view = head_tail(output.as_bytes(), 20, 20);
    let expected =
        "line 000\nline 001\n[… 864 bytes omitted, offsets 18 to 882 …]\nline 098\nline 099\n";
    assert_eq!(view.text, expected);
    assert_eq!(view.omitted_bytes, 864);
}

#[test]
fn cuts_in_a_long_line_fall_between_characters() {
    let output = "ä€𝄞".repeat(2_000);
    for head in 10..22 {
        let view = head_tail(output.as_bytes(), head, 21);
        assert!(!view.text.contains('\u{FFFD}'), "head {head}: {}", view.text);
    }
}

#[test]
fn a_long_line_is_cut_with_its_length_and_the_next_is_shown() {
    let output = format!("{}\nnext\n", "x".repeat(10_000));
    let view = head_tail(output.as_bytes(), 32_768, 16);
    let expected = format!("{} [… 7952 more bytes in this line]\nnext\n", "x".repeat(2_048));
    assert_eq!(view.text, expected);
    assert_eq!((view.omitted_bytes, view.lines_cut), (7_952, 1));
}

#[test]
fn a_line_that_goes_on_where_nothing_is_kept_tells_its_length() {
    let long = |len: usize| format!("{}\nnext\n", "x".repeat(len));
    let window = OutputWindow::HeadTail { head_bytes: Some(4_096), tail_bytes: Some(16) };
    let text = |kept, output: &str| {
        render(&log_of(kept, output.as_bytes()).log, &window, true).unwrap().text
    };
    // Kept whole and not shown; dropped without its end; dropped with it.
    for (kept, len) in [(MIB, 300_000), (64_000, 300_000), (64_000, 100_000)] {
        let cut = format!(" [… {} more bytes in this line]\n[… ", len - 2_048);
        let mut output = long(len);
        assert!(text(kept, &output).contains(&cut), "{kept} {len}: {}", text(kept, &output));
        assert!(text(kept, &output).ends_with("\nnext\n"));
        output.push_str(&"more\n".repeat(50_000));
        assert!(text(kept, &output).contains(&cut), "{kept} {len} and more lines");
    }
    // A line without end is as long as it is by now.
    let cut = format!(" [… {} more bytes in this line]\n[… ", 300_000 - 2_048);
    assert!(text(64_000, &"x".repeat(300_000)).contains(&cut));
}

#[test]
fn a_character_that_is_half_written_waits_for_its_rest() {
    let bench = log_of(MIB, "ab€".as_bytes().split_last().unwrap().1);
    let window = OutputWindow::From { offset: 0, limit_bytes: 100 };
    let running = render(&bench.log, &window, false).unwrap();
    assert_eq!((running.text.as_str(), running.next_offset), ("ab", 2));
    let ended = render(&bench.log, &window, true).unwrap();
    assert_eq!((ended.text.as_str(), ended.next_offset), ("ab\u{FFFD}", 4));
}

#[test]
fn pages_from_an_offset_join_to_the_whole() {
    let output: String = (0..5_000).map(|n| format!("line {n} ä\n")).collect();
    let bench = log_of(MIB, output.as_bytes());
    let (mut offset, mut joined) = (0, String::new());
    while offset < output.len() as u64 {
        let window = OutputWindow::From { offset, limit_bytes: 1_000 };
        let page = render(&bench.log, &window, true).unwrap();
        assert!(page.next_offset > offset, "a page makes progress");
        joined.push_str(&page.text);
        offset = page.next_offset;
    }
    assert_eq!(joined, output);
    let beyond = OutputWindow::From { offset: 1 << 40, limit_bytes: 10 };
    let view = render(&bench.log, &beyond, true).unwrap();
    assert_eq!((view.text.as_str(), view.next_offset), ("", output.len() as u64));
}

#[test]
fn a_page_inside_a_dropped_range_tells_it_and_goes_on_behind() {
    let output: Vec<u8> = (0..20_000_u32).flat_map(|n| format!("{n:07}\n").into_bytes()).collect();
    let bench = log_of(16_000, &output);
    let extent = bench.log.extent();
    let offset = extent.dropped_from + 10;
    let view = render(&bench.log, &OutputWindow::From { offset, limit_bytes: 80 }, true).unwrap();
    let marker = format!("[… {} bytes omitted, offsets {offset} to ", extent.dropped_to - offset);
    assert!(view.text.starts_with(&marker), "{}", view.text);
    assert_eq!(view.next_offset, extent.dropped_to + 80);
}

#[test]
fn the_last_lines_are_whole_and_counted() {
    let output: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
    let bench = log_of(MIB, output.as_bytes());
    let view = render(&bench.log, &OutputWindow::TailLines { lines: 2 }, true).unwrap();
    let before = output.len() - "line 998\nline 999\n".len();
    let expected =
        format!("[… {before} bytes omitted, offsets 0 to {before} …]\nline 998\nline 999\n");
    assert_eq!(view.text, expected);
    let all = render(&log_of(MIB, b"a\nb").log, &OutputWindow::TailLines { lines: 2 }, true);
    assert_eq!(all.unwrap().text, "a\nb");
    let none = render(&log_of(MIB, b"").log, &OutputWindow::TailLines { lines: 2 }, true);
    assert_eq!(none.unwrap().text, "");
}

fn grep(output: &[u8], pattern: &str, context: u32, limit: u32) -> Result<Rendered, ViewError> {
    let window = OutputWindow::Grep { pattern: pattern.to_owned(), context, limit };
    render(&log_of(MIB, output).log, &window, true)
}

#[test]
fn grep_gives_numbers_offsets_and_context() {
    let output = b"one\ntwo\nthree\nfour\nfive\nsix";
    let view = grep(output, "^f", 1, 10).unwrap();
    assert_eq!(view.text, "3-8- three\n4:14: four\n5:19: five\n6-24- six\n");
    let first = grep(output, "^f", 0, 1).unwrap();
    assert_eq!((first.text.as_str(), first.next_offset), ("4:14: four\n", 19));
    assert_eq!(grep(output, "no such", 3, 10).unwrap().text, "");
}

#[test]
fn grep_tells_the_length_of_a_line_that_is_searched_in_part() {
    let output = format!("first\nfound {}\nlast\n", "x".repeat(3_000_000));
    let window = OutputWindow::Grep { pattern: "found".to_owned(), context: 1, limit: 1 };
    let view = render(&log_of(16 * MIB, output.as_bytes()).log, &window, true).unwrap();
    assert!(view.text.starts_with("1-0- first\n2:6: found xxx"), "{}", &view.text[..40]);
    let end = format!(" [… {} more bytes in this line]\n3-3000013- last\n", 3_000_006 - 2_048);
    assert!(view.text.ends_with(&end), "{}", &view.text[view.text.len() - 100..]);
}

#[test]
fn grep_refuses_what_is_no_pattern_and_answers_costly_ones_in_linear_time() {
    assert!(matches!(grep(b"", "(", 0, 1), Err(ViewError::InvalidPattern(_))));
    assert!(matches!(grep(b"", &"a".repeat(4_097), 0, 1), Err(ViewError::PatternTooLong { .. })));
    assert!(matches!(grep(b"", "a", 21, 1), Err(ViewError::OutOfRange { .. })));
    assert!(matches!(grep(b"", "a", 0, 0), Err(ViewError::OutOfRange { .. })));
    let costly = "a".repeat(200_000);
    assert_eq!(grep(costly.as_bytes(), "(a+)+$b", 0, 1).unwrap().text, "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Any bytes, any limits: valid text, exact counts, and every shown byte is right.
    #[test]
    fn shown_and_omitted_bytes_are_all_bytes(
        words in proptest::collection::vec(
            prop_oneof![Just("a"), Just("€"), Just("\n"), Just("𝄞"), Just("xyz\n")], 0..300),
        head in 0_u32..80, tail in 0_u32..80, kept in 40_u64..4_000,
    ) {
        let output = words.concat();
        let bench = log_of(kept, output.as_bytes());
        let window = OutputWindow::HeadTail { head_bytes: Some(head), tail_bytes: Some(tail) };
        let view = render(&bench.log, &window, true).unwrap();
        let is_marker = |line: &&str| line.starts_with("[… ");
        let shown: usize = view.text.split_inclusive('\n').filter(|l| !is_marker(l)).map(str::len).sum();
        // A marker on a line of its own may have ended a line that was cut inside.
        let ended = view.text.matches("\n[… ").count();
        let total = output.len() as u64;
        prop_assert_eq!(view.next_offset, total);
        let sum = shown as u64 + view.omitted_bytes;
        prop_assert!(sum >= total && sum <= total + ended as u64, "{} of {}: {}", sum, total, view.text);
        prop_assert!(!view.text.contains('\u{FFFD}'), "{}", view.text);
    }

    #[test]
    fn any_bytes_give_valid_text(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
        let bench = log_of(1_000, &bytes);
        for window in [
            OutputWindow::HeadTail { head_bytes: Some(100), tail_bytes: Some(100) },
            OutputWindow::From { offset: 3, limit_bytes: 50 },
            OutputWindow::TailLines { lines: 3 },
            OutputWindow::Grep { pattern: "[a-f]".to_owned(), context: 2, limit: 5 },
        ] {
            for is_final in [true, false] {
                prop_assert!(render(&bench.log, &window, is_final).is_ok());
            }
        }
    }
}
