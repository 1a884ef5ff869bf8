//! What the server says about itself: the OpenAPI document, a page that shows it, the error pages.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use utoipa::OpenApi;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use super::problem::{FieldError, Problem, ProblemView};
use super::ptys::PtySaid;
use super::query::Path;
use crate::app::App;
use crate::chat::event::Envelope;

#[derive(RustEmbed)]
#[folder = "../docs/errors"]
#[allow_missing = true]
struct ErrorPages;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        description = "Run AI coding agents on your own devboxes, and never lose their work.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Envelope, PtySaid, ProblemView<'static>, FieldError)),
    modifiers(&Credentials),
)]
struct Document;

struct Credentials;

impl utoipa::Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme,
        };
        let components = document.components.get_or_insert_default();
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hf_…").build();
        components.add_security_scheme("api_key", SecurityScheme::Http(key));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("__Host-holdfast"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// The document before the routes are added.
#[must_use]
pub fn base() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Adds to every operation that any error is a problem.
pub fn add_problems(document: &mut utoipa::openapi::OpenApi) {
    let content = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name("ProblemView"))))
        .build();
    let response = ResponseBuilder::new()
        .description("Anything else: a problem with a stable `code`")
        .content("application/problem+json", content)
        .build();
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), RefOr::T(response.clone()));
        }
    }
}

/// `GET /api/openapi.json`.
pub async fn openapi(State(app): State<App>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, app.http.document.clone()).into_response()
}

/// `GET /api/docs`.
pub async fn page() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (kind, include_str!("docs_page.html")).into_response()
}

/// `GET /api/docs.js`.
pub async fn script() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (kind, include_str!("docs_page.js")).into_response()
}

/// `GET /api/errors/{code}`: the page of a code, in Markdown. It is the `type` of every problem.
pub async fn error_page(Path(code): Path<String>) -> Response {
    let is_code = code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match ErrorPages::get(&format!("{code}.md")).filter(|_| is_code) {
        Some(file) => {
            let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
            (kind, file.data.into_owned()).into_response()
        }
        None => Problem::not_found().into_response(),
    }
}
