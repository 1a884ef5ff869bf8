//! The list of tools: what a model is offered, and the one `match` that runs them.

use std::sync::Arc;
use std::time::Duration;

use jsonschema::Validator;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::context::{ToolContext, ToolError, ToolOutcome};
use super::errors::Stop;
use super::workspace::Workspace;
use super::{arguments, edit, execute, find, people, process, read, text};
use crate::llm::ToolSpec;

/// Largest result that is stored, in bytes of JSON.
const RESULT_MAX_BYTES: usize = 1024 * 1024;

/// Whether a tool may change something. Plan mode offers reads alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// Changes nothing.
    Read,
    /// May change something: journalled by the daemon under the intent's operation id.
    Operation,
    /// Runs a command: an operation that the daemon's sandbox can keep from changing anything.
    Command,
    /// Is answered by a person: `ask_user`.
    Question,
    /// Is approved by a person: `propose_plan`.
    Proposal,
    /// Tells people how far the agent is: `update_plan`.
    Progress,
}

impl ToolKind {
    /// Whether it is an operation of the daemon's journal.
    #[must_use]
    pub const fn acts(self) -> bool {
        matches!(self, Self::Operation | Self::Command)
    }
}

/// One tool as its file declares it.
pub(super) struct Declaration {
    pub(super) name: &'static str,
    pub(super) kind: ToolKind,
    pub(super) description: &'static str,
    /// JSON Schema of the arguments, an object.
    pub(super) schema: Value,
    /// Longest run, after which the driver may give up; the body's own waits are shorter.
    pub(super) deadline: Duration,
}

struct Tool {
    spec: ToolSpec,
    kind: ToolKind,
    deadline: Duration,
    validator: Validator,
}

/// Every built-in tool, in the fixed order in which models see them.
pub struct Catalogue {
    tools: Vec<Tool>,
}

impl Catalogue {
    /// Compiles the schemas.
    ///
    /// # Panics
    /// If a schema of this source is not a schema; a test compiles them all.
    #[must_use]
    pub fn new() -> Self {
        let declarations = execute::declarations()
            .into_iter()
            .chain(process::declarations())
            .chain(read::declarations())
            .chain(edit::declarations())
            .chain(find::declarations())
            .chain(people::declarations());
        let tools = declarations
            .map(|declaration| Tool {
                validator: jsonschema::validator_for(&declaration.schema)
                    .expect("the schemas of this source are valid"),
                kind: declaration.kind,
                deadline: declaration.deadline,
                spec: ToolSpec {
                    name: declaration.name.to_owned(),
                    description: declaration.description.to_owned(),
                    schema: Arc::new(declaration.schema),
                },
            })
            .collect();
        Self { tools }
    }

    /// What a model is offered: without a workspace only to ask people; reads alone in plan mode. The order
    /// never changes, so that a provider's prompt cache holds.
    #[must_use]
    pub fn specs(&self, has_workspace: bool, mode: &str) -> Vec<ToolSpec> {
        self.tools
            .iter()
            .filter(|tool| has_workspace || tool.kind == ToolKind::Question)
            .filter(|tool| admits(mode, tool.kind))
            .map(|tool| tool.spec.clone())
            .collect()
    }

    /// Whether the tool may change something; none: there is no such tool.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<ToolKind> {
        self.tool(name).map(|tool| tool.kind)
    }

    /// Longest run of the tool.
    #[must_use]
    pub fn deadline(&self, name: &str) -> Option<Duration> {
        self.tool(name).map(|tool| tool.deadline)
    }

    /// Runs one tool. May be dropped at any await, and run again with the same operation key.
    ///
    /// # Errors
    /// See [`ToolError`]. Everything that the model should read, unknown tools and arguments that
    /// do not fit included, is an outcome.
    pub async fn run<W: Workspace>(
        &self,
        context: ToolContext<W>,
        name: &str,
        args: &Value,
    ) -> Result<ToolOutcome, ToolError> {
        if let Some(refusal) = self.refusal(&context, name, args) {
            return Ok(refusal);
        }
        if self.kind(name).is_some_and(people::is_ours) {
            return Ok(ToolOutcome::ok(people::accepted()));
        }
        let Some(workspace) = context.workspace.clone() else {
            return Ok(no_workspace(name));
        };
        let cancel: CancellationToken = context.cancel.clone();
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(ToolError::Cancelled),
            ended = dispatch(&context, &workspace, name, args) => ended,
        };
        match ended {
            Ok(outcome) => Ok(bounded(outcome)),
            Err(Stop::Answer(outcome)) => Ok(bounded(outcome)),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// What is wrong with arguments, for people; none: the tool takes them.
    #[must_use]
    pub fn problem(&self, name: &str, args: &Value) -> Option<String> {
        let Some(tool) = self.tool(name) else { return Some(format!("no tool {name}")) };
        let outcome = arguments::problem(name, &tool.validator, args)?;
        outcome.result.pointer("/error/message").map(ToString::to_string)
    }

    /// What is wrong with the call itself; none: it may run.
    fn refusal<W>(
        &self,
        context: &ToolContext<W>,
        name: &str,
        args: &Value,
    ) -> Option<ToolOutcome> {
        let Some(tool) = self.tool(name) else {
            let names: Vec<&str> = self.tools.iter().map(|tool| tool.spec.name.as_str()).collect();
            return Some(ToolOutcome::error(
                "unknown_tool",
                format!(
                    "There is no tool `{}`. The tools are: {}.",
                    text::cut(name, 64),
                    names.join(", ")
                ),
            ));
        };
        if context.workspace.is_none() && tool.kind != ToolKind::Question {
            return Some(no_workspace(name));
        }
        if !admits(&context.mode, tool.kind) {
            return Some(ToolOutcome::error(
                "not_in_this_mode",
                format!(
                    "`{name}` does not belong to {} mode, in which the chat is. Nothing was done. \
                     Describe what you would do instead.",
                    text::cut(&context.mode, 32)
                ),
            ));
        }
        arguments::problem(name, &tool.validator, args)
    }

    fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.spec.name == name)
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new()
    }
}

