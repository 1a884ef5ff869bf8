//! Attached files in the very bytes that a provider is sent.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{message, prompt, text};
use crate::chat::content::{FileRef, Part, Role};
use crate::chat::context::validate::faults;
use crate::chat::context::{Dialect, repair};
use crate::llm::{Files, Prompt, PromptMessage, wire_body};

const KINDS: [&str; 4] = ["anthropic", "openai", "openai_compatible", "gemini"];

fn file(media_type: &str, name: &str) -> Part {
    let file = FileRef {
        attachment_id: "att_01J9ZQ4Y3M8T6V5W2X1R0P7N6K".parse().unwrap(),
        name: name.into(),
        media_type: media_type.into(),
        size: 3,
        hash: format!("hash of {name}"),
        width: Some(4),
        height: Some(4),
    };
    Part::File { file }
}

fn of(messages: Vec<PromptMessage>) -> Prompt {
    let names = ["a.png", "b.pdf", "c.txt"];
    let files = names.iter().map(|name| (format!("hash of {name}"), Bytes::from_static(b"abc")));
    Prompt { files: files.collect(), ..prompt(messages) }
}

fn asked() -> Vec<PromptMessage> {
    let parts = vec![
        text("look"),
        file("image/png", "a.png"),
        file("application/pdf", "b.pdf"),
        file("text/plain", "c.txt"),
    ];
    vec![message(Role::User, parts)]
}

fn sent(kind: &str, prompt: &Prompt) -> Value {
    serde_json::from_slice(&wire_body(kind, prompt)).unwrap()
}

#[test]
fn anthropic_gets_images_and_pdfs_as_blocks_and_text_as_text() {
    let body = sent("anthropic", &of(asked()));
    let source =
        |media_type: &str| json!({"type": "base64", "media_type": media_type, "data": "YWJj"});
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"type": "text", "text": "look"},
            {"type": "image", "source": source("image/png")},
            {"type": "document", "source": source("application/pdf"), "title": "b.pdf"},
            {"type": "text", "text": "<file name=\"c.txt\">\nabc\n</file>",
             "cache_control": {"type": "ephemeral"}},
        ])
    );
}

#[test]
fn chat_completions_get_a_list_of_blocks_only_where_there_are_files() {
    let body = sent("openai", &of(asked()));
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}},
            {"type": "file", "file": {"filename": "b.pdf", "file_data": "data:application/pdf;base64,YWJj"}},
            {"type": "text", "text": "<file name=\"c.txt\">\nabc\n</file>"},
        ])
    );
    let words = of(vec![message(Role::User, vec![text("look"), file("text/plain", "c.txt")])]);
    let body = sent("openai", &words);
    let joined = "look\n\n<file name=\"c.txt\">\nabc\n</file>";
    assert_eq!(body["messages"][1]["content"], json!(joined), "words alone stay one text");
}

#[test]
fn a_question_behind_a_file_joins_its_message_and_changes_no_byte_before_it() {
    for kind in KINDS {
        let before = of(asked());
        let asking = Prompt { ask: Some("why?".into()), ..before.clone() };
        let (before, after) = (sent(kind, &before), sent(kind, &asking));
        let blocks = |body: &Value| -> Vec<Value> {
            body["messages"].as_array().unwrap().last().unwrap()["content"]
                .as_array()
                .unwrap()
                .clone()
        };
        let (before, after) = (blocks(&before), blocks(&after));
        assert_eq!(before[..], after[..before.len()], "{kind}");
        assert_eq!(after.last().unwrap()["text"], "why?", "{kind}");
    }
}

#[test]
fn every_prompt_with_files_is_valid_and_a_longer_one_begins_with_the_shorter() {
    let mut messages = asked();
    messages.push(message(Role::Assistant, vec![text("a cat")]));
    messages.push(message(Role::User, vec![file("image/gif", "a.png")]));
    for kind in KINDS {
        let dialect = Dialect::of(kind);
        let whole = sent(kind, &of(repair(messages.clone(), dialect)));
        assert_eq!(faults(dialect, &whole), Vec::<String>::new(), "{kind}");
        let short = sent(kind, &of(repair(messages[..2].to_vec(), dialect)));
        let (short, whole) = (&short["messages"], &whole["messages"]);
        let count = short.as_array().unwrap().len();
        let plain = |message: &Value| {
            message.to_string().replace(",\"cache_control\":{\"type\":\"ephemeral\"}", "")
        };
        for at in 0..count {
            assert_eq!(plain(&short[at]), plain(&whole[at]), "{kind}");
        }
    }
}

#[test]
fn the_validators_see_what_a_provider_would_refuse() {
    let image = |data: &str, media_type: &str, role: &str| {
        let source = json!({"type": "base64", "media_type": media_type, "data": data});
        let first = json!({"role": "user", "content": [{"type": "text", "text": "x"}]});
        let block = json!({"type": "image", "source": source});
        if role == "user" {
            json!({"messages": [{"role": "user", "content": [block]}]})
        } else {
            json!({"messages": [first, {"role": "assistant", "content": [block]}]})
        }
    };
    assert!(faults(Dialect::Anthropic, &image("YWJj", "image/png", "user")).is_empty());
    for bad in [
        image("", "image/png", "user"),
        image("YWJj", "image/svg+xml", "user"),
        image("YWJj", "image/png", "assistant"),
    ] {
        assert!(!faults(Dialect::Anthropic, &bad).is_empty(), "{bad}");
    }
    for block in [
        json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}),
        json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,YWJj"}}),
        json!({"type": "text", "text": " "}),
        json!({"type": "video"}),
    ] {
        let body = json!({"messages": [{"role": "user", "content": [block]}]});
        assert!(!faults(Dialect::OpenaiChat, &body).is_empty(), "{body}");
    }
}

#[test]
fn without_their_bytes_files_are_named_in_their_place() {
    for kind in KINDS {
        let prompt = Prompt { files: Files::default(), ..of(asked()) };
        let body = sent(kind, &prompt).to_string();
        assert!(body.contains("[3 bytes, sha-256 hash of a.png]"), "{kind}: {body}");
    }
}
