//! What stands on a screen: characters with their looks, in rows.

use serde::{Deserialize, Serialize};

/// Combining characters that one cell holds; more are dropped.
const MARKS_MAX: usize = 4;

/// A colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Color {
    /// The terminal's own.
    #[default]
    #[serde(rename = "d")]
    Default,
    /// Of the palette.
    #[serde(rename = "i")]
    Indexed(u8),
    /// Red, green, blue.
    #[serde(rename = "r")]
    Rgb(u8, u8, u8),
}

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// Of the character.
    #[serde(rename = "f")]
    pub foreground: Color,
    /// Behind it.
    #[serde(rename = "b")]
    pub background: Color,
    /// Of the line under it; the default is the character's own.
    #[serde(rename = "u")]
    pub underline_color: Color,
    /// 0 none, 1 single, 2 double, 3 curly, 4 dotted, 5 dashed.
    #[serde(rename = "l")]
    pub underline: u8,
    /// See the constants.
    #[serde(rename = "a")]
    pub flags: u8,
}

impl Style {
    /// Bold.
    pub const BOLD: u8 = 1;
    /// Faint.
    pub const FAINT: u8 = 2;
    /// Italic.
    pub const ITALIC: u8 = 4;
    /// Blinking.
    pub const BLINK: u8 = 8;
    /// Foreground and background swapped.
    pub const INVERSE: u8 = 16;
    /// Not shown.
    pub const HIDDEN: u8 = 32;
    /// Struck through.
    pub const STRUCK: u8 = 64;
    /// A line above.
    pub const OVERLINE: u8 = 128;

    /// What an erased cell looks like: the background stays.
    #[must_use]
    pub fn erased(self) -> Self {
        Self { background: self.background, ..Self::default() }
    }
}

/// One place of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// A blank is a space.
    pub character: char,
    /// How it looks.
    pub style: Style,
    /// Columns: 1, 2, or 0 for the right half of the one before.
    pub width: u8,
    marks: Option<Box<Marks>>,
}

/// Rare, so apart: a cell without them is small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Marks {
    text: String,
}

impl Cell {
    /// A character without marks.
    #[must_use]
    pub const fn new(character: char, style: Style, width: u8) -> Self {
        Self { character, style, width, marks: None }
    }

    /// Nothing, erased with `style`.
    #[must_use]
    pub const fn blank(style: Style) -> Self {
        Self::new(' ', style, 1)
    }

    /// Adds a combining character.
    pub fn add_mark(&mut self, mark: char) {
        let marks = self.marks.get_or_insert_default();
        if marks.text.chars().count() < MARKS_MAX {
            marks.text.push(mark);
        }
    }

    /// The combining characters.
    #[must_use]
    pub fn marks(&self) -> &str {
        self.marks.as_ref().map_or("", |marks| &marks.text)
    }
}

impl Default for Cell {
    fn default() -> Self {
        Self::blank(Style::default())
    }
}

/// One row. Cells to the right of the last one that was touched are blank and cost nothing.
#[derive(Clone, Debug, Default)]
pub struct Row {
    cells: Vec<Cell>,
    /// The text goes on in the next row without a line break.
    pub is_wrapped: bool,
}

impl Row {
    /// The cell at `column`; a blank one where nothing was written.
    #[must_use]
    pub fn cell(&self, column: u16) -> Cell {
        self.cells.get(usize::from(column)).cloned().unwrap_or_default()
    }

    /// Columns up to the last one that is not blank.
    #[must_use]
    pub fn used(&self) -> u16 {
        let blank = Cell::default();
        let used = self.cells.iter().rposition(|cell| *cell != blank).map_or(0, |at| at + 1);
        u16::try_from(used).unwrap_or(u16::MAX)
    }

