//! What a model call costs. Pure.
//!
//! A model's price is set per million tokens and by kind of token: `input`, `cache_read`,
//! `cache_write`, `output`; reasoning is output. A kind without a price has none: a call that used
//! it costs "unknown", because a wrong bill is worse than none. Cached tokens without a price of
//! their own cost what input costs, which is never too little.

use serde_json::Value;

use super::content::Usage;

/// Largest price of a million tokens that is believed.
const PRICE_MAX: f64 = 1_000_000.0;

/// Millionths of the price's currency; none: unknown.
#[must_use]
pub fn cost_micros(price: Option<&Value>, usage: &Usage) -> Option<u64> {
    let price = price?;
    if !usage.is_known() {
        return None;
    }
    let of = |kind: &str| {
        price.get(kind).and_then(Value::as_f64).filter(|price| (0.0..=PRICE_MAX).contains(price))
    };
    let input = of("input");
    let kinds = [
        (usage.input, input),
        (usage.cache_read, of("cache_read").or(input)),
        (usage.cache_write, of("cache_write").or(input)),
        (usage.output, of("output")),
    ];
    let mut cost = 0.0;
    for (tokens, price) in kinds {
        if tokens > 0 {
            // A price of 3 per million tokens is 3 millionths per token.
            cost += tokens as f64 * price?;
        }
    }
    (cost < i64::MAX as f64).then_some(cost.round() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage() -> Usage {
        Usage {
            input: 1_000,
            cache_read: 10_000,
            cache_write: 100,
            output: 500,
            source: "provider".into(),
            ..Usage::default()
        }
    }

    #[test]
    fn a_cost_is_the_sum_over_the_kinds_of_token() {
        let price = json!({"input": 3, "cache_read": 0.3, "cache_write": 3.75, "output": 15});
        assert_eq!(cost_micros(Some(&price), &usage()), Some(3_000 + 3_000 + 375 + 7_500));
        let price = json!({"input": 3, "output": 15});
        assert_eq!(cost_micros(Some(&price), &usage()), Some(3 * 11_100 + 7_500));
    }

    #[test]
    fn b90_what_is_not_known_costs_nothing_that_is_billed() {
        assert_eq!(cost_micros(None, &usage()), None);
        assert_eq!(cost_micros(Some(&json!({"input": 3})), &usage()), None);
        assert_eq!(cost_micros(Some(&json!({"input": -3, "output": 1})), &usage()), None);
        let unknown = Usage { source: "unknown".into(), ..usage() };
        assert_eq!(cost_micros(Some(&json!({"input": 3, "output": 15})), &unknown), None);
        let absurd = Usage { output: u64::MAX, ..usage() };
        assert_eq!(cost_micros(Some(&json!({"input": 3, "output": 15})), &absurd), None);
    }
}
