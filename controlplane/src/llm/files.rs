//! Attached files as providers take them: which of them, how many, how large. Pure.
//!
//! | Kind | Images: how many, bytes of each | PDF | Bytes of all |
//! |---|---|---|---|
//! | `anthropic`, `scripted` | 20, 3.75 MiB (5 MiB in base64), 8,000 pixels a side | 5 | 20 MiB |
//! | `openai` | 50, 10 MiB | 5 | 24 MiB |
//! | `gemini` | 16, 10 MiB | no | 12 MiB |
//! | `openai_compatible` | 10, 4 MiB | no | 12 MiB |
//!
//! The numbers are below what the providers document (bytes count in base64 there, and the request
//! has other things in it). Text goes to everybody as text. A model that is known to take no images
//! gets none. What a provider refuses all the same is left out by the chat's runner.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::chat::content::FileRef;
use crate::chat::content::kind;

const MIB: u64 = 1024 * 1024;
/// Most bytes of a text file that a model is shown.
pub const TEXT_SHOWN_BYTES: u64 = 128 * 1024;
/// Models that take text alone, by the beginning of their name behind a vendor's prefix.
const BLIND: &[&str] =
    &["deepseek", "gpt-3.5", "o1-mini", "o3-mini", "codestral", "qwen3-coder", "gpt-oss"];

/// What a provider takes of files in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBudget {
    /// Images in all; zero: it takes none.
    pub images: usize,
    /// Bytes of one image.
    pub image_bytes: u64,
    /// Pixels of an image's longer side.
    pub image_side: u32,
    /// PDFs in all; zero: it takes none.
    pub pdfs: usize,
    /// Bytes of all images and PDFs.
    pub total_bytes: u64,
}

/// What a model of a kind of provider takes.
#[must_use]
pub fn file_budget(kind: &str, model: &str) -> FileBudget {
    let budget = match kind {
        "openai" => FileBudget {
            images: 50,
            image_bytes: 10 * MIB,
            image_side: u32::MAX,
            pdfs: 5,
            total_bytes: 24 * MIB,
        },
        "gemini" => FileBudget {
            images: 16,
            image_bytes: 10 * MIB,
            image_side: u32::MAX,
            pdfs: 0,
            total_bytes: 12 * MIB,
        },
        "openai_compatible" => FileBudget {
            images: 10,
            image_bytes: 4 * MIB,
            image_side: u32::MAX,
            pdfs: 0,
            total_bytes: 12 * MIB,
        },
        _ => FileBudget {
            images: 20,
            image_bytes: 5 * MIB / 4 * 3,
            image_side: 8_000,
            pdfs: 5,
            total_bytes: 20 * MIB,
        },
    };
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    let is_blind = BLIND.iter().any(|blind| name.starts_with(blind));
    if is_blind { FileBudget { images: 0, pdfs: 0, ..budget } } else { budget }
}

/// The bytes of the files that a prompt shows, by hash. Cheap to clone.
#[derive(Clone, Default)]
pub struct Files(Arc<BTreeMap<String, Bytes>>);