/// The allow-list of the modes: what only reads is allowed in all of them, and a command runs in a
/// sandbox in plan mode.
fn admits(mode: &str, kind: ToolKind) -> bool {
    match kind {
        ToolKind::Read => true,
        // An agent that explores asks nobody; its commands run in the sandbox of plan mode.
        ToolKind::Question => mode != "explore",
        ToolKind::Command => matches!(mode, "ask" | "plan" | "explore" | "edit" | "auto"),
        ToolKind::Proposal => mode == "plan",
        ToolKind::Progress => !matches!(mode, "plan" | "explore"),
        ToolKind::Operation => matches!(mode, "ask" | "edit" | "auto"),
    }
}

fn no_workspace(name: &str) -> ToolOutcome {
    ToolOutcome::error(
        "no_workspace",
        format!("`{}` needs a workspace, and this chat has none.", text::cut(name, 64)),
    )
}

async fn dispatch<W: Workspace>(
    context: &ToolContext<W>,
    workspace: &W,
    name: &str,
    args: &Value,
) -> Result<ToolOutcome, Stop> {
    match name {
        "execute" => execute::run(context, workspace, args).await,
        "process_output" => process::output(context, workspace, args).await,
        "process_input" => process::input(context, workspace, args).await,
        "process_list" => process::list(context, workspace, args).await,
        "process_signal" => process::signal(context, workspace, args).await,
        "read_file" => read::run(workspace, args).await,
        "write_file" => edit::write(context, workspace, args).await,
        "edit_files" => edit::edit(context, workspace, args).await,
        "list_dir" => find::list(workspace, args).await,
        "glob" => find::glob(workspace, args).await,
        "search" => find::search(workspace, args).await,
        _ => Err(Stop::Answer(ToolOutcome::error("unknown_tool", "There is no such tool."))),
    }
}

/// Every body cuts its own text; this holds what a daemon might send all the same.
fn bounded(outcome: ToolOutcome) -> ToolOutcome {
    let bytes = outcome.result.to_string().len();
    if bytes <= RESULT_MAX_BYTES {
        return outcome;
    }
    ToolOutcome {
        process_ids: outcome.process_ids,
        ..ToolOutcome::error(
            "result_too_large",
            format!(
                "The result has {bytes} bytes, over the limit of {RESULT_MAX_BYTES}. Ask for less."
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_stand_in_a_fixed_order() {
        let names: Vec<String> =
            Catalogue::new().specs(true, "auto").into_iter().map(|spec| spec.name).collect();
        assert_eq!(
            names,
            [
                "execute",
                "process_output",
                "process_input",
                "process_list",
                "process_signal",
                "read_file",
                "write_file",
                "edit_files",
                "list_dir",
                "glob",
                "search",
                "ask_user",
                "update_plan",
            ]
        );
    }

    #[test]
    fn plan_mode_offers_only_what_reads() {
        let names: Vec<String> =
            Catalogue::new().specs(true, "plan").into_iter().map(|spec| spec.name).collect();
        assert_eq!(
            names,
            [
                "execute",
                "process_output",
                "process_list",
                "read_file",
                "list_dir",
                "glob",
                "search",
                "ask_user",
                "propose_plan",
            ]
        );
    }

    #[test]
    fn a_chat_without_a_workspace_can_only_ask() {
        let specs = Catalogue::new().specs(false, "auto");
        assert_eq!(specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["ask_user"]);
    }
}
