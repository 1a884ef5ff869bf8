//! `CSI … m`: how what comes next looks.

use super::cell::{Color, Style};
use super::params::Params;

/// Applies every parameter, in order.
pub(super) fn select(style: &mut Style, params: &Params) {
    let mut all = params.all();
    while let Some((value, more)) = all.next() {
        match value {
            0 => *style = Style::default(),
            1 => style.flags |= Style::BOLD,
            2 => style.flags |= Style::FAINT,
            3 => style.flags |= Style::ITALIC,
            4 => {
                let kind = more.first().copied().flatten().unwrap_or(1);
                style.underline = u8::try_from(kind.min(5)).unwrap_or(1);
            }
            5 | 6 => style.flags |= Style::BLINK,
            7 => style.flags |= Style::INVERSE,
            8 => style.flags |= Style::HIDDEN,
            9 => style.flags |= Style::STRUCK,
            21 => style.underline = 2,
            22 => style.flags &= !(Style::BOLD | Style::FAINT),
            23 => style.flags &= !Style::ITALIC,
            24 => style.underline = 0,
            25 => style.flags &= !Style::BLINK,
            27 => style.flags &= !Style::INVERSE,
            28 => style.flags &= !Style::HIDDEN,
            29 => style.flags &= !Style::STRUCK,
            53 => style.flags |= Style::OVERLINE,
            55 => style.flags &= !Style::OVERLINE,
            30..=37 => style.foreground = indexed(value - 30),
            40..=47 => style.background = indexed(value - 40),
            90..=97 => style.foreground = indexed(value - 90 + 8),
            100..=107 => style.background = indexed(value - 100 + 8),
            39 => style.foreground = Color::Default,
            49 => style.background = Color::Default,
            59 => style.underline_color = Color::Default,
            38 | 48 | 58 => {
                let color = if more.is_empty() {
                    let mut next = || all.next().map(|(value, _)| value);
                    color(&mut next)
                } else {
                    with_colons(more)
                };
                let Some(color) = color else { continue };
                match value {
                    38 => style.foreground = color,
                    48 => style.background = color,
                    _ => style.underline_color = color,
                }
            }
            _ => {}
        }
    }
}

/// `2:r:g:b`, `2::r:g:b` or `5:n`.
fn with_colons(more: &[Option<u16>]) -> Option<Color> {
    let skip = usize::from(more.len() > 4 && more.first() == Some(&Some(2)));
    let mut values =
        more.iter().enumerate().filter(|(at, _)| *at != skip || skip == 0).map(|(_, v)| v);
    color(&mut || values.next().map(|value| value.unwrap_or(0)))
}

fn color(next: &mut impl FnMut() -> Option<u16>) -> Option<Color> {
    let byte = |value: Option<u16>| Some(u8::try_from(value?.min(255)).unwrap_or(255));
    match next()? {
        5 => Some(Color::Indexed(byte(next())?)),
        2 => Some(Color::Rgb(byte(next())?, byte(next())?, byte(next())?)),
        _ => None,
    }
}

fn indexed(value: u16) -> Color {
    Color::Indexed(u8::try_from(value).unwrap_or(0))
}

/// The sequence that brings a terminal from any look to `style`.
pub(super) fn sequence(style: &Style) -> String {
    let mut text = String::from("\x1b[0");
    let flags = [
        (Style::BOLD, ";1"),
        (Style::FAINT, ";2"),
        (Style::ITALIC, ";3"),
        (Style::BLINK, ";5"),
        (Style::INVERSE, ";7"),
        (Style::HIDDEN, ";8"),
        (Style::STRUCK, ";9"),
        (Style::OVERLINE, ";53"),
    ];
    for (flag, code) in flags {
        if style.flags & flag != 0 {
            text.push_str(code);
        }
    }
    match style.underline {
        0 => {}
        1 => text.push_str(";4"),
        kind => text.push_str(&format!(";4:{kind}")),
    }
    push_color(&mut text, style.foreground, 30, 38);
    push_color(&mut text, style.background, 40, 48);
    push_color(&mut text, style.underline_color, 0, 58);
    text.push('m');
    text
}

/// `basic` is the code of the first of the 8 colours that have short codes; 0: none has.
fn push_color(text: &mut String, color: Color, basic: u16, extended: u16) {
    match color {
        Color::Default => {}
        Color::Indexed(n) if basic > 0 && n < 8 => {
            text.push_str(&format!(";{}", basic + u16::from(n)));
        }
        Color::Indexed(n) if basic > 0 && n < 16 => {
            text.push_str(&format!(";{}", basic + 60 + u16::from(n) - 8));
        }
        // Colons where a terminal that does not know them would take the rest for other looks.
        Color::Indexed(n) if extended == 58 => text.push_str(&format!(";58:5:{n}")),
        Color::Rgb(r, g, b) if extended == 58 => text.push_str(&format!(";58:2::{r}:{g}:{b}")),
        Color::Indexed(n) => text.push_str(&format!(";{extended};5;{n}")),
        Color::Rgb(r, g, b) => text.push_str(&format!(";{extended};2;{r};{g};{b}")),
    }
}
