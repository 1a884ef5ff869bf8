//! What is run after edits, as a body.

use crate::chat::edit_check::{COMMAND_MAX_BYTES, EditCheck, TIMEOUT_DEFAULT_S, TIMEOUT_MAX_S};
use crate::http::code::Code;
use crate::http::json::body;
use crate::http::problem::Problem;

body! {
    /// A command that the engine runs after a batch of tools that edited files. The model is told
    /// whether it passed, and shown the output of one that did not.
    pub struct EditCheckBody {
        /// The command line, as `sh -c` runs it; empty: nothing is run.
        pub command: String,
        /// Seconds after which it is stopped, 1 to 600; none: 120.
        pub timeout_s: Option<u32>,
    }
}

impl EditCheckBody {
    /// Checked; `pointer`: where it stands in the request.
    ///
    /// # Errors
    ///
    /// The field that is out of its range.
    pub fn check(self, pointer: &str) -> Result<EditCheck, Problem> {
        let timeout_s = self.timeout_s.unwrap_or(TIMEOUT_DEFAULT_S);
        if !(1..=TIMEOUT_MAX_S).contains(&timeout_s) {
            let detail = format!("a whole number from 1 to {TIMEOUT_MAX_S} is due here");
            return Err(Problem::of_field(
                Code::OutOfRange,
                &format!("{pointer}/timeout_s"),
                detail,
            ));
        }
        let at = format!("{pointer}/command");
        if self.command.len() > COMMAND_MAX_BYTES {
            let detail = format!("a command has at most {COMMAND_MAX_BYTES} bytes");
            return Err(Problem::of_field(Code::OutOfRange, &at, detail));
        }
        if self.command.chars().any(|c| c == '\0') {
            return Err(Problem::of_field(Code::InvalidUtf8, &at, "a command has no NUL"));
        }
        Ok(EditCheck { command: self.command, timeout_s })
    }
}
