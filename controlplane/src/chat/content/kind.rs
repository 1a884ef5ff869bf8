//! What a file is, by its bytes and by nothing else. Pure.
//!
//! Four kinds of image, PDF, text, and bytes. Text is whatever is UTF-8 without a NUL, HTML and
//! SVG included: nothing here ever has a type that a browser would run.

/// Bytes of a file's beginning that are looked at for its kind and an image's size.
const HEAD_BYTES: usize = 256 * 1024;

/// The type of text.
pub const TEXT: &str = "text/plain";
/// The type of PDF.
pub const PDF: &str = "application/pdf";
/// The type of bytes that are none of the others.
pub const BYTES: &str = "application/octet-stream";
const PNG: &str = "image/png";
const JPEG: &str = "image/jpeg";
const GIF: &str = "image/gif";
const WEBP: &str = "image/webp";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// One of the types above.
    pub media_type: &'static str,
    /// Width and height of an image.
    pub pixels: Option<(u32, u32)>,
}

/// Whether a browser may show files of this type in the page.
#[must_use]
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, PNG | JPEG | GIF | WEBP)
}

/// A file that is looked at while it arrives.
#[derive(Debug)]
pub struct Looking {
    head: Vec<u8>,
    /// Bytes of a character that the next piece may complete.
    open: Vec<u8>,
    is_text: bool,
}

impl Default for Looking {
    fn default() -> Self {
        Self { head: Vec::new(), open: Vec::new(), is_text: true }
    }
}

impl Looking {
    /// Looks at the next piece.
    pub fn look(&mut self, piece: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(&piece[..room.min(piece.len())]);
        if !self.is_text {
            return;
        }
        let mut bytes = std::mem::take(&mut self.open);
        bytes.extend_from_slice(piece);
        if let Err(error) = std::str::from_utf8(&bytes) {
            // A character may be cut by the end of the piece, and by nothing else.
            self.is_text = error.error_len().is_none();
            self.open = bytes[error.valid_up_to()..].to_vec();
        }
        self.is_text = self.is_text && !bytes.contains(&0);
    }

    /// What it is, now that all of it was there.
    #[must_use]
    pub fn kind(self) -> Kind {
        let head = self.head.as_slice();
        let image = |media_type, pixels: Option<(u32, u32)>| {
            let pixels = pixels.filter(|(width, height)| *width > 0 && *height > 0)?;
            Some(Kind { media_type, pixels: Some(pixels) })
        };
        // An image without a size is none that anybody could show.
        let found = if head.starts_with(b"\x89PNG\r\n\x1a\n") {
            image(PNG, png(head))
        } else if head.starts_with(b"\xff\xd8\xff") {
            image(JPEG, jpeg(head))
        } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
            image(GIF, gif(head))
        } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
            image(WEBP, webp(head))
        } else if head.starts_with(b"%PDF-") {
            Some(Kind { media_type: PDF, pixels: None })
        } else {
            None
        };
        let is_text = self.is_text && self.open.is_empty() && !head.iter().any(is_binary);
        let other = Kind { media_type: if is_text { TEXT } else { BYTES }, pixels: None };
        found.unwrap_or(other)
    }
}

/// Control characters that no text begins with; terminals' escapes are text.
const fn is_binary(byte: &u8) -> bool {
    matches!(byte, 0..=7 | 0xb | 0xe..=0x1a | 0x1c..=0x1f)
}

