//! Token counts as providers send them: missing, negative, absurd. What cannot be true is not
//! counted, and `source` says so, because a wrong bill is worse than none.

use serde_json::Value;

use crate::chat::content::Usage;

/// No call has more tokens than this; a larger count is an overflow.
const TOKENS_MAX: u64 = 10_000_000_000;

/// Counts of one answer while it arrives.
#[derive(Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    is_absurd: bool,
}

impl Counts {
    /// Anthropic's counts: input without the cached tokens; each count replaces the former.
    pub(super) fn anthropic(&mut self, usage: &Value) {
        let input = self.count(usage, "/input_tokens");
        let cache_read = self.count(usage, "/cache_read_input_tokens");
        let cache_write = self.count(usage, "/cache_creation_input_tokens");
        let output = self.count(usage, "/output_tokens");
        let reasoning = self.count(usage, "/output_tokens_details/thinking_tokens");
        self.input = input.or(self.input);
        self.cache_read = cache_read.or(self.cache_read);
        self.cache_write = cache_write.or(self.cache_write);
        self.output = output.or(self.output);
        self.reasoning = reasoning.or(self.reasoning);
    }

    /// Chat Completions' counts: the prompt includes the cached tokens. The last chunk that has
    /// counts is right.
    pub(super) fn chat(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let prompt = self.count(usage, "/prompt_tokens");
        let read = self
            .count(usage, "/prompt_tokens_details/cached_tokens")
            .or_else(|| self.count(usage, "/prompt_cache_hit_tokens"));
        let written = self.count(usage, "/prompt_tokens_details/cache_write_tokens");
        let cached = read.unwrap_or(0) + written.unwrap_or(0);
        let input = prompt.map(|prompt| {
            self.is_absurd |= cached > prompt;
            prompt.saturating_sub(cached)
        });
        let output = self.count(usage, "/completion_tokens");
        let reasoning = self.count(usage, "/completion_tokens_details/reasoning_tokens");
        self.input = input.or(self.input);
        self.cache_read = read.or(self.cache_read);
        self.cache_write = written.or(self.cache_write);
        self.output = output.or(self.output);
        self.reasoning = reasoning.or(self.reasoning);
    }

    /// The counts, or zeros from an unknown source.
    pub(super) fn usage(&self) -> Usage {
        match (self.input, self.output) {
            (Some(input), Some(output)) if !self.is_absurd => Usage {
                input,
                cache_read: self.cache_read.unwrap_or(0),
                cache_write: self.cache_write.unwrap_or(0),
                output,
                reasoning: self.reasoning.unwrap_or(0).min(output),
                source: "provider".to_owned(),
                cost_micros: None,
            },
            _ => Usage { source: "unknown".to_owned(), ..Usage::default() },
        }
    }

    fn count(&mut self, usage: &Value, place: &str) -> Option<u64> {
        let value = usage.pointer(place)?;
        if value.is_null() {
            return None;
        }
        // Some servers write counts as 12.0.
        let whole =
            value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0 && *n <= TOKENS_MAX as f64);
        let count = value.as_u64().or_else(|| whole.map(|n| n as u64)).filter(|n| *n <= TOKENS_MAX);
        self.is_absurd |= count.is_none();
        count
    }
}