impl Files {
    /// The bytes of a file; none: they are not here.
    #[must_use]
    pub fn get(&self, file: &FileRef) -> Option<&Bytes> {
        self.0.get(&file.hash)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a provider's complaint is about a file in the request, as far as its words tell.
#[must_use]
pub fn names_a_file(message: &str) -> bool {
    const WORDS: &[&str] = &[
        "image",
        "pdf",
        "document",
        "file_data",
        "input_file",
        "media type",
        "media_type",
        "base64",
        "attachment",
        "vision",
        "multimodal",
        "multi-modal",
        "mmproj",
    ];
    let message = message.to_lowercase();
    WORDS.iter().any(|word| message.contains(word))
}

impl FromIterator<(String, Bytes)> for Files {
    fn from_iter<T: IntoIterator<Item = (String, Bytes)>>(files: T) -> Self {
        Self(Arc::new(files.into_iter().collect()))
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A file on its way into a request.
pub(super) enum Shown {
    /// As words.
    Text(String),
    /// As an image.
    Image {
        /// In base64.
        data: String,
    },
    /// As a PDF.
    Pdf {
        /// In base64.
        data: String,
    },
}

/// A file as a provider takes it. Without its bytes, as when a former request is looked at, they
/// are named in their place.
pub(super) fn shown(file: &FileRef, files: &Files) -> Shown {
    let bytes = files.get(file);
    if file.media_type == kind::TEXT {
        return Shown::Text(text(file, bytes));
    }
    let data = match bytes {
        Some(bytes) => STANDARD.encode(bytes),
        None => format!("[{} bytes, sha-256 {}]", file.size, file.hash),
    };
    if kind::is_image(&file.media_type) {
        Shown::Image { data }
    } else if file.media_type == kind::PDF {
        Shown::Pdf { data }
    } else {
        Shown::Text(format!("[Attached file: {}, {} bytes]", quoted(&file.name), file.size))
    }
}

/// A text file between marks; of a long one the start and the end.
fn text(file: &FileRef, bytes: Option<&Bytes>) -> String {
    let name = quoted(&file.name);
    let Some(bytes) = bytes else {
        return format!("<file name=\"{name}\">\n[{} bytes]\n</file>", file.size);
    };
    let whole = String::from_utf8_lossy(bytes);
    let limit = TEXT_SHOWN_BYTES as usize;
    if whole.len() <= limit {
        return format!("<file name=\"{name}\">\n{whole}\n</file>");
    }
    let head = &whole[..whole.floor_char_boundary(limit / 4 * 3)];
    let tail = &whole[whole.ceil_char_boundary(whole.len() - limit / 4)..];
    let between = whole.len() - head.len() - tail.len();
    format!("<file name=\"{name}\">\n{head}\n[{between} bytes left out]\n{tail}\n</file>")
}

/// A name that does not end the mark it stands in.
fn quoted(name: &str) -> String {
    name.replace(['"', '<', '>'], "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_provider_has_its_budget_and_blind_models_get_no_images() {
        let of = |kind, model| {
            let budget = file_budget(kind, model);
            (budget.images, budget.pdfs)
        };
        let rows = [
            ("anthropic", "claude-opus-5", (20, 5)),
            ("scripted", "m", (20, 5)),
            ("openai", "gpt-5.5", (50, 5)),
            ("openai", "gpt-3.5-turbo", (0, 0)),
            ("gemini", "gemini-3-pro", (16, 0)),
            ("openai_compatible", "qwen3-vl", (10, 0)),
            ("openai_compatible", "deepseek/DeepSeek-V4", (0, 0)),
        ];
        for (kind, model, expected) in rows {
            assert_eq!(of(kind, model), expected, "{kind} {model}");
        }
        for kind in ["anthropic", "openai", "gemini", "openai_compatible"] {
            let budget = file_budget(kind, "m");
            assert!(budget.image_bytes <= budget.total_bytes, "{kind}: one image always fits");
        }
        assert!(
            file_budget("anthropic", "m").image_bytes.div_ceil(3) * 4 <= 5 * MIB,
            "Anthropic counts base64"
        );
    }

    #[test]
    fn a_long_text_keeps_its_start_and_its_end_and_no_name_ends_the_mark() {
        let file = |size: usize| FileRef {
            attachment_id: "att_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap(),
            name: "a\">.txt".into(),
            media_type: kind::TEXT.into(),
            size: size as u64,
            hash: "h".into(),
            width: None,
            height: None,
        };
        let long = format!("start{}end", "é".repeat(200_000));
        let files = Files::from_iter([("h".to_owned(), Bytes::from(long.clone()))]);
        let Shown::Text(shown) = shown(&file(long.len()), &files) else { panic!("it is text") };
        assert!(shown.len() < TEXT_SHOWN_BYTES as usize + 200, "{}", shown.len());
        assert!(shown.starts_with("<file name=\"a''.txt\">\nstart"));
        assert!(shown.ends_with("end\n</file>") && shown.contains("bytes left out"));
    }
}
