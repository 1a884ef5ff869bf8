//! `read_file`: lines with their numbers, never an error for size.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::limits::READ_LINES_MAX;
use shared::protocol::files::{FilePath, Lines, ReadLines};

use super::arguments;
use super::catalogue::{Declaration, ToolKind};
use super::context::ToolOutcome;
use super::errors::Stop;
use super::workspace::Workspace;

/// Deadline of a read.
const LOOK: Duration = Duration::from_secs(30);

pub(super) fn declarations() -> [Declaration; 1] {
    [Declaration {
        name: "read_file",
        kind: ToolKind::Read,
        description: "Read a text file of the workspace: each line with its number and a tab before it. \
            A long file comes in part; go on with offset = next. `hash` names the content for edit_files.",
        schema: json!({
            "type": "object",
            "properties": {
                "path": { "type": "string", "minLength": 1, "description": "Relative to the workspace's root." },
                "offset": { "type": "integer", "minimum": 1, "description": "First line, from 1." },
                "limit": { "type": "integer", "minimum": 1, "maximum": READ_LINES_MAX, "description": "Most lines." }
            },
            "required": ["path"],
            "additionalProperties": false
        }),
        deadline: LOOK,
    }]
}

#[derive(Debug, Deserialize)]
struct Arguments {
    path: String,
    offset: Option<u64>,
    limit: Option<u64>,
}

pub(super) async fn run<W: Workspace>(workspace: &W, args: &Value) -> Result<ToolOutcome, Stop> {
    let args: Arguments = arguments::parse("read_file", args)?;
    let path = FilePath::from(args.path.as_str());
    let read = ReadLines { path, line: args.offset, limit: args.limit };
    let lines = workspace.read(&read, LOOK).await?;
    Ok(ToolOutcome::ok(Value::Object(render(&lines))))
}

/// The answer as the model reads it. Fields that say nothing are left out.
fn render(lines: &Lines) -> Map<String, Value> {
    let mut content = String::new();
    for (line, number) in lines.lines.iter().zip(lines.first_line..) {
        // Writing to a string never fails.
        let _ = writeln!(content, "{number:>6}\t{line}");
    }
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| result.insert(name.to_owned(), value);
    put("path", json!(lines.path.path));
    put("content", json!(content));
    put("size", json!(lines.size));
    if let Some(total) = lines.total_lines {
        put("total_lines", json!(total));
    }
    if let Some(hash) = &lines.hash {
        put("hash", json!(hash));
    }
    if let Some(next) = lines.next_line {
        put("next", json!(next));
    }
    if lines.lines.is_empty() {
        put("note", json!("The file is empty."));
    }
    if lines.lines_cut > 0 {
        put("lines_cut", json!(lines.lines_cut));
    }
    if lines.changed_during_read {
        put("changed_during_read", json!(true));
    }
    if lines.encoding != "utf-8" {
        put("encoding", json!(lines.encoding));
    }
    if !matches!(lines.line_ending.as_str(), "lf" | "none") {
        put("line_ending", json!(lines.line_ending));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str], first_line: u64, next_line: Option<u64>) -> Lines {
        Lines {
            path: "src/lib.rs".into(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            first_line,
            next_line,
            total_lines: Some(12),
            size: 345,
            hash: Some("b3:00".to_owned()),
            lines_cut: 0,
            changed_during_read: false,
            encoding: "utf-8".to_owned(),
            line_ending: "lf".to_owned(),
        }
    }

    #[test]
    fn lines_carry_their_numbers_and_a_part_says_where_to_go_on() {
        let result = render(&lines(&["fn main() {", "}"], 9, Some(11)));
        assert_eq!(
            Value::Object(result),
            json!({
                "path": "src/lib.rs",
                "content": "     9\tfn main() {\n    10\t}\n",
                "size": 345,
                "total_lines": 12,
                "hash": "b3:00",
                "next": 11,
            })
        );
    }

    #[test]
    fn an_empty_file_says_so() {
        let result = render(&Lines { total_lines: Some(0), size: 0, ..lines(&[], 1, None) });
        assert_eq!(result["note"], "The file is empty.");
    }
}
