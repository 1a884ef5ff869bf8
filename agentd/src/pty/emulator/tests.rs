//! The state is what bytes say, however they come; what is formatted shows the same; nothing grows.

use proptest::prelude::*;

use super::*;

fn size(cols: i64, rows: i64) -> PtySize {
    PtySize::clamped(cols, rows)
}

fn fed(cols: i64, rows: i64, bytes: &[u8]) -> Emulator {
    let mut emulator = Emulator::new(size(cols, rows));
    emulator.feed(bytes);
    emulator
}

fn texts(emulator: &Emulator) -> Vec<String> {
    emulator.rows().map(Row::text).collect()
}

#[test]
fn a_screen_shows_what_a_terminal_shows() {
    for (bytes, expected) in [
        (&b"one\r\ntwo"[..], &["one", "two", ""][..]),
        (b"12345678901", &["1234567890", "1", ""]),
        (b"1234567890\r\nab", &["1234567890", "ab", ""]),
        (b"a\r\nb\r\nc\r\nd", &["b", "c", "d"]),
        (b"abc\x08\x08X", &["aXc", "", ""]),
        (b"a\tb", &["a       b", "", ""]),
        (b"\x1b[2;3Hx\x1b[Hy", &["y", "  x", ""]),
        (b"abcdef\x1b[3G\x1b[K", &["ab", "", ""]),
        (b"abcdef\x1b[3G\x1b[1K", &["   def", "", ""]),
        (b"abcdef\x1b[3G\x1b[2@", &["ab  cdef", "", ""]),
        (b"abcdef\x1b[3G\x1b[2P", &["abef", "", ""]),
        (b"abcdef\x1b[3G\x1b[2X", &["ab  ef", "", ""]),
        (b"a\r\nb\r\nc\x1b[1;1H\x1b[L", &["", "a", "b"]),
        (b"a\r\nb\r\nc\x1b[1;1H\x1b[M", &["b", "c", ""]),
        (b"a\r\nb\r\nc\x1b[2;3r\x1b[3;1H\nx", &["a", "c", "x"]),
        (b"a\r\nb\x1b[H\x1bMz", &["z", "a", "b"]),
        (b"x\x1b[4b", &["xxxxx", "", ""]),
        (b"abc\x1b[4h\x1b[2GX", &["aXbc", "", ""]),
        (b"\x1b(0qx\x1b(Bqx", &["─│qx", "", ""]),
        (b"main\x1b[?1049h\x1b[Halt", &["alt", "", ""]),
        (b"main\x1b[?1049halt\x1b[?1049l!", &["main!", "", ""]),
        (b"\x1b[?7l12345678901234", &["1234567894", "", ""]),
        (b"a\x1b[5Bb\x1b[9Ac", &["a c", "", " b"]),
        ("漢字かなカナ".as_bytes(), &["漢字かなカ", "ナ", ""]),
        ("a漢\x1b[2GX".as_bytes(), &["aX", "", ""]),
        ("e\u{301}x".as_bytes(), &["e\u{301}x", "", ""]),
        (b"\x1b[?6h\x1b[2;3r\x1b[1;1Hx", &["", "x", ""]),
        (b"\x1b[2;2Hx\x1b7\x1b[Hy\x1b8z", &["y", " xz", ""]),
        (b"a\x1bc", &["", "", ""]),
        (b"\x1b[2Jab\x1b[1J", &["", "", ""]),
    ] {
        let emulator = fed(10, 3, bytes);
        assert_eq!(texts(&emulator), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn looks_switches_and_title_are_kept() {
    let emulator =
        fed(20, 2, b"\x1b[1;3;38;5;200;48;2;1;2;3;4:3mX\x1b[0;91;100mY\x1b]0;a\x01b\x07");
    let row = emulator.rows().next().unwrap();
    let x = row.cell(0).style;
    assert_eq!(x.foreground, Color::Indexed(200));
    assert_eq!(x.background, Color::Rgb(1, 2, 3));
    assert_eq!((x.flags, x.underline), (Style::BOLD | Style::ITALIC, 3));
    let y = row.cell(1).style;
    assert_eq!((y.foreground, y.background), (Color::Indexed(9), Color::Indexed(8)));
    assert_eq!(emulator.title(), Some("ab"));
}

#[test]
fn what_leaves_at_the_top_is_kept_up_to_the_limit_and_only_of_the_main_screen() {
    let mut emulator = Emulator::new(size(10, 2)).with_scrollback(3);
    for n in 0..10 {
        emulator.feed(format!("{n}\r\n").as_bytes());
    }
    let kept = |emulator: &Emulator| emulator.scrollback().map(Row::text).collect::<Vec<_>>();
    assert_eq!(kept(&emulator), ["6", "7", "8"]);
    emulator.feed(b"\x1b[?1049h\n\n\n\n");
    assert_eq!(kept(&emulator), ["6", "7", "8"]);
    let shown = Emulator::new(size(10, 2)).with_scrollback(9);
    let mut shown = shown;
    shown.feed(&emulator.formatted_below(&emulator, 2));
    assert_eq!(kept(&shown), ["7", "8"], "and a viewer is given them");
}

/// The same file is checked against xterm.js (`web/src/lib/terminal/resize.test.ts`).
#[test]
fn a_window_that_changes_shows_what_xterm_js_shows() {
    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        cols: i64,
        rows: i64,
        steps: Vec<Step>,
        lines: Vec<String>,
        cursor: (u16, u16),
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Step {
        Output(String),
        Size(i64, i64),
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("resizes.json")).unwrap();
    for Case { name, cols, rows, steps, lines, cursor } in cases {
        let mut emulator = Emulator::new(size(cols, rows));
        for step in steps {
            match step {
                Step::Output(text) => emulator.feed(text.as_bytes()),
                Step::Size(cols, rows) => emulator.resize(size(cols, rows)),
            }
            // Also what comes back is written down, and given to a viewer.
            emulator = shared::wire::decode(&shared::wire::encode(&emulator)).unwrap();
            let mut shown = Emulator::new(emulator.size());
            shown.feed(&emulator.formatted_below(&emulator, emulator.scrollback().len()));
            assert!(shown.scrollback().eq(emulator.scrollback()), "{name}");
        }
        assert_eq!((texts(&emulator), emulator.cursor()), (lines, cursor), "{name}");
    }
}

#[test]
fn few_rows_come_back_and_those_of_a_look_back_stay_at_a_reset() {
    let mut emulator = fed(10, 2, "x\r\n".repeat(1_000).as_bytes());
    assert_eq!(emulator.scrollback().len(), grid::RETURNING_MAX);
    emulator.feed(b"\x1bc");
    assert_eq!(emulator.scrollback().len(), 0);
    let mut history = Emulator::new(size(10, 2)).with_scrollback(100);
    history.feed("x\r\n".repeat(9).as_bytes());
    history.feed(b"\x1bc");
    assert_eq!(history.scrollback().len(), 8);
}

#[test]
fn a_run_of_text_is_the_same_as_its_characters_one_by_one() {
    let text: Vec<u8> = (0..200_u8).map(|n| b' ' + n % 95).collect();
    for start in
        [&b""[..], b"\x1b[44m", "漢字漢字漢\x1b[1;2H".as_bytes(), b"\x1b[2;3r", b"e\xcc\x81\r"]
    {
        let mut run = fed(9, 4, start);
        let mut single = run.clone();
        run.feed(&text);
        text.iter().for_each(|byte| single.screen.print(char::from(*byte)));
        assert!(run == single, "{}", start.escape_ascii());
    }
}

/// Pieces of which anything can be put together.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![0_u16..12, Just(0), Just(9_999)];
    prop_oneof![
        4 => "[a-z ]{1,12}".prop_map(String::into_bytes),
        2 => "[漢字é€\u{301}🙂┌]{1,4}".prop_map(String::into_bytes),
        3 => prop::sample::select(vec!["\r\n", "\n", "\r", "\t", "\x08", "\x0e", "\x0f"])
            .prop_map(|text| text.as_bytes().to_vec()),
        3 => prop::sample::select(vec![
            "\x1b7", "\x1b8", "\x1bD", "\x1bE", "\x1bH", "\x1bM", "\x1b=", "\x1b>", "\x1b(0",
            "\x1b(B", "\x1b)0", "\x1b#8", "\x1bN", "\x1b[!p", "\x1b[?1049h", "\x1b[?1049l",
            "\x1b[?47h", "\x1b[?47l", "\x1b[?6h", "\x1b[?6l", "\x1b[?7l", "\x1b[?7h", "\x1b[4h",
            "\x1b[4l", "\x1b[20h", "\x1b[?25l", "\x1b[?1h", "\x1b[?2004h", "\x1b[?1002h",
            "\x1b[?1006h", "\x1b[3g", "\x1b[3 q", "\x1b]2;title\x07", "\x1b[22t", "\x1b[23t",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        4 => (number(), number(), prop::sample::select(b"ABCDEFGHIJKLMPSTXZ@bdfrmsu".to_vec()))
            .prop_map(|(a, b, last)| format!("\x1b[{a};{b}{}", char::from(last)).into_bytes()),
        2 => (0_u16..120, 0_u16..20).prop_map(|(a, b)| format!("\x1b[{a};38;5;{b}m").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 1..8),
    ]
}

/// As a viewer sees it, with everything that later bytes could bring to light.
fn same(shown: &Emulator, emulator: &Emulator) -> Result<(), TestCaseError> {
    prop_assert_eq!(texts(shown), texts(emulator));
    prop_assert!(shown.rows().eq(emulator.rows()), "looks");
    prop_assert_eq!(shown.cursor(), emulator.cursor());
    prop_assert_eq!(shown.screen.modes, emulator.screen.modes);
    prop_assert_eq!(&shown.screen.title, &emulator.screen.title);
    prop_assert_eq!(shown.screen.style, emulator.screen.style);
    prop_assert_eq!(shown.screen.charsets, emulator.screen.charsets);
    prop_assert_eq!(&shown.screen.tabs, &emulator.screen.tabs);
    let (a, b) = (shown.screen.shown(), emulator.screen.shown());
    prop_assert_eq!((a.top, a.bottom, a.cursor), (b.top, b.bottom, b.cursor));
    prop_assert_eq!(a.saved, b.saved);
    prop_assert_eq!(shown.is_alternate(), emulator.is_alternate());
    prop_assert_eq!(shown.screen.main.saved, emulator.screen.main.saved);
    prop_assert!(shown.screen.main.lines().eq(emulator.screen.main.lines()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_the_same_however_the_bytes_are_cut_and_however_often_it_is_written_down(
        pieces in proptest::collection::vec(piece(), 0..40),
        cut in 1_usize..20,
    ) {
        let bytes = pieces.concat();
        let whole = fed(11, 5, &bytes);
        prop_assert!(whole.is_sound());
        let mut other = Emulator::new(size(11, 5));
        for part in bytes.chunks(cut) {
            other.feed(part);
            other = shared::wire::decode(&shared::wire::encode(&other)).unwrap();
        }
        prop_assert!(other == whole);
    }

    #[test]
    fn what_is_formatted_brings_any_terminal_into_the_same_state(
        pieces in proptest::collection::vec(piece(), 0..40),
        before in proptest::collection::vec(piece(), 0..20),
    ) {
        let emulator = fed(11, 5, &pieces.concat());
        let mut shown = fed(11, 5, &before.concat());
        shown.feed(&emulator.formatted());
        same(&shown, &emulator)?;
    }

    #[test]
    fn no_bytes_and_no_sizes_break_it(
        steps in proptest::collection::vec((piece(), 1_i64..14, 1_i64..7), 0..40),
    ) {
        let mut emulator = Emulator::new(size(3, 2)).with_scrollback(5);
        for (bytes, cols, rows) in steps {
            emulator.feed(&bytes);
            emulator.resize(size(cols, rows));
            prop_assert!(emulator.is_sound());
            prop_assert_eq!(emulator.rows().count() as i64, rows);
        }
    }
}
