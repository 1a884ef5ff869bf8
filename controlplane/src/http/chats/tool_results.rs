//! `POST /api/v1/chats/{id}/tool-results`, and the tools that a client declares.

use axum::extract::State;
use serde_json::Value;
use shared::ids::ChatId;

use super::view::{ChatView, now};
use crate::app::App;
use crate::chat::content::ClientTool;
use crate::http::auth::Caller;
use crate::http::code::Code;
use crate::http::json::{Json, body};
use crate::http::problem::Problem;
use crate::http::query::Path;
use crate::tools::is_schema;

/// Tools that one client may declare.
const TOOLS_MAX: usize = 250;
/// Name, description and schema of all of them together, in bytes.
const TOOLS_MAX_BYTES: usize = 256 * 1024;
/// One result, in bytes of JSON.
const RESULT_MAX_BYTES: usize = 1024 * 1024;

body! {
    /// What one of the client's tools said.
    pub struct ToolResultBody {
        /// The call.
        pub tool_call_id: String,
        /// Any JSON.
        #[schema(value_type = Object)]
        pub output: Value,
        /// Whether it went wrong.
        pub is_error: Option<bool>,
    }
}

body! {
    /// What the client's tools said.
    pub struct ToolResultsBody {
        /// One for each call that waits for the client, all together.
        pub results: Vec<ToolResultBody>,
    }
}

body! {
    /// A tool that the client runs itself.
    pub struct ClientToolBody {
        /// Letters, digits, `_` and `-`, at most 64. A built-in tool of this name wins.
        pub name: String,
        /// What the model is told.
        pub description: String,
        /// JSON Schema of the arguments, an object.
        #[schema(value_type = Object)]
        pub input_schema: Value,
    }
}

/// Takes the results of the client's tools: all and only those that wait.
///
/// 409 `client_result_unexpected`, `client_result_missing`, `action_resolved`; 400
/// `client_result_duplicate`.
#[utoipa::path(post, path = "/chats/{id}/tool-results", tag = "chats",
    params(("id" = String, Path,)), request_body = ToolResultsBody,
    responses((status = 200, body = ChatView)))]
pub async fn post_tool_results(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<ChatId>,
    Json(body): Json<ToolResultsBody>,
) -> Result<axum::Json<ChatView>, Problem> {
    let mut results = Vec::with_capacity(body.results.len());
    for (at, result) in body.results.into_iter().enumerate() {
        if result.output.to_string().len() > RESULT_MAX_BYTES {
            let detail = format!("at most {RESULT_MAX_BYTES} bytes of JSON");
            let pointer = format!("/results/{at}/output");
            return Err(Problem::of_field(Code::InvalidValue, &pointer, detail));
        }
        results.push((result.tool_call_id, result.output, result.is_error.unwrap_or(false)));
    }
    app.chats.client_results(caller.user_id, id, results).await?;
    Ok(axum::Json(now(&app, caller.user_id, id).await?))
}

/// Checks what a client declares.
///
/// # Errors
///
/// With the place of the first tool that is not one.
pub(super) fn client_tools(declared: Vec<ClientToolBody>) -> Result<Vec<ClientTool>, Problem> {
    if declared.len() > TOOLS_MAX {
        let detail = format!("at most {TOOLS_MAX} tools");
        return Err(Problem::of_field(Code::TooManyItems, "/tools", detail));
    }
    let bytes: usize = declared
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.input_schema.to_string().len())
        .sum();
    if bytes > TOOLS_MAX_BYTES {
        let detail = format!("the tools have {bytes} bytes; the limit is {TOOLS_MAX_BYTES}");
        return Err(Problem::of_field(Code::InvalidValue, "/tools", detail));
    }
    let mut tools: Vec<ClientTool> = Vec::with_capacity(declared.len());
    for (at, tool) in declared.into_iter().enumerate() {
        let wrong = |field: &str, detail: &str| {
            Problem::of_field(Code::InvalidValue, &format!("/tools/{at}/{field}"), detail)
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.chars().all(fits) {
            return Err(wrong("name", "1 to 64 letters, digits, _ and - are due"));
        }
        if tools.iter().any(|known| known.name == tool.name) {
            return Err(wrong("name", "two tools have this name"));
        }
        if !is_schema(&tool.input_schema) {
            return Err(wrong("input_schema", "a JSON Schema of an object is due"));
        }
        let ClientToolBody { name, description, input_schema } = tool;
        tools.push(ClientTool { name, description, input_schema });
    }
    Ok(tools)
}
