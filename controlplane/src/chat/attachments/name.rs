//! Names of files as they are kept: without folders, without what a terminal, a header or a reader
//! could be led astray with. Pure.

/// Most characters of a name.
const CHARS_MAX: usize = 200;
/// What a file without a usable name is called.
const NAMELESS: &str = "file";

/// A plain name of what a client called a file. Never empty; the ending stays when it is cut.
#[must_use]
pub fn plain(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !is_misleading(*c)).collect();
    let clean = clean.trim().trim_start_matches('.').trim();
    if clean.is_empty() {
        return NAMELESS.to_owned();
    }
    if clean.chars().count() <= CHARS_MAX {
        return clean.to_owned();
    }
    let ending = match clean.rsplit_once('.') {
        Some((_, ending)) if ending.chars().count() <= 10 => format!(".{ending}"),
        _ => String::new(),
    };
    let kept = CHARS_MAX - ending.chars().count();
    clean.chars().take(kept).collect::<String>() + &ending
}

/// Control characters, line ends, and marks that change the direction of what follows or cannot be
/// seen.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_folders_and_nothing_that_misleads() {
        let rows = [
            ("photo.png", "photo.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\ada\\a.pdf", "a.pdf"),
            ("/", NAMELESS),
            ("", NAMELESS),
            ("..", NAMELESS),
            (".bashrc", "bashrc"),
            ("a\r\nSet-Cookie: x=1.txt", "aSet-Cookie: x=1.txt"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("a\0b\u{1b}[31m.txt", "ab[31m.txt"),
            ("  Bericht (1).pdf ", "Bericht (1).pdf"),
            ("日本語.txt", "日本語.txt"),
        ];
        for (sent, kept) in rows {
            assert_eq!(plain(sent), kept, "{sent:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_and_keeps_its_ending() {
        let cut = plain(&format!("{}.tar", "é".repeat(5_000)));
        assert_eq!((cut.chars().count(), cut.ends_with("é.tar")), (CHARS_MAX, true));
        assert_eq!(plain(&"x".repeat(5_000)).len(), CHARS_MAX);
    }

    #[test]
    fn a_plain_name_stays_as_it_is() {
        for name in ["a b.txt", "日本語.txt", "invoicefdp.exe"] {
            assert_eq!(plain(&plain(name)), plain(name));
        }
    }
}
