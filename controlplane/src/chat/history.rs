//! The prompt's messages from the stored ones. Pure, and byte-stable: the same history yields the
//! same messages, and a longer one begins with them, so that a provider's cache holds.
//!
//! What holds afterwards, whatever was stored: every tool call is followed at once by its results,
//! in the order of the calls, one each; no result stands alone; no message is empty; provider
//! blocks go only to the provider kind they came from.

use serde_json::{Value, json};

use super::content::{Part, Role, StoredPart};
use super::context::files::LeftOut;
use super::context::marks::{Marks, mark};
use super::context::repair::missing;
use super::context::{Dialect, files, repair, stub, summary, words};
use super::edit_check::{self, is_check};
use super::family;
use crate::llm::{PromptMessage, file_budget};
use crate::store::chats::MessageRow;

/// Most of a tool's result that a model is shown, in bytes of JSON.
pub(in crate::chat) const RESULT_SHOWN_BYTES: usize = 64 * 1024;
/// A context window's tokens are about this many bytes each.
const BYTES_PER_TOKEN: u64 = 4;

/// Whom the messages are for.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The provider's kind: its own `raw` blocks go back to it unchanged.
    pub kind: &'a str,
    /// The provider's name of the model; it decides which files are shown.
    pub model: &'a str,
    /// The model's window in tokens; none: unknown.
    pub context_limit: Option<u64>,
}

/// The history as the model gets it.
#[must_use]
pub fn messages(history: &[MessageRow], reader: Reader<'_>) -> Vec<PromptMessage> {
    let marks = Marks::of(history);
    shown(history, marks, reader)
}

/// The history with every long output of a tool and every attached file as a stub, for a prompt that must be small.
#[must_use]
pub fn messages_pruned(history: &[MessageRow], reader: Reader<'_>) -> Vec<PromptMessage> {
    let marks = Marks { pruned_through: i64::MAX, ..Marks::of(history) };
    shown(history, marks, reader)
}

fn shown(history: &[MessageRow], marks: Marks<'_>, reader: Reader<'_>) -> Vec<PromptMessage> {
    let covered = marks.covered_through();
    let is_shown = |row: &&MessageRow| !row.removed && row.seq > covered && mark(row).is_none();
    let rows: Vec<&MessageRow> = history.iter().filter(is_shown).collect();
    let budget = file_budget(reader.kind, reader.model);
    let left_out = LeftOut::of(rows.iter().copied(), marks, budget, reader.context_limit);
    let mut prompt = Vec::with_capacity(rows.len() + 1);
    if let Some(mark) = marks.summary {
        let opening = summary::opening(mark, &words::kept(history, covered));
        push(&mut prompt, Role::User, opening);
    }
    for (at, row) in rows.iter().enumerate() {
        match row.role {
            Role::User => {
                let parts = row.content.iter().enumerate().filter_map(|(at, stored)| {
                    match (&stored.part, left_out.why(row.seq, at)) {
                        (Part::File { file }, Some(why)) => {
                            Some(Part::Text { text: files::stub(file, why) }.into())
                        }
                        (Part::File { .. }, None) => Some(stored.clone()),
                        _ => said(row, stored, reader),
                    }
                });
                push(&mut prompt, Role::User, parts.collect());
            }
            Role::Assistant if is_check(row) => {
                let pruned = row.seq <= marks.pruned_through;
                let found = rows[at + 1..].first().filter(|row| row.role == Role::Tool);
                let result = found.and_then(|row| row.content.first());
                let text = edit_check::told(row, result.map(|stored| &stored.part), !pruned);
                let told = text.map(|text| Part::Text { text }.into());
                push(&mut prompt, Role::User, told.into_iter().collect());
            }
            Role::Assistant => {
                let parts: Vec<StoredPart> =
                    row.content.iter().filter_map(|stored| said(row, stored, reader)).collect();
                let results = results_of(&parts, &rows[at + 1..], marks, reader);
                push(&mut prompt, Role::Assistant, parts);
                push(&mut prompt, Role::Tool, results);
                push(&mut prompt, Role::User, remarks(row));
            }
            // Taken along with the message that asked for them.
            Role::Tool => {}
        }
    }
    repair(prompt, Dialect::of(reader.kind))
}

fn push(prompt: &mut Vec<PromptMessage>, role: Role, parts: Vec<StoredPart>) {
    if parts.is_empty() {
        return;
    }
    match prompt.last_mut() {
        // A remark and what the user says after it are one message.
        Some(last) if last.role == role && role == Role::User => last.parts.extend(parts),
        _ => prompt.push(PromptMessage { role, parts }),
    }
}

