//! Names and numbers of signals.

use rustix::process::Signal;
use shared::protocol::{ErrorCode, WireError};

const NAMES: &[(&str, Signal)] = &[
    ("TERM", Signal::TERM),
    ("KILL", Signal::KILL),
    ("INT", Signal::INT),
    ("HUP", Signal::HUP),
    ("QUIT", Signal::QUIT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("STOP", Signal::STOP),
    ("CONT", Signal::CONT),
];

/// The signal that `text` names: a name with or without `SIG`, or a number from 1 to 64.
pub(super) fn parse(text: &str) -> Result<i32, WireError> {
    let text = text.trim();
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| signal.as_raw());
    let number = text.parse::<i32>().ok().filter(|number| (1..=64).contains(number));
    named.or(number).ok_or_else(|| {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let shown: String = text.chars().take(32).collect();
        WireError::refused(
            ErrorCode::OutOfRange,
            format!("signal {shown:?} does not exist: use {} or 1 to 64", names.join(", ")),
        )
        .with("field", "signal")
        .with("min", 1)
        .with("max", 64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        for text in ["TERM", "SIGTERM", "sigterm", " term ", "15"] {
            assert_eq!(parse(text), Ok(15), "{text}");
        }
        assert_eq!(parse("64"), Ok(64));
    }

    #[test]
    fn what_is_no_signal_is_out_of_range() {
        for text in ["0", "65", "-9", "FOO", "", "9.5", "1000000000000"] {
            assert_eq!(parse(text).unwrap_err().code, "out_of_range", "{text}");
        }
    }
}
