//! The generated documents: the API's, and a page for every code.

use std::collections::BTreeSet;
use std::path::Path;

use controlplane::http::code::Code;
use controlplane::llm::ProviderErrorKind;
use shared::protocol::ErrorCode;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_committed_api_document_is_the_codes() {
    let committed = std::fs::read_to_string(root().join("docs/api.json")).unwrap();
    assert!(
        committed == controlplane::http::document(),
        "docs/api.json is stale: cargo run -p controlplane -- openapi > docs/api.json"
    );
}

#[test]
fn closed_lists_are_told_as_they_are_on_the_wire_and_not_as_in_the_code() {
    let document = controlplane::http::document();
    let mut open: Vec<serde_json::Value> = vec![serde_json::from_str(&document).unwrap()];
    let mut lists = 0;
    while let Some(value) = open.pop() {
        if let Some(texts) = value.get("enum").and_then(|list| list.as_array()) {
            lists += 1;
            for text in texts.iter().filter_map(|text| text.as_str()) {
                let is_ours = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                assert!(is_ours, "{text} in {value}");
            }
        }
        match value {
            serde_json::Value::Array(items) => open.extend(items),
            serde_json::Value::Object(fields) => {
                open.extend(fields.into_iter().map(|(_, item)| item));
            }
            _ => {}
        }
    }
    assert!(lists > 10, "the document has closed lists");
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    use ProviderErrorKind as Kind;
    let kinds = [
        Kind::Overloaded,
        Kind::RateLimited,
        Kind::Timeout,
        Kind::StreamSilent,
        Kind::Auth,
        Kind::Quota,
        Kind::Config,
        Kind::ContextExceeded,
        Kind::BadResponse,
        Kind::Unreachable,
        Kind::Server,
        Kind::MissingKey,
    ];
    // Of a chat whose model cannot be had; see `chat::stored_models`.
    let of_models =
        ["provider_key_unreadable", "provider_not_found", "model_not_found", "model_disabled"];
    let mut codes: BTreeSet<String> = Code::ALL.iter().map(|c| c.as_str().to_owned()).collect();
    codes.extend(ErrorCode::ALL.iter().map(|code| code.as_str().to_owned()));
    codes.extend(kinds.iter().map(|kind| kind.code().to_owned()));
    codes.extend(of_models.map(str::to_owned));

    let mut pages = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("docs/errors")).unwrap() {
        let path = entry.unwrap().path();
        let code = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("# {code}\n")), "{code}: the heading is the code");
        assert!(text.contains("What to do: "), "{code}: says what to do");
        pages.insert(code);
    }
    assert_eq!(pages, codes);
}
