//! Golden files: the bytes of every message of the protocol, frozen.
//!
//! One file per example in `v1`: the message's type, its bytes in hex, and what they say as JSON,
//! for people. The tests hold that encoding gives the file's bytes, that every file decodes, and
//! that none was edited or removed: `v1/MANIFEST` has the hash of each.
//!
//! A new message or field gets a new example here, and its file with
//! `HOLDFAST_GOLDEN=add cargo test -p shared golden`, which can only add. Where a change of an
//! old file seems to be needed, the change breaks peers of the last version: do another one.

mod evolution;
mod samples;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use samples::samples;

/// One message, encoded, with a way to read such bytes again.
pub(super) struct Sample {
    name: &'static str,
    kind: &'static str,
    bytes: Vec<u8>,
    view: serde_json::Value,
    /// Decodes, encodes again and compares; answers what the bytes say.
    reread: fn(&[u8]) -> Result<Reread, String>,
    /// Fields may be added: not so where the enum's variant is the only key of a map.
    open: bool,
}

/// What bytes say, and the bytes that say it today.
struct Reread {
    view: serde_json::Value,
    bytes: Vec<u8>,
}

impl Sample {
    fn new<T>(name: &'static str, message: &T) -> Self
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let kind = std::any::type_name::<T>();
        let bytes = crate::wire::encode(message);
        let back: T = crate::wire::decode(&bytes).expect("a message reads back");
        assert_eq!(back, *message, "{name} does not read back as it was");
        let open = !kind.contains("::Reply<");
        Self { name, kind, bytes, view: view(message), reread: reread::<T>, open }
    }
}

fn reread<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<Reread, String> {
    let message: T = crate::wire::decode(bytes).map_err(|error| error.to_string())?;
    Ok(Reread { view: view(&message), bytes: crate::wire::encode(&message) })
}

fn view<T: Serialize>(message: &T) -> serde_json::Value {
    serde_json::to_value(message).expect("every message has a JSON form")
}

#[derive(Serialize, Deserialize)]
struct GoldenFile {
    message: String,
    bytes: String,
    says: serde_json::Value,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/golden/v1")
}

fn may_add() -> bool {
    std::env::var("HOLDFAST_GOLDEN").is_ok_and(|value| value == "add")
}

/// The files that are there, by name without `.json`.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).expect("the folder is part of the repository") {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    files
}

/// Hash by name, as the manifest has it.
fn manifest() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("MANIFEST")).unwrap_or_default();
    let line = |line: &str| {
        let (hash, name) = line.split_once("  ").expect("a hash and a name");
        (name.to_owned(), hash.to_owned())
    };
    text.lines().map(line).collect()
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// Writes the files of new examples and their lines; leaves everything else alone.
fn add_missing() {
    let (files, mut manifest) = (files(), manifest());
    for sample in samples() {
        if files.contains_key(sample.name) || manifest.contains_key(sample.name) {
            continue;
        }
        let file = GoldenFile {
            message: sample.kind.to_owned(),
            bytes: hex::encode(&sample.bytes),
            says: sample.view,
        };
        let text = serde_json::to_string_pretty(&file).unwrap() + "\n";
        manifest.insert(sample.name.to_owned(), hash(&text));
        std::fs::write(folder().join(format!("{}.json", sample.name)), text).unwrap();
    }
    let lines: String = manifest.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
    std::fs::write(folder().join("MANIFEST"), lines).unwrap();
}

#[test]
fn the_bytes_of_every_message_are_those_of_its_golden_file() {
    if may_add() {
        add_missing();
    }
    let files = files();
    for sample in samples() {
        let file = files.get(sample.name).unwrap_or_else(|| {
            panic!("{} has no golden file; HOLDFAST_GOLDEN=add makes it", sample.name)
        });
        let file: GoldenFile = serde_json::from_str(file).unwrap();
        let changed = "the bytes on the wire changed: peers of the last version cannot read them";
        assert_eq!(hex::encode(&sample.bytes), file.bytes, "{}: {changed}", sample.name);
    }
}

#[test]
fn every_golden_file_decodes_to_what_it_says() {
    let samples = samples();
    for (name, text) in files() {
        let file: GoldenFile = serde_json::from_str(&text).unwrap();
        let sample = samples.iter().find(|sample| sample.name == name);
        let sample = sample.unwrap_or_else(|| panic!("no message reads {name}.json any more"));
        let reread = (sample.reread)(&hex::decode(&file.bytes).unwrap())
            .unwrap_or_else(|error| panic!("{name}.json does not decode: {error}"));
        assert_eq!(reread.view, file.says, "{name}.json says something else now");
    }
}

#[test]
fn no_golden_file_was_edited_or_removed() {
    let files = files();
    let found: BTreeMap<String, String> =
        files.iter().map(|(name, text)| (name.clone(), hash(text))).collect();
    assert_eq!(found, manifest(), "golden files may only be added, see the module's text");
}

fn methods() -> Vec<&'static str> {
    use crate::protocol::{enroll, files, operation, process, pty};
    [enroll::METHODS, files::METHODS, operation::METHODS, process::METHODS, pty::METHODS].concat()
}

#[test]
fn every_method_stands_in_the_page_of_the_protocol() {
    let page = include_str!("../../../../docs/protocol.md");
    for method in methods() {
        assert!(page.contains(&format!("| `{method}` |")), "docs/protocol.md misses {method}");
    }
}

#[test]
fn every_method_has_an_example_of_its_request_and_of_its_answer() {
    let names: Vec<&str> = samples().iter().map(|sample| sample.name).collect();
    assert_eq!(methods().len(), 34, "a new service needs to be listed in `methods`");
    for method in methods() {
        for part in ["request", "reply"] {
            let name = format!("{}_{part}", method.replace('/', "_"));
            let found = names.iter().any(|found| found.starts_with(&name));
            assert!(found, "{method} has no example {name}");
        }
    }
}
