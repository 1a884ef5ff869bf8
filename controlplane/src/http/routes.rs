//! The table of routes.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Scope, authorize};
use super::edge::edge;
use super::idempotency::idempotent;
use super::{
    api_keys, assets, attachments, chats, docs, enter, files, health, metrics, models, processes,
    providers, ptys, session, settings, stream, usage, workspaces,
};
use crate::app::App;

/// Before anybody has shown who they are.
fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(session::bootstrap))
        .routes(routes!(session::setup))
        .routes(routes!(session::login))
}

/// Needs `read`.
fn reading() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(session::me))
        .routes(routes!(api_keys::list_api_keys))
        .routes(routes!(workspaces::list_workspaces))
        .routes(routes!(workspaces::get_workspace))
        .routes(routes!(processes::list_processes))
        .routes(routes!(processes::get_process))
        .routes(routes!(processes::process_output))
        .routes(routes!(processes::follow_process))
        .routes(routes!(processes::search_output))
        .routes(routes!(ptys::list_ptys))
        .routes(routes!(ptys::get_pty))
        .routes(routes!(ptys::attach_pty))
        .routes(routes!(ptys::pty_screen))
        .routes(routes!(ptys::pty_output))
        .routes(routes!(ptys::search_pty))
        .routes(routes!(ptys::pty_recording))
        .routes(routes!(files::read_file))
        .routes(routes!(files::list_directory))
        .routes(routes!(files::glob_files))
        .routes(routes!(files::search_files))
        .routes(routes!(providers::list_providers))
        .routes(routes!(chats::list_chats))
        .routes(routes!(chats::get_chat))
        .routes(routes!(chats::list_agents))
        .routes(routes!(chats::list_messages))
        .routes(routes!(chats::list_variants))
        .routes(routes!(chats::list_approval_rules))
        .routes(routes!(attachments::list_attachments))
        .routes(routes!(attachments::download_attachment))
        .routes(routes!(chats::list_traces))
        .routes(routes!(chats::sent_request))
        .routes(routes!(usage::usage))
        .routes(routes!(stream::chat_stream))
        .routes(routes!(stream::chat_events))
        .routes(routes!(stream::list_events))
        .routes(routes!(stream::ui_stream))
        .routes(routes!(models::list_models))
        .routes(routes!(settings::get_settings))
}

/// Needs `write`.
fn writing() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(stream::ui_messages))
        .routes(routes!(session::logout))
        .routes(routes!(api_keys::delete_api_key))
        .routes(routes!(processes::signal_process))
        .routes(routes!(processes::write_stdin))
        .routes(routes!(processes::stop_process))
        .routes(routes!(ptys::close_pty))
        .routes(routes!(ptys::write_pty))
        .routes(routes!(files::write_file))
        .routes(routes!(files::delete_file))
        .routes(routes!(files::edit_files))
        .routes(routes!(chats::patch_chat))
        .routes(routes!(chats::archive_chat))
        .routes(routes!(chats::unarchive_chat))
        .routes(routes!(chats::interrupt_chat))
        .routes(routes!(chats::compact_chat))
        .routes(routes!(chats::delete_queued))
        .routes(routes!(chats::promote_queued))
        .routes(routes!(chats::edit_queued))
        .routes(routes!(chats::edit_message))
        .routes(routes!(chats::show_branch))
        .routes(routes!(chats::continue_chat))
        .routes(routes!(chats::reconcile_chat))
        .routes(routes!(chats::decide_approval))
        .routes(routes!(chats::answer_question))
        .routes(routes!(chats::post_tool_results))
        .routes(routes!(chats::delete_approval_rule))
        // Repeated by place, name and bytes: they need no key, and their bodies are not read whole.
        .routes(routes!(attachments::upload_attachment))
        .routes(routes!(attachments::upload_waiting_attachment))
        .routes(routes!(attachments::remove_attachment))
        .routes(routes!(attachments::remove_waiting_attachment))
}

/// Needs `write`, and makes something: honours `Idempotency-Key`.
fn creating() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(api_keys::create_api_key))
        .routes(routes!(processes::start_process))
        .routes(routes!(ptys::open_pty))
        .routes(routes!(chats::create_chat))
        .routes(routes!(chats::send_message))
        .routes(routes!(chats::fork_chat))
}

/// Needs `admin`.
fn administering() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(workspaces::patch_workspace))
        .routes(routes!(workspaces::delete_workspace))
        .routes(routes!(providers::patch_provider))
        .routes(routes!(providers::delete_provider))
        .routes(routes!(providers::test_provider))
        .routes(routes!(models::patch_model))
        .routes(routes!(settings::patch_settings))
        .routes(routes!(models::delete_model))
}

/// Needs `admin`, and makes something: honours `Idempotency-Key`.
fn founding() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(workspaces::create_workspace))
        .routes(routes!(workspaces::create_join_token))
        .routes(routes!(providers::create_provider))
        .routes(routes!(models::create_model))
}

/// Everything, guarded.
pub fn router(app: &App) -> Router {
    let guard = |right| from_fn_with_state((app.clone(), right), authorize);
    let once = || from_fn_with_state(app.clone(), idempotent);
    let api = open()
        .merge(reading().route_layer(guard(Scope::Read)))
        .merge(writing().route_layer(guard(Scope::Write)))
        .merge(creating().route_layer(once()).route_layer(guard(Scope::Write)))
        .merge(administering().route_layer(guard(Scope::Admin)))
        .merge(founding().route_layer(once()).route_layer(guard(Scope::Admin)));
    let (api, _) = api.split_for_parts();
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/enter/{secret}", get(enter::enter))
        .route("/api/openapi.json", get(docs::openapi))
        .route("/api/docs", get(docs::page))
        .route("/api/docs.js", get(docs::script))
        .route("/api/errors/{code}", get(docs::error_page))
        .fallback(assets::fallback)
        .layer(from_fn_with_state(app.clone(), edge))
        .with_state(app.clone())
}

/// The OpenAPI document of the table, as JSON with a final line end. The same for every start.
#[must_use]
pub fn document() -> String {
    let api = open()
        .merge(reading())
        .merge(writing())
        .merge(creating())
        .merge(administering())
        .merge(founding());
    let mut document =
        OpenApiRouter::with_openapi(docs::base()).nest("/api/v1", api).into_openapi();
    docs::add_problems(&mut document);
    document.to_pretty_json().unwrap_or_default() + "\n"
}
