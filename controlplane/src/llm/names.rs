//! Whether another model answered than the one that was asked. A provider that quietly answers with
//! another one hides a mistake in the settings, or an outage.

/// Whether `answered` is another model than `asked`. A date, a version number, a tag such as
/// `:free` and a path before the name do not make another model.
#[must_use]
pub fn is_another_model(asked: &str, answered: &str) -> bool {
    let (asked, answered) = (bare(asked), bare(answered));
    let (short, long) =
        if asked.len() <= answered.len() { (&asked, &answered) } else { (&answered, &asked) };
    let Some(more) = long.strip_prefix(short.as_str()) else { return true };
    let is_version = more.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'.');
    !(more.is_empty() || more.starts_with('-') && is_version)
}

fn bare(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.split([':', '@']).next().unwrap_or_default();
    let name = name.strip_suffix(".gguf").unwrap_or(name);
    name.strip_suffix("-latest").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use shared::testing::bad_input::BadInput;

    use super::*;

    #[test]
    fn b90_only_another_model_is_another_model() {
        let rows = [
            ("gpt-4o", "gpt-4o", false),
            ("gpt-4o", "gpt-4o-2024-08-06", false),
            ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", false),
            ("anthropic/claude-x", "claude-x-20260101", false),
            ("models/gemini-2", "gemini-2-001", false),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1", false),
            ("qwen3.gguf", "/models/Qwen3.gguf", false),
            ("gpt-4o", "gpt-4o-mini", true),
            ("claude-x", "claude-y", true),
            ("big", "small", true),
        ];
        let mut report = BadInput::new();
        for (asked, answered, expected) in rows {
            assert_eq!(is_another_model(asked, answered), expected, "{asked} {answered}");
            report.check("B90 model name", true);
        }
        println!("B90 model names: {}/{} rows passed", rows.len(), rows.len());
        report.report("B90");
    }
}