fn big(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn little(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn png(head: &[u8]) -> Option<(u32, u32)> {
    (head.get(12..16)? == b"IHDR").then_some(())?;
    Some((big(head, 16, 4)?, big(head, 20, 4)?))
}

fn gif(head: &[u8]) -> Option<(u32, u32)> {
    Some((little(head, 6, 2)?, little(head, 8, 2)?))
}

/// The three forms of WebP: lossy, lossless, extended.
fn webp(head: &[u8]) -> Option<(u32, u32)> {
    match head.get(12..16)? {
        b"VP8 " => Some((little(head, 26, 2)? & 0x3fff, little(head, 28, 2)? & 0x3fff)),
        b"VP8L" => {
            let bits = little(head, 21, 4)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((little(head, 24, 3)? + 1, little(head, 27, 3)? + 1)),
        _ => None,
    }
}

/// The frame header stands behind segments that say their length.
fn jpeg(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = *head.get(at + 1)?;
        if head[at] != 0xff {
            return None;
        }
        match marker {
            0xff => at += 1,
            // Frames of every coding, but not the three tables that lie among them.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big(head, at + 7, 2)?, big(head, at + 5, 2)?));
            }
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => at += 2 + big(head, at + 2, 2)?.max(2) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, the type that they are, and the pixels of an image.
    type Row<'a> = (&'a [u8], &'a str, Option<(u32, u32)>);

    fn kind(bytes: &[u8]) -> Kind {
        kind_in_pieces(bytes, bytes.len().max(1))
    }

    fn kind_in_pieces(bytes: &[u8], length: usize) -> Kind {
        let mut looking = Looking::default();
        bytes.chunks(length).for_each(|piece| looking.look(piece));
        looking.kind()
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes
    }

    #[test]
    fn the_bytes_say_what_a_file_is() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc4\0\x02\xff\xc2\0\x0b\x08\0\x20\0\x40rest";
        let webp = |rest: &[u8]| [b"RIFF\0\0\0\0WEBP".as_slice(), rest].concat();
        let lossy = webp(b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x20\x00\x10\x00");
        let lossless = webp(b"VP8L\0\0\0\0\x2f\x1f\xc0\x03\x00");
        let extended = webp(b"VP8X\0\0\0\0\0\0\0\0\x1f\0\0\x0f\0\0");
        let rows: &[Row<'_>] = &[
            (&png(640, 480), PNG, Some((640, 480))),
            (jpeg, JPEG, Some((64, 32))),
            (b"GIF89a\x20\0\x10\0", GIF, Some((32, 16))),
            (&lossy, WEBP, Some((32, 16))),
            (&lossless, WEBP, Some((32, 16))),
            (&extended, WEBP, Some((32, 16))),
            (b"%PDF-1.7\n\xff", PDF, None),
            (b"fn main() {}\n", TEXT, None),
            (b"<script>alert(1)</script>", TEXT, None),
            (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", TEXT, None),
            ("Grüße, 世界\r\n\t".as_bytes(), TEXT, None),
            (b"PK\x03\x04\0", BYTES, None),
            (b"\x7fELF\x02", BYTES, None),
            (b"a\0b", BYTES, None),
            (b"caf\xe9", BYTES, None),
            (b"cut \xe4\xb8", BYTES, None),
        ];
        for (bytes, media_type, pixels) in rows {
            let found = kind(bytes);
            assert_eq!((found.media_type, found.pixels), (*media_type, *pixels), "{bytes:?}");
        }
    }

    #[test]
    fn an_image_that_nobody_can_show_is_bytes() {
        for bytes in [
            &png(0, 480)[..],
            &png(640, 480)[..20],
            b"\xff\xd8\xff\xe0\xff\xff",
            b"\xff\xd8\xff\xd9",
            b"GIF89a\x20\0",
            b"RIFF\0\0\0\0WEBPVP8?",
        ] {
            assert_eq!(kind(bytes).media_type, BYTES, "{bytes:?}");
        }
    }

    #[test]
    fn the_pieces_in_which_a_file_comes_do_not_matter() {
        let text = "a é 世 𝄞 ".repeat(40);
        for length in 1..9 {
            assert_eq!(kind_in_pieces(text.as_bytes(), length).media_type, TEXT);
            assert_eq!(kind_in_pieces(&png(7, 9), length), kind(&png(7, 9)));
            assert_eq!(kind_in_pieces(b"ab\xffcd", length).media_type, BYTES);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fail(start in 0_usize..6, bytes in proptest::collection::vec(0_u8.., 0..300)) {
            let starts: [&[u8]; 6] =
                [b"", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8L", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"%PDF-"];
            let found = kind(&[starts[start], &bytes].concat());
            proptest::prop_assert_eq!(is_image(found.media_type), found.pixels.is_some());
        }
    }
}
