//! Frames and messages of the wire, as any peer may send them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shared::wire::fuzz_one(bytes));
