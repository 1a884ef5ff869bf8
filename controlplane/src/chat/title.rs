//! A chat's first title: the first words of its first message. Pure.

use super::content::Part;

/// Longest title made here, in characters.
const TITLE_CHARS: usize = 60;

/// The first words of `content`, cut at a word's end; the name of its first file where
/// there is no text; empty where there is neither.
#[must_use]
pub fn from_first_words(content: &[Part]) -> String {
    let text = content.iter().find_map(|part| match part {
        Part::Text { text } if !text.trim().is_empty() => Some(text.as_str()),
        _ => None,
    });
    let name = content.iter().find_map(|part| match part {
        Part::File { file } => Some(file.name.as_str()),
        _ => None,
    });
    let text = text.or(name);
    let mut title = String::new();
    // Bounded before it is looked at: a message may be megabytes long.
    for word in text.unwrap_or_default().split_whitespace().take(TITLE_CHARS) {
        let word = word.trim_matches(['#', '*', '`', '>']);
        if word.is_empty() {
            continue;
        }
        let length = title.chars().count();
        if length == 0 {
            title.extend(word.chars().take(TITLE_CHARS));
        } else if length + 1 + word.chars().count() <= TITLE_CHARS {
            title.push(' ');
            title.push_str(word);
        } else {
            title.push('…');
            break;
        }
    }
    title
}

/// The first words of a text.
#[must_use]
pub fn from_first_words_of(text: &str) -> String {
    let start = text.floor_char_boundary(1_024);
    from_first_words(&[Part::Text { text: text[..start].to_owned() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        from_first_words(&[Part::Text { text: text.to_owned() }])
    }

    #[test]
    fn a_title_is_the_first_words_on_one_line() {
        assert_eq!(of("  # Fix the\n\n`flaky` test  "), "Fix the flaky test");
        assert_eq!(from_first_words(&[]), "");
        assert_eq!(of(" \n "), "");
    }

    #[test]
    fn a_long_title_is_cut_at_a_word_and_a_long_word_within() {
        let title = of(&"word ".repeat(100));
        assert!(title.ends_with("word…") && title.chars().count() <= TITLE_CHARS + 1, "{title}");
        assert_eq!(of(&"é".repeat(1_000_000)).chars().count(), TITLE_CHARS);
    }
}
