//! B17 and B18: bytes below and beside HTTP.

use super::rows::Rows;
use super::world::World;

#[tokio::test]
async fn b17_requests_that_two_programs_could_read_differently_end_the_connection() {
    let world = World::new().await;
    let mut rows = Rows::default();
    let host = format!("Host: {}\r\n", world.address());
    let long = format!("GET /healthz HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1_000_000));
    let many = format!("GET /healthz HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(10_000));
    let cases = [
        (
            "B17 length and encoding",
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "B17 encoding and length",
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "B17 two lengths",
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        ),
        ("B17 bare line feeds", format!("GET /healthz HTTP/1.1\n{}\n\n", host.trim_end())),
        ("B17 folded line", format!("GET /healthz HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n")),
        ("B17 space before the colon", format!("GET /healthz HTTP/1.1\r\n{host}X : a\r\n\r\n")),
        ("B17 header of 1 MB", long),
        ("B17 10,000 headers", many),
        ("B17 no HTTP at all", "\u{16}\u{3}\u{1}hello\r\n\r\n".to_owned()),
    ];
    for (row, text) in cases {
        let answer = world.raw(text.as_bytes()).await;
        let refused = matches!(answer.status, 400 | 431) && answer.closes();
        rows.fact(row, refused, &answer.head);
    }
    let two = format!("GET /healthz HTTP/1.1\r\n{host}\r\n").repeat(2);
    rows.fact("B17 sound requests go on", world.raw(two.as_bytes()).await.status == 200, "");
    rows.report("B17");
    world.end().await;
}

#[tokio::test]
async fn b18_odd_methods_and_paths_reach_nothing() {
    let world = World::new().await;
    let mut rows = Rows::default();
    for method in ["TRACE", "OPTIONS", "PROPFIND", "WHATEVER"] {
        for path in ["/api/v1/me", "/", "/healthz"] {
            let answer = world.send(method, path, "", b"").await;
            rows.problem(&format!("B18 {method} {path}"), &answer, 405, "method_not_allowed");
            rows.fact("B18 allow", answer.header("allow").is_some(), &answer.head);
        }
    }
    let answer = world.send("DELETE", "/api/v1/me", &world.bearer(), b"").await;
    rows.problem("B18 other method of a route", &answer, 405, "method_not_allowed");
    let answer = world.send("POST", "/", "", b"").await;
    rows.problem("B18 POST of a page", &answer, 405, "method_not_allowed");
    for path in [
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/assets/%00",
        "//etc/passwd",
        "/assets/..\\..\\Cargo.toml",
        "/assets/../index.html",
        "/Cargo.toml",
    ] {
        let answer = world.send("GET", path, "", b"").await;
        rows.problem(&format!("B18 {path}"), &answer, 404, "not_found");
    }
    rows.problem("B18 no such route", &world.get("/nothing").await, 404, "not_found");
    rows.report("B18");
    world.end().await;
}
