//! Row B96 of the bad-input catalogue, and the order of the sources.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use shared::testing::bad_input::BadInput;

use super::*;

/// Adds a whole test to the run's report.
fn held(row: &str) {
    let mut report = BadInput::new();
    report.check(row, true);
    report.report(row);
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn errors_of(config: PathBuf) -> Vec<String> {
    let shown = config.parent().unwrap().display().to_string();
    let sources = with(Sources { config: Some(config), ..Sources::default() });
    let errors = load(&sources).map(|_| ()).unwrap_err();
    errors.0.iter().map(|error| error.to_string().replace(&shown, "")).collect()
}

fn with(sources: Sources) -> Sources {
    Sources { default_data_dir: Some("/data".into()), ..sources }
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_first_source_that_says_something_wins() {
    let place = Place::new();
    let sources = Sources {
        flags: vec![("http.listen", "--http", "127.0.0.1:1".to_owned())],
        env: env(&[
            ("HOLDFAST_HTTP__LISTEN", "127.0.0.1:2"),
            ("HOLDFAST_QUIC__LISTEN", "127.0.0.1:3"),
        ]),
        user_file: Some(
            place.file("user.toml", "[quic]\nlisten = '127.0.0.1:4'\n[log]\nformat='json'"),
        ),
        system_file: Some(place.file("system.toml", "[log]\nformat='human'\nlevel='debug'")),
        default_data_dir: Some("/data".into()),
        ..Sources::default()
    };
    let (options, resolved) = load(&sources).unwrap();
    assert_eq!(options.http.listen.port(), 1);
    assert_eq!(options.quic_listen.port(), 3);
    assert!(options.log.json);
    assert_eq!(options.log.filter, "debug");
    assert_eq!(options.data_dir, PathBuf::from("/data"));
    let origin = |path: &str| {
        let mut all = resolved.printable();
        all.find(|(s, ..)| s.path == path).map(|(_, _, origin)| origin.to_string()).unwrap()
    };
    assert_eq!(origin("http.listen"), "--http");
    assert_eq!(origin("quic.listen"), "HOLDFAST_QUIC__LISTEN");
    assert!(origin("log.level").ends_with("system.toml:3:1"));
    assert_eq!(origin("http.read_timeout"), "default");
}

#[test]
fn b96_every_fault_of_a_file_is_told_at_once_with_its_place() {
    let place = Place::new();
    let text = "data_dir = 7\n\n[http]\nlistne = 'x'\nread_timeout = '5 parsecs'\nallowed_hosts = 'a'\nlisten = 'localhost'\n[quik]\nlisten='x'\n";
    assert_eq!(
        errors_of(place.file("c.toml", text)),
        [
            "/c.toml:1:1: data_dir takes a path, not an integer",
            "/c.toml:6:1: http.allowed_hosts takes a list of texts such as [\"one\", \"two\"], not a string",
            "/c.toml:4:1: unknown key \"listne\" in [http]; did you mean \"listen\"?",
            "/c.toml:8:2: unknown key \"quik\"; did you mean \"quic\"?",
            "/c.toml:7:1: http.listen takes an address with a port such as \"127.0.0.1:7070\"",
            "/c.toml:5:1: http.read_timeout takes a duration such as \"30s\"; the units are ms, s, m, h and d",
        ]
    );
    held("B96");
}

#[test]
fn b96_a_syntax_error_has_its_line_and_column() {
    let place = Place::new();
    let errors = errors_of(place.file("c.toml", "[http]\nlisten = \n"));
    assert!(errors[0].starts_with("/c.toml:2:"), "{errors:?}");
    held("B96");
}

#[test]
fn b96_a_byte_order_mark_and_windows_line_ends_are_accepted() {
    let place = Place::new();
    let config = place.file("c.toml", "\u{feff}[log]\r\nformat = 'json'\r\n");
    let sources = with(Sources { config: Some(config), ..Sources::default() });
    assert!(load(&sources).unwrap().0.log.json);
    held("B96");
}

#[test]
fn b96_files_that_are_none_are_named() {
    let place = Place::new();
    let big = place.file("big.toml", &"#".repeat(10 * 1024 * 1024));
    assert!(errors_of(big)[0].contains("10485760 bytes; at most 1048576 are read"));
    assert!(errors_of(place.dir.path().join("none.toml"))[0].contains("No such file"));
    let folder = place.dir.path().join("folder.toml");
    fs::create_dir(&folder).unwrap();
    assert!(errors_of(folder)[0].contains("is a directory"));
    held("B96");
}

#[test]
fn b96_a_secret_file_must_be_private_and_alone() {
    let place = Place::new();
    let secret = place.file("url", "postgres://u:hunter2@localhost/db\n");
    let secret_text = secret.display().to_string();
    let load_with = |pairs: &[(&str, &str)]| {
        load(&Sources {
            env: env(pairs),
            default_data_dir: Some("/d".into()),
            ..Sources::default()
        })
    };

    let (options, resolved) = load_with(&[("HOLDFAST_DATABASE__URL_FILE", &secret_text)]).unwrap();
    assert_eq!(options.database_url.unwrap(), "postgres://u:hunter2@localhost/db".parse().unwrap());
    let shown: Vec<_> = resolved.printable().map(|(_, text, _)| text).collect();
    assert!(shown.contains(&"\"…\"".to_owned()) && !shown.iter().any(|t| t.contains("hunter2")));

    let both = load_with(&[
        ("HOLDFAST_DATABASE__URL", "sqlite:/x"),
        ("HOLDFAST_DATABASE__URL_FILE", &secret_text),
    ]);
    assert!(both.map(|_| ()).unwrap_err().to_string().contains("keep one of the two"));

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let open = load_with(&[("HOLDFAST_DATABASE__URL_FILE", &secret_text)]);
    assert!(open.map(|_| ()).unwrap_err().to_string().contains("chmod 600"));
    held("B96");
}

#[test]
fn b96_an_unknown_variable_is_named_with_the_nearest() {
    let load_with = |name: &str| {
        load(&with(Sources { env: env(&[(name, "x")]), ..Sources::default() })).map(|_| ())
    };
    assert_eq!(
        load_with("HOLDFAST_HTTP__LISTNE").unwrap_err().to_string(),
        "HOLDFAST_HTTP__LISTNE: unknown setting; did you mean HOLDFAST_HTTP__LISTEN?"
    );
    // An orchestrator's own variables are none of our business.
    load_with("HOLDFAST_SERVICE_HOST").unwrap_or_else(|e| panic!("{e}"));
    held("B96");
}

#[test]
fn b98_without_a_home_the_error_says_what_to_pass() {
    let error = load(&Sources::default()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("--data-dir"), "{error}");
    held("B98");
}
