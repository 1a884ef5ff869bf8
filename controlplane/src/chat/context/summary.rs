//! How a summary is asked for, and how it stands in the prompt afterwards. Pure.

use super::plan::{BYTES_PER_TOKEN, SUMMARY_TOKENS, Summarise};
use super::stub::READ_RESULT;
use crate::chat::content::{Compaction, CompactionMethod, Part, Role, StoredPart};
use crate::llm::PromptMessage;

/// Longest summary that is kept, in bytes.
const SUMMARY_MAX_BYTES: usize = 32 * 1024;
/// What stands where the oldest messages were cut off.
const CUT: &str = "[The oldest part of this conversation is not shown.]";

/// The question that ends the prompt. `wish`: what somebody wants to be kept.
#[must_use]
pub fn ask(wish: Option<&str>) -> String {
    let wish = match wish.map(str::trim).filter(|wish| !wish.is_empty()) {
        Some(wish) => format!("\n\nThe user asked for this summary and adds: {wish}"),
        None => String::new(),
    };
    format!(
        "Your window is nearly full. Do not call a tool now. Write a summary that will stand for \
         this whole conversation, so that you can go on with it and nothing else. Under short \
         headings: what the user wants, with every constraint they named; what was done, with the \
         exact paths, names, commands and figures; what was found out and decided, and why; what \
         failed and must not be tried again; what is going on now, and the very next step. Keep \
         ids of processes and of tool calls that are still of use. At most 1,200 words, no \
         introduction.{wish}"
    )
}

/// The mark that keeps `summary`.
#[must_use]
pub fn mark(plan: &Summarise, summary: &str) -> Compaction {
    let text = summary.trim();
    let text = &text[..text.floor_char_boundary(SUMMARY_MAX_BYTES)];
    Compaction {
        method: CompactionMethod::Summary,
        reason: plan.reason,
        through_seq: plan.through_seq,
        summary: text.to_owned(),
        tokens_before: plan.tokens_before,
        tokens_after: plan.tokens_kept + (text.len() as u64).div_ceil(BYTES_PER_TOKEN),
    }
}

/// Most output tokens of a summary.
#[must_use]
pub fn max_output_tokens(of_model: u64) -> u64 {
    of_model.min(4 * SUMMARY_TOKENS)
}

/// What a prompt says for everything that `mark` covers.
#[must_use]
pub fn opening(mark: &Compaction, words: &[&str]) -> Vec<StoredPart> {
    let text = |text: String| StoredPart::from(Part::Text { text });
    let mut parts = vec![text(format!(
        "[The conversation before this was summarised to make room. {READ_RESULT} reads what a tool \
         answered, by its tool_call_id.]\n\n<summary>\n{}\n</summary>",
        mark.summary
    ))];
    if !words.is_empty() {
        parts.push(text("[What the user said before this, word for word:]".to_owned()));
        parts.extend(words.iter().map(|words| text((*words).to_owned())));
    }
    parts
}

/// The newest messages that fit `tokens`; what is before them is said to be missing.
#[must_use]
pub fn cut(messages: Vec<PromptMessage>, tokens: u64) -> Vec<PromptMessage> {
    let room = usize::try_from(tokens.saturating_mul(BYTES_PER_TOKEN)).unwrap_or(usize::MAX);
    let mut bytes = 0;
    let mut first = messages.len();
    for (at, message) in messages.iter().enumerate().rev() {
        bytes += message.parts.iter().map(part_bytes).sum::<usize>();
        if bytes > room {
            break;
        }
        // Results are of no use without their calls.
        if message.role != Role::Tool {
            first = at;
        }
    }
    if first == 0 {
        return messages;
    }
    let note =
        PromptMessage { role: Role::User, parts: vec![Part::Text { text: CUT.into() }.into()] };
    let mut cut = vec![note];
    for message in messages.into_iter().skip(first) {
        match cut.last_mut() {
            Some(last) if last.role == Role::User && message.role == Role::User => {
                last.parts.extend(message.parts);
            }
            _ => cut.push(message),
        }
    }
    cut
}

fn part_bytes(stored: &StoredPart) -> usize {
    serde_json::to_vec(stored).map_or(0, |json| json.len())
}
