//! The daemon's hello: untrusted, bounded field by field, and the choice of a version.

use shared::protocol::hello::Hello;
use shared::protocol::{ErrorCode, MINOR_MAX, MINOR_MIN, WireError};

const FEATURES_MAX: usize = 64;

/// Checks every field against its bound; the error names the field.
pub(super) fn check_hello(hello: &Hello) -> Result<(), WireError> {
    let texts = [
        ("version", &hello.version, 64),
        ("os", &hello.os, 32),
        ("arch", &hello.arch, 32),
        ("hostname", &hello.hostname, 255),
        ("root", &hello.root, 4_096),
    ];
    for (field, text, max_bytes) in texts {
        check_text(field, text, max_bytes)?;
    }
    if hello.features.len() > FEATURES_MAX {
        return Err(invalid("features", &format!("has over {FEATURES_MAX} entries")));
    }
    hello.features.iter().try_for_each(|feature| check_text("features", feature, 64))
}

/// The version that both speak: the lower of the two maxima.
pub(super) fn choose_minor(hello: &Hello) -> Result<u32, WireError> {
    choose(hello, MINOR_MIN, MINOR_MAX)
}

fn choose(hello: &Hello, min: u32, max: u32) -> Result<u32, WireError> {
    let minor = hello.minor_max.min(max);
    if minor >= hello.minor_min.max(min) {
        return Ok(minor);
    }
    let text = format!(
        "this control plane speaks 1.{min} to 1.{max}, the daemon 1.{} to 1.{}",
        hello.minor_min, hello.minor_max
    );
    Err(WireError::refused(ErrorCode::VersionUnsupported, text)
        .with("supported_min", min)
        .with("supported_max", max))
}

fn check_text(field: &str, text: &str, max_bytes: usize) -> Result<(), WireError> {
    if text.len() > max_bytes {
        return Err(invalid(field, &format!("is over {max_bytes} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "has a control character"));
    }
    Ok(())
}

fn invalid(field: &str, what: &str) -> WireError {
    WireError::refused(ErrorCode::InvalidHello, format!("{field} {what}")).with("field", field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::{IdSource, SystemIds};

    fn hello() -> Hello {
        Hello {
            minor_min: MINOR_MIN,
            minor_max: MINOR_MAX,
            version: "0.1.0".to_owned(),
            instance_id: <dyn IdSource>::id(&SystemIds::new()),
            features: vec!["pty".to_owned()],
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            hostname: "böx".to_owned(),
            root: "/work".to_owned(),
            now_ms: 0,
        }
    }

    #[test]
    fn every_field_out_of_bounds_is_named() {
        check_hello(&hello()).unwrap();
        let cases: [(&str, Hello); 7] = [
            ("version", Hello { version: "1".repeat(65), ..hello() }),
            ("os", Hello { os: "x".repeat(33), ..hello() }),
            ("arch", Hello { arch: "a\0b".to_owned(), ..hello() }),
            ("hostname", Hello { hostname: "h".repeat(65_536), ..hello() }),
            ("root", Hello { root: "/a\nb".to_owned(), ..hello() }),
            ("features", Hello { features: vec![String::new(); 10_000], ..hello() }),
            ("features", Hello { features: vec!["f".repeat(65)], ..hello() }),
        ];
        for (field, hello) in cases {
            let error = check_hello(&hello).unwrap_err();
            assert_eq!(error.known_code(), Some(ErrorCode::InvalidHello));
            assert_eq!(error.details["field"], field);
        }
    }

    #[test]
    fn the_lower_maximum_wins_and_without_a_common_version_the_supported_ones_are_told() {
        let daemon = |minor_min, minor_max| Hello { minor_min, minor_max, ..hello() };
        assert_eq!(choose(&daemon(3, 5), 3, 4).unwrap(), 4);
        assert_eq!(choose(&daemon(2, 3), 3, 4).unwrap(), 3, "N speaks with N-1");
        assert_eq!(choose(&daemon(0, u32::MAX), 3, 4).unwrap(), 4);
        for other in [daemon(0, 2), daemon(5, 9), daemon(u32::MAX, u32::MAX), daemon(4, 3)] {
            let error = choose(&other, 3, 4).unwrap_err();
            assert_eq!(error.known_code(), Some(ErrorCode::VersionUnsupported));
            let told = (error.details["supported_min"].as_str(), &*error.details["supported_max"]);
            assert_eq!(told, ("3", "4"));
        }
    }
}
