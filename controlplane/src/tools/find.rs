//! `list_dir`, `glob`, `search`: finding things in the workspace.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::limits::{LIST_ENTRIES_MAX, PATTERN_MAX_BYTES, SEARCH_MATCHES_MAX};
use shared::protocol::files::{
    DirectoryEntry, DirectoryPage, FilePath, GlobFiles, ListDirectory, SearchFiles, SearchResult,
};

use super::arguments;
use super::catalogue::{Declaration, ToolKind};
use super::context::ToolOutcome;
use super::errors::Stop;
use super::text;
use super::workspace::Workspace;

/// Deadline of a walk; the daemon's own budget is 10 s.
const WALK: Duration = Duration::from_secs(30);
/// Entries of a directory that a model sees at once, unless it asks for more.
const ENTRIES: u32 = 200;
/// Matches that a model sees at once, unless it asks for more.
const MATCHES: u32 = 100;
/// Bytes of a search's text.
const SEARCH_TEXT_BYTES: usize = 32 * 1024;

pub(super) fn declarations() -> [Declaration; 3] {
    let place = json!({
        "type": "string", "description": "Relative to the workspace's root; the root if it is left out."
    });
    [
        Declaration {
            name: "list_dir",
            kind: ToolKind::Read,
            description: "List a directory of the workspace, by name.",
            schema: json!({
                "type": "object",
                "properties": {
                    "path": place,
                    "after": { "type": "string", "description": "Go on after this name." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": LIST_ENTRIES_MAX }
                },
                "additionalProperties": false
            }),
            deadline: WALK,
        },
        Declaration {
            name: "glob",
            kind: ToolKind::Read,
            description: "Find files by a pattern such as `**/*.rs`, newest first. Ignored files are left out.",
            schema: json!({
                "type": "object",
                "properties": {
                    "pattern": { "type": "string", "minLength": 1, "maxLength": PATTERN_MAX_BYTES },
                    "path": place,
                    "limit": { "type": "integer", "minimum": 1, "maximum": LIST_ENTRIES_MAX }
                },
                "required": ["pattern"],
                "additionalProperties": false
            }),
            deadline: WALK,
        },
        Declaration {
            name: "search",
            kind: ToolKind::Read,
            description: "Search the text of files with a regular expression. Ignored files are left out.",
            schema: json!({
                "type": "object",
                "properties": {
                    "pattern": { "type": "string", "minLength": 1, "maxLength": PATTERN_MAX_BYTES },
                    "path": place,
                    "glob": { "type": "string", "description": "Only files that match, such as `*.ts`." },
                    "context": { "type": "integer", "minimum": 0, "maximum": 20, "description": "Lines around a match." },
                    "limit": { "type": "integer", "minimum": 1, "maximum": SEARCH_MATCHES_MAX },
                    "ignore_case": { "type": "boolean" },
                    "literal": { "type": "boolean", "description": "Take the pattern as plain text." }
                },
                "required": ["pattern"],
                "additionalProperties": false
            }),
            deadline: WALK,
        },
    ]
}

#[derive(Debug, Deserialize)]
struct ListArguments {
    path: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list<W: Workspace>(workspace: &W, args: &Value) -> Result<ToolOutcome, Stop> {
    let args: ListArguments = arguments::parse("list_dir", args)?;
    let request = ListDirectory {
        path: place(args.path).unwrap_or_else(|| FilePath::from(".")),
        after: args.after.as_deref().map(FilePath::from),
        limit: Some(args.limit.unwrap_or(ENTRIES)),
    };
    let page = workspace.read(&request, WALK).await?;
    Ok(ToolOutcome::ok(Value::Object(render_page(&page))))
}

#[derive(Debug, Deserialize)]
struct GlobArguments {
    pattern: String,
    path: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn glob<W: Workspace>(workspace: &W, args: &Value) -> Result<ToolOutcome, Stop> {
    let args: GlobArguments = arguments::parse("glob", args)?;
    let request = GlobFiles { pattern: args.pattern, path: place(args.path), limit: args.limit };
    let found = workspace.read(&request, WALK).await?;
    let paths: Vec<&str> = found.paths.iter().map(|path| path.path.as_str()).collect();
    let mut result = Map::new();
    result.insert("paths".to_owned(), json!(paths));
    if found.truncated {
        result.insert("truncated".to_owned(), json!(true));
    }
    Ok(ToolOutcome::ok(Value::Object(result)))
}

#[derive(Debug, Deserialize)]
struct SearchArguments {
    pattern: String,
    path: Option<String>,
    glob: Option<String>,
    #[serde(default)]
    context: u32,
    limit: Option<u32>,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    literal: bool,
}

pub(super) async fn search<W: Workspace>(workspace: &W, args: &Value) -> Result<ToolOutcome, Stop> {
    let args: SearchArguments = arguments::parse("search", args)?;
    let request = SearchFiles {
        pattern: args.pattern,
        literal: args.literal,
        ignore_case: args.ignore_case,
        path: place(args.path),
        glob: args.glob,
        context: args.context,
        limit: Some(args.limit.unwrap_or(MATCHES)),
    };
    let found = workspace.read(&request, WALK).await?;
    Ok(ToolOutcome::ok(render_matches(&found)))
}

fn place(path: Option<String>) -> Option<FilePath> {
    path.filter(|path| !path.is_empty()).map(|path| FilePath::from(path.as_str()))
}

fn render_page(page: &DirectoryPage) -> Map<String, Value> {
    let entries: Vec<Value> = page.entries.iter().map(render_entry).collect();
    let mut result = Map::new();
    result.insert("path".to_owned(), json!(page.path.path));
    if page.more
        && let Some(last) = page.entries.last()
    {
        result.insert("after".to_owned(), json!(last.name.path));
        result.insert("more".to_owned(), json!(true));
    }
    result.insert("entries".to_owned(), Value::Array(entries));
    result
}

fn render_entry(entry: &DirectoryEntry) -> Value {
    let mut row = Map::new();
    row.insert("name".to_owned(), json!(entry.name.path));
    row.insert("kind".to_owned(), json!(entry.kind));
    if entry.kind == "file" {
        row.insert("size".to_owned(), json!(entry.size));
    }
    if let Some(target) = &entry.target {
        row.insert("target".to_owned(), json!(target));
    }
    Value::Object(row)
}

/// One text for all files: path, then `line:` for a match and `line-` for context.
fn render_matches(found: &SearchResult) -> Value {
    let mut output = String::new();
    for file in &found.files {
        // Writing to a string never fails.
        let _ = writeln!(output, "{}", file.path.path);
        let mut last = None;
        for line in &file.lines {
            if last.is_some_and(|last| line.line > last + 1)
                && file.lines.iter().any(|l| !l.is_match)
            {
                output.push_str("--\n");
            }
            let mark = if line.is_match { ':' } else { '-' };
            let _ = writeln!(output, "{}{mark}{}", line.line, line.text);
            last = Some(line.line);
        }
    }
    let omitted = text::cut_lines(&mut output, SEARCH_TEXT_BYTES);
    let mut result = Map::new();
    result.insert("matches".to_owned(), json!(found.matches));
    result.insert("files".to_owned(), json!(found.files.len()));
    result.insert("files_searched".to_owned(), json!(found.files_searched));
    if found.truncated || omitted > 0 {
        result.insert("truncated".to_owned(), json!(true));
        result.insert("note".to_owned(), json!("There is more: narrow the pattern, path or glob."));
    }
    result.insert("output".to_owned(), json!(output));
    Value::Object(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::protocol::files::{FileMatches, MatchLine};

    #[test]
    fn matches_are_grouped_by_file_and_context_is_marked() {
        let line = |line, text: &str, is_match| MatchLine { line, text: text.to_owned(), is_match };
        let found = SearchResult {
            files: vec![FileMatches {
                path: "a.rs".into(),
                lines: vec![
                    line(3, "fn a() {", true),
                    line(4, "}", false),
                    line(9, "fn b()", true),
                ],
            }],
            matches: 2,
            files_searched: 7,
            truncated: false,
        };
        assert_eq!(
            render_matches(&found),
            json!({
                "matches": 2, "files": 1, "files_searched": 7,
                "output": "a.rs\n3:fn a() {\n4-}\n--\n9:fn b()\n",
            })
        );
    }

    #[test]
    fn a_page_that_is_not_the_last_says_after_what_to_go_on() {
        let entry = |name: &str| DirectoryEntry {
            name: name.into(),
            kind: "file".to_owned(),
            size: 1,
            modified_at_ms: 0,
            target: None,
        };
        let page =
            DirectoryPage { path: ".".into(), entries: vec![entry("a"), entry("b")], more: true };
        let result = render_page(&page);
        assert_eq!((&result["after"], &result["more"]), (&json!("b"), &json!(true)));
    }
}
