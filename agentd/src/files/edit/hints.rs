//! What to say when an old text is not in the file: the lines that come nearest.

use super::matching::Flat;

/// Places shown.
const HINTS_MAX: usize = 3;
/// Lines shown of each.
const HINT_LINES: usize = 5;
/// Bytes shown of a line.
const HINT_LINE_BYTES: usize = 160;
/// Lines compared character by character; the rest of a large file is passed over.
const COMPARED_MAX: usize = 400;
/// Likeness under which a line is no help.
const LIKENESS_MIN: f32 = 0.55;

/// Text for people and models: the nearest places, or that there is none.
pub(super) fn hints(flat: &Flat, old: &str, new: &str) -> String {
    if !new.trim().is_empty() && flat.text.contains(&new.replace("\r\n", "\n")) {
        return "the new text is there already; are old and new swapped, or was it done before?"
            .to_owned();
    }
    let Some((offset, anchor)) = anchor(old) else {
        return "the old text is only white space".to_owned();
    };
    let lines: Vec<&str> = flat.lines().collect();
    let mut likely: Vec<(f32, usize)> = candidates(&lines, anchor)
        .into_iter()
        .map(|index| (likeness(lines[index].trim(), anchor), index))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    if likely.is_empty() {
        return format!("nothing in its {} lines is like it", lines.len());
    }
    let mut text = "nearest lines:".to_owned();
    for (_, index) in likely.into_iter().take(HINTS_MAX) {
        let first = index.saturating_sub(offset);
        let shown = lines.iter().enumerate().skip(first).take(HINT_LINES);
        for (index, line) in shown {
            let end = line.floor_char_boundary(HINT_LINE_BYTES);
            text.push_str(&format!("\n{:>6}  {}", index + 1, &line[..end]));
        }
        text.push_str("\n        --");
    }
    text
}

/// The longest line of the old text says most about where it was meant to be.
fn anchor(old: &str) -> Option<(usize, &str)> {
    old.lines()
        .map(str::trim)
        .enumerate()
        .take(HINT_LINES)
        .filter(|(_, line)| !line.is_empty())
        .max_by_key(|(_, line)| line.len())
}

/// Lines that share the most letter pairs with `anchor`.
fn candidates(lines: &[&str], anchor: &str) -> Vec<usize> {
    let pairs: std::collections::HashSet<[u8; 2]> = pairs_of(anchor).collect();
    let mut scored: Vec<(usize, usize)> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let end = line.floor_char_boundary(HINT_LINE_BYTES * 4);
            (pairs_of(&line[..end]).filter(|pair| pairs.contains(pair)).count(), index)
        })
        .filter(|(shared, _)| *shared > 0)
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().take(COMPARED_MAX).map(|(_, index)| index).collect()
}

fn pairs_of(text: &str) -> impl Iterator<Item = [u8; 2]> {
    text.as_bytes().windows(2).map(|pair| [pair[0], pair[1]])
}

fn likeness(line: &str, anchor: &str) -> f32 {
    let cut = |text: &str| text.floor_char_boundary(HINT_LINE_BYTES * 4);
    super::difference::likeness(&line[..cut(line)], &anchor[..cut(anchor)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_lines_come_with_their_numbers() {
        let flat = Flat::of("fn one() {}\nfn two(a: u32) {\n    a + 1\n}\n");
        let text = hints(&flat, "fn two(a: u64) {\n    a + 2\n", "x");
        assert!(text.contains("     2  fn two(a: u32) {"), "{text}");
    }

    #[test]
    fn a_swap_of_old_and_new_is_recognised() {
        assert!(hints(&Flat::of("let b = 2;\n"), "let a = 1;", "let b = 2;").contains("swapped"));
    }
}
