//! What stands for an old output of a tool: how it began, and how to read it again. Pure.

use super::plan::STUB_OVER_BYTES;

/// Bytes of a stub, about.
pub(super) const BYTES: usize = 512;
/// Bytes of the output that a stub shows.
const SHOWN_BYTES: usize = 240;

/// The tool that opens a stub.
pub const READ_RESULT: &str = "read_result";

/// The stub of an output; none: it is short enough to stay.
#[must_use]
pub fn stub(tool_call_id: &str, output: &str) -> Option<String> {
    if output.len() <= STUB_OVER_BYTES {
        return None;
    }
    let head = &output[..output.floor_char_boundary(SHOWN_BYTES)];
    Some(format!(
        "[This output of {} bytes was left out to make room. Read it again with {READ_RESULT} and \
         the tool_call_id `{tool_call_id}`. It began: {head} …]",
        output.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_is_short_and_names_what_opens_it() {
        assert_eq!(stub("call_1", "short"), None);
        let stub = stub("call_1", &"é".repeat(100_000)).unwrap();
        assert!(stub.len() <= BYTES && stub.contains("`call_1`") && stub.contains("200000 bytes"));
    }
}
