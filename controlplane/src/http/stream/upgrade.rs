//! What a request must look like to become a WebSocket.

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::code::Code;
use crate::http::problem::Problem;

/// The only subprotocol, for clients that must name one.
const SUBPROTOCOL: &str = "holdfast.v1";
/// Clients have next to nothing to say.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;
/// What may wait in the socket's own buffer.
const WRITE_BUFFER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Whether the request wants to become a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// Checks the upgrade.
///
/// # Errors
///
/// 426 when it is none, or of another version; 400 for an unknown subprotocol.
pub async fn upgrade(parts: &mut Parts) -> Result<WebSocketUpgrade, Problem> {
    upgrade_up_to(parts, MESSAGE_MAX_BYTES).await
}

/// As [`upgrade`], for clients that have more to say.
///
/// # Errors
///
/// As there.
pub async fn upgrade_up_to(
    parts: &mut Parts,
    message_max_bytes: usize,
) -> Result<WebSocketUpgrade, Problem> {
    let asked = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = asked.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let has_any = parts.headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if has_any && !names.any(|name| name.trim() == SUBPROTOCOL) {
        let detail = format!("the only subprotocol is {SUBPROTOCOL}; it may be left out");
        return Err(Problem::new(Code::UnsupportedSubprotocol, detail));
    }
    match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => Ok(upgrade
            .protocols([SUBPROTOCOL])
            .max_message_size(message_max_bytes)
            .max_frame_size(message_max_bytes)
            .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)),
        Err(_) => Err(Problem::new(
            Code::UpgradeRequired,
            "send a WebSocket upgrade of version 13, or use the route with server-sent events",
        )
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
    }
}