    /// The text without blanks at its end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for cell in self.cells.iter().filter(|cell| cell.width > 0) {
            text.push(cell.character);
            text.push_str(cell.marks());
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    }

    /// The cell at `column`, to be changed. The caller keeps within the width.
    pub(super) fn at(&mut self, column: u16) -> &mut Cell {
        let column = usize::from(column);
        if self.cells.len() <= column {
            self.cells.resize(column + 1, Cell::default());
        }
        &mut self.cells[column]
    }

    /// Puts one character for each byte of ASCII text at `column` and after it. The caller keeps
    /// within the width.
    pub(super) fn put_ascii(&mut self, column: u16, text: &[u8], style: Style) {
        let from = usize::from(column);
        let to = from + text.len();
        self.split(column);
        self.split(u16::try_from(to).unwrap_or(u16::MAX));
        if self.cells.len() < to {
            self.cells.resize(to, Cell::default());
        }
        for (cell, byte) in self.cells[from..to].iter_mut().zip(text) {
            *cell = Cell::new(char::from(*byte), style, 1);
        }
    }

    /// As if it had just been made.
    pub(super) fn clear(&mut self) {
        self.cells.clear();
        self.is_wrapped = false;
    }

    /// A wide character that loses one half loses the other.
    pub(super) fn split(&mut self, column: u16) {
        let at = usize::from(column);
        if self.cells.get(at).is_some_and(|cell| cell.width == 0) && at > 0 {
            let style = self.cells[at].style;
            self.cells[at - 1] = Cell::blank(style);
            self.cells[at] = Cell::blank(style);
        }
    }

    /// Erases `[from, to)`.
    pub(super) fn erase(&mut self, from: u16, to: u16, style: Style) {
        if from >= to {
            return;
        }
        self.split(from);
        self.split(to);
        if style == Style::default() && usize::from(to) >= self.cells.len() {
            self.cells.truncate(usize::from(from));
            return;
        }
        for column in from..to {
            *self.at(column) = Cell::blank(style);
        }
    }

    /// Moves `[at, width)` to the right by `count`.
    pub(super) fn insert(&mut self, at: u16, count: u16, width: u16, style: Style) {
        self.split(at);
        self.at(width.saturating_sub(1));
        let (from, width) = (usize::from(at), usize::from(width));
        let count = usize::from(count).min(width.saturating_sub(from));
        self.split(u16::try_from(width - count).unwrap_or(u16::MAX));
        self.cells.truncate(width - count);
        self.cells.splice(from..from, std::iter::repeat_n(Cell::blank(style), count));
    }

    /// Moves `[at + count, width)` to the left by `count`.
    pub(super) fn delete(&mut self, at: u16, count: u16, width: u16, style: Style) {
        let count = count.min(width.saturating_sub(at));
        self.split(at);
        self.split(at.saturating_add(count));
        self.at(width.saturating_sub(1));
        let (from, count) = (usize::from(at), usize::from(count));
        self.cells.truncate(usize::from(width));
        self.cells.drain(from..from + count);
        self.cells.extend(std::iter::repeat_n(Cell::blank(style), count));
    }

    /// Cuts it to `width` columns.
    pub(super) fn cut(&mut self, width: u16) {
        self.split(width);
        self.cells.truncate(usize::from(width));
    }

    /// Gives back what blanks at the end cost.
    pub(super) fn trim(&mut self) {
        self.cells.truncate(usize::from(self.used()));
        self.cells.shrink_to_fit();
    }
}

/// Rows are the same when they look the same.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        let used = self.used();
        used == other.used()
            && self
                .cells
                .iter()
                .take(usize::from(used))
                .eq(other.cells.iter().take(usize::from(used)))
    }
}

impl Eq for Row {}

/// Cells of one look, one after the other: how a row is written down.
#[derive(Serialize, Deserialize)]
struct Run {
    #[serde(rename = "s")]
    style: Style,
    #[serde(rename = "t")]
    text: String,
    /// Characters of `text` that are two columns wide, or are marks, as `(index, columns)`.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    odd: Vec<(u16, u8)>,
}

#[derive(Serialize, Deserialize)]
struct Runs {
    #[serde(rename = "r")]
    runs: Vec<Run>,
    #[serde(rename = "n", default)]
    is_wrapped: bool,
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut runs: Vec<Run> = Vec::new();
        for cell in self.cells.iter().take(usize::from(self.used())) {
            if cell.width == 0 {
                continue;
            }
            if runs.last().is_none_or(|run| run.style != cell.style) {
                runs.push(Run { style: cell.style, text: String::new(), odd: Vec::new() });
            }
            let Some(run) = runs.last_mut() else { continue };
            let mut add = |character: char, columns: u8| {
                if columns != 1 {
                    let index = u16::try_from(run.text.chars().count()).unwrap_or(u16::MAX);
                    run.odd.push((index, columns));
                }
                run.text.push(character);
            };
            add(cell.character, cell.width);
            cell.marks().chars().for_each(|mark| add(mark, 0));
        }
        Runs { runs, is_wrapped: self.is_wrapped }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Runs { runs, is_wrapped } = Runs::deserialize(deserializer)?;
        let mut cells: Vec<Cell> = Vec::new();
        for Run { style, text, odd } in runs {
            let mut odd = odd.into_iter().peekable();
            for (index, character) in text.chars().enumerate() {
                let columns =
                    odd.next_if(|(at, _)| usize::from(*at) == index).map_or(1, |(_, width)| width);
                match columns {
                    0 => {
                        // The mark of a wide character stands on its left half.
                        let on = cells.iter_mut().rev().find(|cell| cell.width > 0);
                        on.into_iter().for_each(|cell| cell.add_mark(character));
                    }
                    2 => {
                        cells.push(Cell::new(character, style, 2));
                        cells.push(Cell::new(' ', style, 0));
                    }
                    _ => cells.push(Cell::new(character, style, 1)),
                }
            }
        }
        Ok(Self { cells, is_wrapped })
    }
}
