//! Gives a new text the line ends and, where the match ignored it, the indentation of the file.

use std::collections::HashMap;

use super::super::text::LineEnds;
use super::matching::{Flat, Way};

/// The new text as it will stand in the file.
///
/// `replaced` is what it takes the place of, `file` counts the line ends of the whole file.
pub(super) fn adapt(
    way: Way,
    old: &str,
    new: &str,
    replaced: &str,
    flat: &Flat,
    file: LineEnds,
) -> String {
    // Whoever writes `\r\n` in the old text and finds it so, means the line ends as well.
    if way == Way::Exact && old.contains('\r') {
        return new.to_owned();
    }
    let text = if way == Way::SurroundingSpace {
        let old = old.replace("\r\n", "\n");
        let replaced = replaced.replace("\r\n", "\n");
        reindent(&old, &new.replace("\r\n", "\n"), &replaced, flat)
    } else {
        new.to_owned()
    };
    let near = LineEnds::of(replaced);
    let ends = if near == LineEnds::default() { file } else { near };
    if ends.crlf > ends.lf {
        return text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if ends.lf > 0 && old.contains("\r\n") {
        return text.replace("\r\n", "\n");
    }
    text
}

/// Maps the indentation of each line of `new` as the match mapped that of `old` to the file.
fn reindent(old: &str, new: &str, replaced: &str, flat: &Flat) -> String {
    let pairs: Vec<(&str, &str)> = old
        .lines()
        .zip(replaced.lines())
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, in_file)| (indent_of(line), indent_of(in_file)))
        .collect();
    let mut known: HashMap<&str, &str> = HashMap::new();
    for (indent, in_file) in &pairs {
        known.entry(indent).or_insert(in_file);
    }
    let unit_of_edit = unit(old.lines().chain(new.lines()));
    let unit_of_file = unit(flat.lines());
    let mut text = String::with_capacity(new.len());
    for line in new.split_inclusive('\n') {
        let indent = indent_of(line.trim_end_matches('\n'));
        if !line.trim().is_empty() {
            text.push_str(&mapped(indent, &known, &unit_of_edit, &unit_of_file));
            text.push_str(&line[indent.len()..]);
        } else {
            text.push_str(line);
        }
    }
    text
}

fn mapped(indent: &str, known: &HashMap<&str, &str>, from: &str, to: &str) -> String {
    if let Some(in_file) = known.get(indent) {
        return (*in_file).to_owned();
    }
    // Deeper than a line that is known: its indentation and the difference in the file's unit.
    let shallower = known.iter().filter(|(known, _)| indent.starts_with(**known));
    if let Some((base, in_file)) = shallower.max_by_key(|(known, _)| known.len()) {
        return format!("{in_file}{}", converted(&indent[base.len()..], from, to));
    }
    // Shallower than every line that is known: take levels away from the least deep one.
    let deeper = known.iter().filter(|(known, _)| known.starts_with(indent));
    if let Some((base, in_file)) = deeper.min_by_key(|(known, _)| known.len()) {
        let levels = (base.len() - indent.len()) / from.len().max(1);
        let mut in_file = *in_file;
        for _ in 0..levels {
            in_file = in_file.strip_suffix(to).unwrap_or("");
        }
        return in_file.to_owned();
    }
    converted(indent, from, to)
}

/// `indent` with each unit `from` written as `to`; what is left over stays.
fn converted(indent: &str, from: &str, to: &str) -> String {
    let mut text = String::new();
    let mut rest = indent;
    while let Some(after) = rest.strip_prefix(from).filter(|_| !from.is_empty()) {
        text.push_str(to);
        rest = after;
    }
    text.push_str(rest);
    text
}

fn indent_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// The text that indents by one level: a tab, or the commonest step between lines in spaces.
fn unit<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut tabs = 0;
    let mut steps = [0_usize; 9];
    let mut last = 0;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let indent = indent_of(line);
        tabs += usize::from(indent.starts_with('\t'));
        let step = indent.len().abs_diff(last);
        last = indent.len();
        if indent.bytes().all(|byte| byte == b' ') && (1..steps.len()).contains(&step) {
            steps[step] += 1;
        }
    }
    let spaces: usize = steps.iter().sum();
    if tabs > spaces {
        return "\t".to_owned();
    }
    let commonest = (1..steps.len()).rev().max_by_key(|step| steps[*step]);
    " ".repeat(commonest.filter(|step| steps[*step] > 0).unwrap_or(4))
}

#[cfg(test)]
mod tests {
    use super::super::matching::{Flat, find};
    use super::*;

    /// Applies one edit by hand.
    fn edit(file: &str, old: &str, new: &str) -> String {
        let flat = Flat::of(file);
        let matches = find(file, &flat, old).expect("the old text is there");
        let range = matches.ranges[0].clone();
        let ends = LineEnds::of(file);
        let new = adapt(matches.way, old, new, &file[range.clone()], &flat, ends);
        format!("{}{new}{}", &file[..range.start], &file[range.end..])
    }

    #[test]
    fn a_loosely_found_text_is_written_with_the_files_tabs() {
        let file = "impl A {\n\tfn a() {\n\t\tone();\n\t}\n}\n";
        let old = "fn a() {\n    one();\n}\n";
        let new = "fn a() {\n    if two() {\n        one();\n    }\n}\n";
        let expected = "impl A {\n\tfn a() {\n\t\tif two() {\n\t\t\tone();\n\t\t}\n\t}\n}\n";
        assert_eq!(edit(file, old, new), expected);
    }

    #[test]
    fn a_line_shallower_than_all_that_matched_moves_out_by_levels() {
        let file = "class A:\n  def a():\n    one()\n    two()\n";
        let edited = edit(file, "        one()\n        two()\n", "        one()\n    b()\n");
        assert_eq!(edited, "class A:\n  def a():\n    one()\n  b()\n");
    }

    #[test]
    fn new_lines_take_the_line_ends_of_the_file() {
        assert_eq!(edit("a\r\nb\r\n", "a", "x\ny"), "x\r\ny\r\nb\r\n");
        assert_eq!(edit("a\nb\n", "a\r\nb", "x\r\ny"), "x\ny\n");
        assert_eq!(edit("a\r\nb\n", "a\r\n", "a\n"), "a\nb\n", "asked for by name");
    }
}