/// A part of a user's or a model's message as this reader gets it; none: not at all.
fn said(row: &MessageRow, stored: &StoredPart, reader: Reader<'_>) -> Option<StoredPart> {
    let own = row.raw_kind.as_deref() == Some(reader.kind);
    if own && stored.raw.is_some() {
        return Some(stored.clone());
    }
    let part = match &stored.part {
        Part::Text { text } if !text.trim().is_empty() => stored.part.clone(),
        Part::ToolCall { tool_call_id, name, args } => Part::ToolCall {
            tool_call_id: tool_call_id.clone(),
            name: name.clone(),
            // Providers want an object back, also where the model did not write one.
            args: if args.is_object() { args.clone() } else { json!({ "invalid": args }) },
        },
        // Thinking without its signature is of no use to any provider.
        Part::AgentReport { agent_id, title, outcome, text } => {
            Part::Text { text: family::told(*agent_id, title, *outcome, text) }
        }
        Part::File { file } => Part::Text { text: files::note(file) },
        Part::Text { .. } | Part::Reasoning { .. } => return None,
        Part::ToolResult { .. } | Part::Notice { .. } | Part::Compaction { .. } => return None,
    };
    Some(part.into())
}

/// One result for each call in `parts`: what was stored before the model spoke again, or an error.
fn results_of(
    parts: &[StoredPart],
    after: &[&MessageRow],
    marks: Marks<'_>,
    reader: Reader<'_>,
) -> Vec<StoredPart> {
    let stored: Vec<(&Part, bool)> = after
        .iter()
        .take_while(|row| row.role != Role::Assistant)
        .filter(|row| row.role == Role::Tool)
        .flat_map(|row| {
            let pruned = row.seq <= marks.pruned_through;
            row.content.iter().map(move |stored| (&stored.part, pruned))
        })
        .collect();
    let calls = parts.iter().filter_map(|stored| match &stored.part {
        Part::ToolCall { tool_call_id, name, .. } => Some((tool_call_id, name)),
        _ => None,
    });
    calls
        .map(|(id, name)| {
            let found = stored.iter().find(|(part, _)| {
                matches!(part, Part::ToolResult { tool_call_id, .. } if tool_call_id == id)
            });
            match found {
                Some((part, pruned)) => result(part, *pruned, reader).into(),
                None => missing(id, name).into(),
            }
        })
        .collect()
}

/// A result within what the model may be shown.
fn result(part: &Part, pruned: bool, reader: Reader<'_>) -> Part {
    let mut part = part.clone();
    if let Part::ToolResult { tool_call_id, result, duration_ms, .. } = &mut part {
        // Not for the model, and nothing that should differ between two equal histories.
        *duration_ms = 0;
        if pruned && let Some(stub) = stub::stub(tool_call_id, &result_text(result)) {
            *result = Value::String(stub);
            return part;
        }
        let half = reader.context_limit.map_or(u64::MAX, |tokens| tokens * BYTES_PER_TOKEN / 2);
        let limit = RESULT_SHOWN_BYTES.min(usize::try_from(half).unwrap_or(usize::MAX)).max(1_024);
        let text = result_text(result);
        if text.len() > limit {
            *result = Value::String(head_and_tail(&text, limit));
        }
    }
    part
}

/// Bytes of a result as a model would see it whole, about.
pub(in crate::chat) fn result_bytes(result: &Value) -> usize {
    match result {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    }
}

