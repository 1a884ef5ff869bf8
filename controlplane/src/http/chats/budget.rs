//! How much a chat may use, as a body.

use crate::chat::family::Budget;
use crate::http::code::Code;
use crate::http::json::body;
use crate::http::problem::Problem;

/// Most steps that one turn may be given.
const STEPS_LIMIT: u32 = 1_200;

body! {
    /// How much a chat and its agents may use until somebody lets it go on; what is not there is not
    /// limited, but for the steps of a turn: 200.
    pub struct BudgetBody {
        /// Model calls of one turn, 1 to 1,200.
        pub steps: Option<u32>,
        /// Seconds that the chat itself works; waiting for people and agents is free.
        pub time_s: Option<u32>,
        /// Tokens in and out, agents included.
        pub tokens: Option<u64>,
        /// Millionths of the prices' currency, agents included.
        pub cost_micros: Option<u64>,
    }
}

impl BudgetBody {
    /// Checked; `pointer`: where it stands in the request.
    ///
    /// # Errors
    ///
    /// With the first field that no budget can have.
    pub(super) fn budget(self, pointer: &str) -> Result<Budget, Problem> {
        let refuse = |field: &str, detail: &str| {
            Err(Problem::of_field(Code::OutOfRange, &format!("{pointer}/{field}"), detail))
        };
        if self.steps.is_some_and(|steps| steps == 0 || steps > STEPS_LIMIT) {
            return refuse("steps", "1 to 1200 steps are possible");
        }
        if self.time_s == Some(0) {
            return refuse("time_s", "at least one second is due");
        }
        // What JavaScript cannot hold exactly, nobody can check.
        let fits = |number: Option<u64>| number.is_none_or(|number| (1..1 << 53).contains(&number));
        if !fits(self.tokens) {
            return refuse("tokens", "1 to 2^53 tokens are possible");
        }
        if !fits(self.cost_micros) {
            return refuse("cost_micros", "1 to 2^53 millionths are possible");
        }
        Ok(Budget {
            steps: self.steps,
            time_s: self.time_s,
            tokens: self.tokens,
            cost_micros: self.cost_micros,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_nobody_can_have_is_refused() {
        let none = || BudgetBody { steps: None, time_s: None, tokens: None, cost_micros: None };
        for bad in [
            BudgetBody { steps: Some(0), ..none() },
            BudgetBody { steps: Some(1_201), ..none() },
            BudgetBody { time_s: Some(0), ..none() },
            BudgetBody { tokens: Some(0), ..none() },
            BudgetBody { cost_micros: Some(u64::MAX), ..none() },
        ] {
            assert!(bad.budget("/budget").is_err());
        }
        let good = BudgetBody { steps: Some(1_200), tokens: Some(1), ..none() };
        assert_eq!(good.budget("/budget").unwrap().steps, Some(1_200));
        assert!(none().budget("/budget").unwrap().is_empty());
    }
}
