//! Figures for Prometheus, written by hand: few, bounded labels, base units.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;

/// Counts of answered requests. Labels are the method's name and the status's class, so the table
/// has at most a few dozen rows.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl HttpMetrics {
    /// Counts one answer.
    pub fn count(&self, method: &Method, status: StatusCode) {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((method, status.as_u16() / 100)).or_default() += 1;
    }

    fn rows(&self) -> Vec<((&'static str, u16), u64)> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().map(|(labels, count)| (*labels, *count)).collect()
    }
}

/// `GET /metrics`: figures in Prometheus's text format. Names nobody and nothing.
pub async fn metrics(State(app): State<App>) -> Response {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let build = [(format!("{{version=\"{version}\"}}"), 1)];
    family("holdfast_build_info", "gauge", "The running version.", &build);

    let connected = u64::try_from(app.fleet.connected_count()).unwrap_or(u64::MAX);
    let help = "Workspaces whose daemon is connected to this replica.";
    family("holdfast_workspaces_connected", "gauge", help, &[(String::new(), connected)]);

    if let Ok(counts) = app.store.chats.count_by_status().await {
        let row = |(status, count): (String, i64)| {
            (format!("{{status=\"{status}\"}}"), count.unsigned_abs())
        };
        let rows: Vec<_> = counts.into_iter().map(row).collect();
        family("holdfast_chats", "gauge", "Chats that are not archived.", &rows);
    }
    let help = "Spans that were not kept because the database was behind.";
    let dropped = [(String::new(), app.recorder.dropped())];
    family("holdfast_trace_spans_dropped_total", "counter", help, &dropped);
    let rows: Vec<_> = app
        .http
        .metrics
        .rows()
        .into_iter()
        .map(|((method, class), count)| {
            (format!("{{method=\"{method}\",status=\"{class}xx\"}}"), count)
        })
        .collect();
    family("holdfast_http_requests_total", "counter", "Answered requests.", &rows);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