fn result_text(result: &Value) -> std::borrow::Cow<'_, str> {
    match result {
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

/// The first two thirds and the last third of `limit` bytes, and how much is between.
fn head_and_tail(text: &str, limit: usize) -> String {
    let head = &text[..text.floor_char_boundary(limit / 3 * 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - limit / 3)..];
    let between = text.len() - head.len() - tail.len();
    format!("{head}\n[{between} bytes left out]\n{tail}")
}

/// What the system remarked in a model's message, as far as the model should know.
fn remarks(row: &MessageRow) -> Vec<StoredPart> {
    row.content
        .iter()
        .filter_map(|stored| match &stored.part {
            Part::Notice { code, text } if code == "interrupted" || code == "outcome_unknown" => {
                Some(Part::Text { text: format!("[{text}]") }.into())
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    const READER: Reader<'_> = Reader { kind: "anthropic", model: "m", context_limit: None };

    fn row(role: Role, content: Vec<StoredPart>) -> MessageRow {
        let ids: &dyn IdSource = &CountingIds::default();
        MessageRow {
            id: ids.id(),
            chat_id: ids.id(),
            seq: 0,
            revision: 0,
            role,
            content,
            raw_kind: None,
            model: None,
            usage: None,
            removed: false,
            parent_id: None,
            fork_id: None,
            variant: 1,
            variants: 1,
            label: None,
            created_at_ms: 0,
        }
    }

    fn text(text: &str) -> StoredPart {
        Part::Text { text: text.to_owned() }.into()
    }

    fn call(id: &str) -> StoredPart {
        let args = json!({"command": "ls"});
        Part::ToolCall { tool_call_id: id.into(), name: "execute".into(), args }.into()
    }

    fn result(id: &str, result: Value) -> StoredPart {
        Part::ToolResult {
            tool_call_id: id.into(),
            name: "execute".into(),
            result,
            is_error: false,
            duration_ms: 7,
        }
        .into()
    }

    fn plain(prompt: &[PromptMessage]) -> Value {
        prompt
            .iter()
            .map(|message| {
                let parts: Vec<&Part> = message.parts.iter().map(|stored| &stored.part).collect();
                json!([message.role, parts])
            })
            .collect()
    }

    #[test]
    fn every_call_is_followed_by_its_results_in_call_order() {
        let history = [
            row(Role::User, vec![text("go")]),
            row(Role::Assistant, vec![call("b"), call("a"), call("lost")]),
            row(Role::Tool, vec![result("a", json!(1)), result("b", json!(2))]),
            row(Role::User, vec![text("and?")]),
        ];
        let prompt = messages(&history, READER);
        let ids: Vec<&str> =
            prompt[2].parts.iter().filter_map(|stored| stored.part.tool_call_id()).collect();
        assert_eq!(ids, ["b", "a", "lost"]);
        assert!(matches!(&prompt[2].parts[2].part, Part::ToolResult { is_error: true, .. }));
        assert_eq!(prompt[3].role, Role::User);
    }

    #[test]
    fn a_repeated_call_id_gets_the_result_of_its_own_step() {
        let history = [
            row(Role::User, vec![text("go")]),
            row(Role::Assistant, vec![call("call_0")]),
            row(Role::Tool, vec![result("call_0", json!("first"))]),
            row(Role::Assistant, vec![call("call_0")]),
            row(Role::Tool, vec![result("call_0", json!("second"))]),
        ];
        let prompt = messages(&history, READER);
        let results: Vec<&Part> = [2, 4].map(|at: usize| &prompt[at].parts[0].part).into();
        assert!(matches!(results[0], Part::ToolResult { result, .. } if result == "first"));
        assert!(matches!(results[1], Part::ToolResult { result, .. } if result == "second"));
    }

    #[test]
    fn a_result_without_a_call_and_an_empty_message_are_left_out() {
        let history = [
            row(Role::User, vec![text("go")]),
            row(Role::Tool, vec![result("orphan", json!(1))]),
            row(Role::Assistant, vec![text(" \n")]),
        ];
        assert_eq!(messages(&history, READER).len(), 1);
    }

    #[test]
    fn raw_blocks_go_only_to_their_own_kind() {
        let stored = StoredPart {
            part: Part::Reasoning { text: "hm".into() },
            raw: crate::llm::raw(r#"{"signature":"x"}"#.into()),
        };
        let mut answer = row(Role::Assistant, vec![stored, text("yes")]);
        answer.raw_kind = Some("anthropic".into());
        let asked = row(Role::User, vec![text("go")]);
        let history = [asked, answer];
        let own = messages(&history, READER);
        assert!(own[1].parts[0].raw.is_some());
        let other = messages(&history, Reader { kind: "openai", ..READER });
        assert_eq!(plain(&other[1..]), json!([["assistant", [{"type": "text", "text": "yes"}]]]));
    }

    #[test]
    fn an_interruption_is_told_with_the_users_next_words() {
        let notice = Part::Notice { code: "interrupted".into(), text: "stopped".into() };
        let history = [
            row(Role::User, vec![text("go")]),
            row(Role::Assistant, vec![text("I"), notice.into()]),
            row(Role::User, vec![text("now this")]),
        ];
        assert_eq!(
            plain(&messages(&history, READER)),
            json!([
                ["user", [{"type": "text", "text": "go"}]],
                ["assistant", [{"type": "text", "text": "I"}]],
                ["user", [{"type": "text", "text": "[stopped]"}, {"type": "text", "text": "now this"}]],
            ])
        );
    }

    #[test]
    fn a_long_result_is_cut_in_its_middle_and_fits_half_a_small_window() {
        let long = "é".repeat(100_000);
        let history = [
            row(Role::User, vec![text("go")]),
            row(Role::Assistant, vec![call("a")]),
            row(Role::Tool, vec![result("a", json!(long))]),
        ];
        for (context_limit, limit) in [(None, RESULT_SHOWN_BYTES), (Some(4_000), 8_000)] {
            let prompt = messages(&history, Reader { context_limit, ..READER });
            let Part::ToolResult { result: Value::String(text), .. } = &prompt[2].parts[0].part
            else {
                panic!("a cut result is a text")
            };
            assert!(text.len() <= limit + 40 && text.contains("bytes left out"), "{}", text.len());
        }
    }

    #[test]
    fn a_longer_history_begins_with_the_shorter_ones_prompt() {
        let history = [
            row(Role::User, vec![text("go")]),
            row(Role::Assistant, vec![text("I look"), call("a")]),
            row(Role::Tool, vec![result("a", json!({"out": "x"}))]),
            row(Role::Assistant, vec![text("done")]),
            row(Role::User, vec![text("more")]),
        ];
        let whole = plain(&messages(&history, READER));
        for (length, messages_in_prompt) in [(1, 1), (3, 3), (4, 4)] {
            let part = plain(&messages(&history[..length], READER));
            assert_eq!(
                part.as_array().unwrap()[..],
                whole.as_array().unwrap()[..messages_in_prompt]
            );
        }
    }
}
