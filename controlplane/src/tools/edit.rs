//! `write_file` and `edit_files`: whole files, and replacements in several files, all or nothing.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::limits::{EDIT_FILES_MAX, EDITS_PER_FILE_MAX, WRITE_BYTES_MAX};
use shared::protocol::files::{
    Edit, EditFiles, EditedFile, Expect, FileEdits, FilePath, WriteFile,
};

use super::arguments;
use super::catalogue::{Declaration, ToolKind};
use super::context::{ToolContext, ToolOutcome};
use super::errors::Stop;
use super::text;
use super::workspace::Workspace;

/// Longest run of a write.
const WRITE: Duration = Duration::from_secs(60);
/// Bytes of all diffs of one answer. The whole change is in the workspace.
const DIFFS_MAX_BYTES: usize = 64 * 1024;

pub(super) fn declarations() -> [Declaration; 2] {
    let expect_hash = json!({
        "type": "string",
        "description": "Refuse if the file is not what read_file showed: its hash."
    });
    [
        Declaration {
            name: "write_file",
            kind: ToolKind::Operation,
            description: "Write a whole file in the workspace, new or instead of the old one. Missing \
                directories are made. Prefer edit_files for a change in an existing file.",
            schema: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "minLength": 1, "description": "Relative to the workspace's root." },
                    "content": { "type": "string", "description": "The whole text." },
                    "expect_hash": expect_hash,
                    "create_only": { "type": "boolean", "description": "Refuse if the file exists." }
                },
                "required": ["path", "content"],
                "additionalProperties": false
            }),
            deadline: WRITE,
        },
        Declaration {
            name: "edit_files",
            kind: ToolKind::Operation,
            description: "Replace exact pieces of text in one or more files: all of the edits are made, or \
                none. Each old_text must be in the file exactly once, unless replace_all is set.",
            schema: json!({
                "type": "object",
                "properties": {
                    "files": {
                        "type": "array", "minItems": 1, "maxItems": EDIT_FILES_MAX,
                        "items": {
                            "type": "object",
                            "properties": {
                                "path": { "type": "string", "minLength": 1 },
                                "edits": {
                                    "type": "array", "minItems": 1, "maxItems": EDITS_PER_FILE_MAX,
                                    "items": {
                                        "type": "object",
                                        "properties": {
                                            "old_text": { "type": "string", "minLength": 1 },
                                            "new_text": { "type": "string" },
                                            "replace_all": { "type": "boolean" }
                                        },
                                        "required": ["old_text", "new_text"],
                                        "additionalProperties": false
                                    }
                                },
                                "expect_hash": expect_hash
                            },
                            "required": ["path", "edits"],
                            "additionalProperties": false
                        }
                    }
                },
                "required": ["files"],
                "additionalProperties": false
            }),
            deadline: WRITE,
        },
    ]
}

#[derive(Debug, Deserialize)]
struct WriteArguments {
    path: String,
    content: String,
    expect_hash: Option<String>,
    #[serde(default)]
    create_only: bool,
}

pub(super) async fn write<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    let args: WriteArguments = arguments::parse("write_file", args)?;
    if args.content.len() > WRITE_BYTES_MAX {
        return Err(ToolOutcome::error(
            "file_too_large",
            format!(
                "The content has {} bytes, over the limit of {WRITE_BYTES_MAX}. Nothing was written.",
                args.content.len()
            ),
        )
        .into());
    }
    let expect = match (args.create_only, args.expect_hash) {
        (true, _) => Expect::Absent,
        (false, Some(hash)) => Expect::Hash { hash },
        (false, None) => Expect::Any,
    };
    let body = Bytes::from(args.content);
    let request = WriteFile {
        path: FilePath::from(args.path.as_str()),
        len: body.len() as u64,
        expect,
        mode: None,
    };
    let written = workspace.operate_with_body(&context.operation, &request, body).await?;
    Ok(ToolOutcome::ok(json!({
        "path": written.path.path,
        "created": written.created,
        "size": written.size,
        "hash": written.hash,
    })))
}

#[derive(Debug, Deserialize)]
struct EditArguments {
    files: Vec<FileArguments>,
}

#[derive(Debug, Deserialize)]
struct FileArguments {
    path: String,
    edits: Vec<Edit>,
    expect_hash: Option<String>,
}

pub(super) async fn edit<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    let args: EditArguments = arguments::parse("edit_files", args)?;
    let files = args
        .files
        .into_iter()
        .map(|file| FileEdits {
            path: FilePath::from(file.path.as_str()),
            edits: file.edits,
            expect_hash: file.expect_hash,
        })
        .collect();
    let edited = workspace.operate(&context.operation, &EditFiles { files }).await?;
    Ok(ToolOutcome::ok(json!({ "files": render(&edited.files) })))
}

/// One row per file; the diffs share one budget, the first files first.
fn render(files: &[EditedFile]) -> Vec<Value> {
    let mut budget = DIFFS_MAX_BYTES;
    files
        .iter()
        .map(|file| {
            let diff = text::cut(&file.diff, budget);
            budget = budget.saturating_sub(file.diff.len());
            json!({
                "path": file.path.path,
                "added": file.added,
                "removed": file.removed,
                "hash": file.hash,
                "diff": diff,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diffs_of_one_answer_share_a_budget() {
        let file = |path: &str| EditedFile {
            path: path.into(),
            hash: "b3:1".to_owned(),
            diff: "+".repeat(DIFFS_MAX_BYTES - 10),
            added: 1,
            removed: 0,
        };
        let rows = render(&[file("a"), file("b"), file("c")]);
        let bytes: Vec<usize> =
            rows.iter().filter_map(|row| row["diff"].as_str()).map(str::len).collect();
        assert_eq!(bytes[0], DIFFS_MAX_BYTES - 10);
        assert!(bytes[1] < 64 && bytes[2] < 64, "{bytes:?}");
    }
}
