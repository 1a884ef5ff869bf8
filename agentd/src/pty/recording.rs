//! A terminal's output as an asciicast: what was written, when, and for which size.
//!
//! Made from the log while it is read, a piece at a time: a recording of any length costs a little
//! memory. Times are as exact as the timeline beside the log: 10 ms, less for very long ones.

use std::io;

use serde_json::{Value, json};
use shared::protocol::pty::{PtySize, RecordingFormat};

use super::emulator::Emulator;
use super::live::{Fed, feed};
use crate::process::log::Piece;
use crate::process::terminal::{Sizes, TerminalProcess};

/// One read of the log.
const READ_BYTES: u64 = 64 * 1024;
/// Output that is looked through for the screen at the beginning.
const BEFORE_BYTES: u64 = 4 * 1024 * 1024;

/// For `Content-Type`.
pub(super) const MEDIA_TYPE: &str = "application/x-asciicast";

/// Makes one recording.
pub(super) struct Recording {
    process: TerminalProcess,
    format: RecordingFormat,
    sizes: Sizes,
    times: Vec<(u64, i64)>,
    at: u64,
    to: u64,
    begun_ms: i64,
    last_ms: i64,
    size: PtySize,
    /// Sizes that were told, or that were there before.
    told: usize,
    /// Bytes of a character that is not complete.
    open: Vec<u8>,
    is_begun: bool,
    is_ended: bool,
}

impl Recording {
    /// The recording of `process` from `from` to where it stands now. Blocks.
    pub(super) fn open(
        process: TerminalProcess,
        format: RecordingFormat,
        from: u64,
    ) -> io::Result<Self> {
        let to = process.log().extent().total;
        let sizes = process.sizes().borrow().clone();
        let times = process.times()?;
        let at = from.min(to);
        let (size, _) = sizes.at(at);
        let begun_ms = time_at(&times, at).unwrap_or_else(|| process.view().started_at_ms);
        Ok(Self {
            process,
            format,
            sizes,
            times,
            at,
            to,
            begun_ms,
            last_ms: begun_ms,
            size,
            told: 0,
            open: Vec::new(),
            is_begun: false,
            is_ended: false,
        })
    }

    /// The next lines; none at the end. Blocks.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        if !self.is_begun {
            self.is_begun = true;
            self.head(&mut out);
            self.screen(&mut out)?;
            return Ok(Some(out));
        }
        if self.at >= self.to {
            if std::mem::replace(&mut self.is_ended, true) {
                return Ok(None);
            }
            if !self.open.is_empty() {
                self.event(&mut out, self.last_ms, "o", "\u{fffd}".to_owned());
            }
            return Ok(Some(out).filter(|out| !out.is_empty()));
        }
        let now_ms = time_at(&self.times, self.at).unwrap_or(self.last_ms);
        while let Some((at_ms, size)) = self.sizes.change(self.told, self.at) {
            self.told += 1;
            if size != self.size {
                self.size = size;
                self.event(&mut out, at_ms, "r", format!("{}x{}", size.cols(), size.rows()));
            }
        }
        let (_, next_size) = self.sizes.at(self.at);
        let next_time = self.times.get(self.times.partition_point(|(at, _)| *at <= self.at));
        let ends = [
            Some(self.to),
            Some(self.at + READ_BYTES),
            next_size.map(|(at, _)| at),
            next_time.map(|(at, _)| *at),
        ];
        let until = ends.into_iter().flatten().min().unwrap_or(self.to);
        let most = usize::try_from(until - self.at).unwrap_or(usize::MAX);
        match self.process.log().read(self.at, most)? {
            None => self.at = self.to,
            Some(Piece::Gap { from, to }) => {
                let text = format!("\r\n[{} bytes were not kept]\r\n", to - from);
                self.open.clear();
                self.event(&mut out, now_ms, "o", text);
                self.at = to;
            }
            Some(Piece::Bytes { bytes, .. }) => {
                self.at += bytes.len() as u64;
                let text = self.text(&bytes);
                if !text.is_empty() {
                    self.event(&mut out, now_ms, "o", text);
                }
            }
        }
        Ok(Some(out))
    }

    fn head(&self, out: &mut Vec<u8>) {
        let view = self.process.view();
        let (cols, rows, term) = (self.size.cols(), self.size.rows(), self.process.term());
        let timestamp = self.begun_ms / 1000;
        let head = match self.format {
            RecordingFormat::AsciicastV2 => json!({
                "version": 2, "width": cols, "height": rows, "timestamp": timestamp,
                "command": view.command, "env": {"TERM": term},
            }),
            RecordingFormat::AsciicastV3 => json!({
                "version": 3, "term": {"cols": cols, "rows": rows, "type": term},
                "timestamp": timestamp, "command": view.command,
            }),
        };
        push(out, &head);
    }

    /// What was on the screen before the first byte.
    fn screen(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.told = self.sizes.before(self.at);
        if self.at == 0 {
            return Ok(());
        }
        let dropped_to = self.process.log().extent().dropped_to;
        let offset = self.at.saturating_sub(BEFORE_BYTES).max(dropped_to.min(self.at));
        let emulator = Emulator::new(self.sizes.at(offset).0);
        let mut screen = Fed { emulator, offset, sizes: self.sizes.before(offset) };
        while screen.offset < self.at {
            feed(&self.process, &self.sizes, &mut screen, self.at)?;
        }
        // A gap may reach beyond it.
        self.at = screen.offset.min(self.to);
        let text = String::from_utf8_lossy(&screen.emulator.formatted()).into_owned();
        self.event(out, self.begun_ms, "o", text);
        Ok(())
    }

    fn event(&mut self, out: &mut Vec<u8>, now_ms: i64, code: &str, data: String) {
        // A clock that was set back does not make a recording run backwards.
        let now_ms = now_ms.max(self.last_ms);
        let ms = match self.format {
            RecordingFormat::AsciicastV2 => now_ms - self.begun_ms,
            RecordingFormat::AsciicastV3 => now_ms - self.last_ms,
        };
        self.last_ms = now_ms;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a recording fit")]
        let seconds = ms as f64 / 1000.0;
        push(out, &json!([seconds, code, data]));
    }

    /// Text of `bytes`; half a character at their end waits for the rest.
    fn text(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.open);
        all.extend_from_slice(bytes);
        let tail = all.utf8_chunks().last().map_or(0, |chunk| chunk.invalid().len());
        let start = all.len() - tail;
        let is_open =
            std::str::from_utf8(&all[start..]).is_err_and(|error| error.error_len().is_none());
        if is_open {
            self.open = all.split_off(start);
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}

fn time_at(times: &[(u64, i64)], offset: u64) -> Option<i64> {
    let next = times.partition_point(|(at, _)| *at <= offset);
    times.get(next.saturating_sub(1)).map(|(_, ms)| *ms)
}

fn push(out: &mut Vec<u8>, line: &Value) {
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}
