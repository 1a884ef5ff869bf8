//! Builds one text: lines cut at their limit, bytes made characters, gaps told.

use shared::limits::MODEL_OUTPUT_LINE_BYTES;

use super::Rendered;

/// A text in the making.
pub(super) struct TextBuilder {
    text: String,
    omitted_bytes: u64,
    lines_cut: u32,
    /// Bytes of the current line that are shown.
    line_bytes: usize,
    /// Bytes of the current line that are not.
    line_cut_bytes: u64,
    /// Bytes of the current line that come in a gap behind it, where they are counted.
    line_beyond_bytes: u64,
}

impl TextBuilder {
    pub(super) const fn new() -> Self {
        Self {
            text: String::new(),
            omitted_bytes: 0,
            lines_cut: 0,
            line_bytes: 0,
            line_cut_bytes: 0,
            line_beyond_bytes: 0,
        }
    }

    /// Whether the current line is longer than what is shown of it.
    pub(super) const fn is_cut(&self) -> bool {
        self.line_cut_bytes > 0
    }

    /// The current line has `bytes` more, which are in the gap that follows.
    pub(super) fn line_goes_on(&mut self, bytes: u64) {
        self.line_beyond_bytes = bytes;
    }

    /// The current line has `bytes` more, which nobody has read.
    pub(super) fn line_rest(&mut self, bytes: u64) {
        self.line_cut_bytes += bytes;
    }

    /// Adds output. What is not UTF-8 becomes the replacement character.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if let Some(first) = lines.next() {
            self.part_of_line(first);
        }
        for line in lines {
            self.end_line();
            self.text.push('\n');
            self.part_of_line(line);
        }
    }

    /// Tells that `[from, to)` is not shown, on a line of its own.
    pub(super) fn gap(&mut self, from: u64, to: u64) {
        self.end_line();
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let bytes = to - from;
        self.omitted_bytes += bytes;
        self.text.push_str(&format!("[… {bytes} bytes omitted, offsets {from} to {to} …]\n"));
    }

    /// Adds text of our own to the current line; it counts as nothing.
    pub(super) fn label(&mut self, label: &str) {
        self.text.push_str(label);
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn finish(mut self, next_offset: u64) -> Rendered {
        self.end_line();
        Rendered {
            text: self.text,
            omitted_bytes: self.omitted_bytes,
            next_offset,
            lines_cut: self.lines_cut,
        }
    }

    fn part_of_line(&mut self, part: &[u8]) {
        let room = MODEL_OUTPUT_LINE_BYTES - self.line_bytes;
        let shown = if part.len() <= room {
            part
        } else {
            let cut = &part[..room];
            &cut[..room - super::incomplete_suffix(cut)]
        };
        self.text.push_str(&String::from_utf8_lossy(shown));
        self.line_bytes += shown.len();
        self.line_cut_bytes += (part.len() - shown.len()) as u64;
        if shown.len() < part.len() {
            // Nothing more of this line, also when there was room for half a character.
            self.line_bytes = MODEL_OUTPUT_LINE_BYTES;
        }
    }

    fn end_line(&mut self) {
        if self.line_cut_bytes > 0 {
            let more = self.line_cut_bytes + self.line_beyond_bytes;
            self.text.push_str(&format!(" [… {more} more bytes in this line]"));
            self.omitted_bytes += self.line_cut_bytes;
            self.lines_cut += 1;
        }
        self.line_bytes = 0;
        self.line_cut_bytes = 0;
        self.line_beyond_bytes = 0;
    }
}
